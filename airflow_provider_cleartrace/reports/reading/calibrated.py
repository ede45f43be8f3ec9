"""Calibrated explanations: predictions with their intervals, and the rules of some rows."""

from __future__ import annotations

import json
from array import array
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
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


@dataclass
class _Tally:
    """What one pass through the payloads counts; 8 bytes of each row are held.

    ``wanted`` are the places of rows that were asked for.
    """

    kind: str = ""
    rules: int = 0
    predictions: array[float] = field(default_factory=lambda: array("d"))
    closed: int = 0
    width: float = 0.0
    widest: float = 0.0
    wanted: list[int] = field(default_factory=list)

    def add(self, line: Mapping[str, Any], asked: Collection[str]) -> None:
        """Take one explained row."""
        core = line["payload"]["core"]
        head = _prediction(line)
        if _identity(line) in asked:
            self.wanted.append(len(self.predictions))
        self.kind = self.kind or core["kind"]
        self.rules += len(core["feature_rules"])
        self.predictions.append(head["value"])
        if head["low"] is not None and head["high"] is not None:
            width = head["high"] - head["low"]
            self.closed += 1
            self.width += width
            self.widest = max(self.widest, width)


def read_calibrated(folder: Location, asked: Collection[str] = ()) -> Calibrated:
    """Read the folder of a CalibratedExplain task, row by row: once to count, once for the rows to show.

    Raises:
        ReportError: it holds no rows, something else, or what is not finished.
    """
    place = folder.child(PAYLOADS)
    if not place.is_file():
        raise ReportError(f"{folder.uri}: no {PAYLOADS}: not the folder of a CalibratedExplain task")
    if not folder.child(SUCCESS).is_file():
        raise ReportError(f"{folder.uri}: no {SUCCESS}: it is being replaced, or its task failed")
    manifest = folder.child(MANIFEST)
    measured: dict[str, Any] = json.loads(manifest.read_bytes()) if manifest.is_file() else {}
    told = _Tally()
    try:
        for line in json_lines(place):
            told.add(line, asked)
        shown = _shown(told)
        rows = [
            _row(line, with_rules=position in shown[:ROWS_WITH_RULES])
            for position, line in enumerate(json_lines(place))
            if position in set(shown)
        ]
    except StorageError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ReportError(f"{place.uri}: a line is no calibrated explanation") from None
    if not told.predictions:
        raise ReportError(f"{place.uri}: no rows")
    return Calibrated(
        kind=told.kind,
        rows=len(told.predictions),
        rules=told.rules,
        mean_width=told.width / told.closed if told.closed else None,
        widest=told.widest if told.closed else None,
        shown=tuple(sorted(rows, key=lambda row: -row.prediction)),
        **{to: measured[name] for name, to in _MEASURED.items() if is_number(measured.get(name))},
    )


def _shown(told: _Tally) -> list[int]:
    """Rows asked for, or evenly through the sorted predictions with the highest, middle and lowest first."""
    import numpy as np  # noqa: PLC0415  (loads where rows are touched, never with a DAG)

    if told.wanted or not told.predictions:
        return told.wanted[:SHOWN_ROWS]
    order = np.argsort(-np.frombuffer(told.predictions), kind="stable")
    last = len(order) - 1
    count = min(SHOWN_ROWS, len(order))
    even = [round(step * last / max(1, count - 1)) for step in range(count)]
    return [int(order[rank]) for rank in dict.fromkeys([0, last // 2, last, *even])][:SHOWN_ROWS]


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
