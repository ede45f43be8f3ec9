"""Calibrated explanations: predictions with their intervals, and the rules of some rows."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from airflow_provider_cleartrace.reports.errors import ReportError
from airflow_provider_cleartrace.reports.facts import Calibrated, CalibratedRow, CalibratedRule, is_number
from airflow_provider_cleartrace.storage.errors import StorageError
from airflow_provider_cleartrace.storage.locations import Location
from airflow_provider_cleartrace.storage.manifests import SUCCESS
from airflow_provider_cleartrace.storage.tables import json_lines

PAYLOADS, MANIFEST = "payloads.jsonl", "manifest.json"

SHOWN_ROWS = 15
"""Intervals in one plot: asked for, or evenly through the predictions."""

ROWS_WITH_RULES = 3
SHOWN_RULES = 5

_MEASURED = {
    "calibration_rows": "calibration_rows",
    "held_out_rows": "held_out_rows",
    "held_out_coverage": "coverage",
    "held_out_calibration_error": "calibration_error",
}
"""Entries of the folder's manifest, and what they are called in a report."""


def read_calibrated(folder: Location, asked: Collection[str] = ()) -> Calibrated:
    """Read the folder of a CalibratedExplain task.

    Raises:
        ReportError: it holds no rows, something else, or what is not finished.
    """
    place = folder.child(PAYLOADS)
    if not place.is_file():
        raise ReportError(f"{folder.uri}: no {PAYLOADS}: not the folder of a CalibratedExplain task")
    if not folder.child(SUCCESS).is_file():
        raise ReportError(f"{folder.uri}: no {SUCCESS}: it is being replaced, or its task failed")
    manifest = folder.child(MANIFEST)
    told: dict[str, Any] = json.loads(manifest.read_bytes()) if manifest.is_file() else {}
    try:
        heads = [(_identity(line), _prediction(line)) for line in json_lines(place)]
        shown = _shown([(identity, head["value"]) for identity, head in heads], asked)
        rows = {
            position: _row(line, with_rules=position in shown[:ROWS_WITH_RULES])
            for position, line in enumerate(json_lines(place))
            if position in set(shown)
        }
        kind = next((line["payload"]["core"]["kind"] for line in json_lines(place)), "")
        rules = told.get("rules")
        if rules is None:
            rules = sum(len(line["payload"]["core"]["feature_rules"]) for line in json_lines(place))
    except StorageError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ReportError(f"{place.uri}: a line is no calibrated explanation") from None
    if not heads:
        raise ReportError(f"{place.uri}: no rows")
    widths = [
        head["high"] - head["low"] for _, head in heads if is_number(head["low"]) and is_number(head["high"])
    ]
    return Calibrated(
        kind=kind,
        rows=len(heads),
        rules=rules,
        mean_width=sum(widths) / len(widths) if widths else None,
        widest=max(widths) if widths else None,
        shown=tuple(sorted(rows.values(), key=lambda row: -row.prediction)),
        **{to: told[name] for name, to in _MEASURED.items() if is_number(told.get(name))},
    )


def _shown(predictions: list[tuple[str, float]], asked: Collection[str]) -> list[int]:
    """Rows asked for, or evenly through the sorted predictions with the highest, middle and lowest first."""
    wanted = [row for row, (identity, _) in enumerate(predictions) if identity in asked]
    if wanted:
        return wanted[:SHOWN_ROWS]
    order = sorted(range(len(predictions)), key=lambda row: -predictions[row][1])
    last = len(order) - 1
    count = min(SHOWN_ROWS, len(order))
    even = [order[round(step * last / max(1, count - 1))] for step in range(count)]
    return list(dict.fromkeys([order[0], order[last // 2], order[last], *even])) if order else []


def _identity(line: Mapping[str, Any]) -> str:
    return " / ".join(map(str, line["id"].values()))


def _prediction(line: Mapping[str, Any]) -> dict[str, Any]:
    told = line["payload"]["core"]["prediction"]
    low, high = told["uncertainty_interval"]
    return {"value": told["value"], "low": _bound(low), "high": _bound(high)}


def _bound(value: Any) -> float | None:
    """A bound as a number; None where the interval is open."""
    return float(value) if is_number(value) else None


def _row(line: Mapping[str, Any], *, with_rules: bool) -> CalibratedRow:
    own = _prediction(line)
    core = line["payload"]["core"]
    ranked = sorted(core["feature_rules"], key=lambda rule: -abs(rule["weight"]["value"]))
    label = line["payload"].get("metadata", {}).get("class")
    return CalibratedRow(
        identity=_identity(line),
        prediction=own["value"],
        low=own["low"],
        high=own["high"],
        label=None if label is None else str(label),
        rules=tuple(
            CalibratedRule(
                rule=rule["condition"]["text"],
                weight=rule["weight"]["value"],
                low=_bound(rule["weight"]["uncertainty_interval"][0]),
                high=_bound(rule["weight"]["uncertainty_interval"][1]),
            )
            for rule in ranked[: SHOWN_RULES if with_rules else 0]
        ),
    )
