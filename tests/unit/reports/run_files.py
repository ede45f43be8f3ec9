"""The files of a run, made of known figures, and the report made of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from airflow_provider_cleartrace.reports.facts import Report, Run
from airflow_provider_cleartrace.reports.reading.gathering import Inputs, Known, gather
from tests.unit.reports import compared_files

FEATURES = ("age", "income", "plan")
ROWS = 500


def known(features: Sequence[str] = FEATURES, **more: Any) -> Known:
    columns = {
        name: {"dtype": "number", "mean": 1.5, "min": 0, "max": 3, "missing_share": 0.0} for name in features
    }
    schema = {
        "feature_names": list(features),
        "columns": columns,
        "target": "good",
        "task": "binary",
        "classes": [0, 1],
        "metrics": {"validation_auc": 0.8125, "validation_calibration_error": 0.0625},
        "config": {"mode": "fast", "random_state": 42},
        "fidelity": None,
    }
    values: dict[str, Any] = {
        "model_id": "m-1",
        "schema": schema | more.pop("schema", {}),
        "shares": [(name, 1.0 / len(features)) for name in features],
        "title": "A report",
        "made_at": "2026-11-21T10:00:00+00:00",
        "provider_version": "0.1.0",
        "server": "http://127.0.0.1:8799",
        "run": Run(dag_id="d", task_id="t", run_id="r-2"),
    }
    return Known(**values | more)


def explained(rows: int = ROWS, features: Sequence[str] = FEATURES, seed: int = 0) -> pd.DataFrame:
    """A wide explanation with two reasons a row; the second lacks in every third row."""
    random = np.random.default_rng(seed)
    frame = pd.DataFrame({"id": [f"c{number}" for number in range(rows)]})
    frame["prediction"] = random.beta(2, 2, rows)
    for name in features:
        frame[f"driver_{name}"] = random.normal(0.1, 1, rows)
    codes = random.choice(["R1", "R2", "R3"], size=(rows, 2))
    for rank in (1, 2):
        frame[f"reason_{rank}_code"] = codes[:, rank - 1]
        frame[f"reason_{rank}_feature"] = features[0]
        frame[f"reason_{rank}_text"] = [f"text of {code}" for code in codes[:, rank - 1]]
    same = codes[:, 0] == codes[:, 1]
    gone = (np.arange(rows) % 3 == 0) | same
    for part in ("code", "feature", "text"):
        frame.loc[gone, f"reason_2_{part}"] = None
    return frame


def lengthened(wide: pd.DataFrame, features: Sequence[str] = FEATURES) -> pd.DataFrame:
    """The long layout of the same."""
    rows = [
        {"id": row["id"], "prediction": row["prediction"], "feature": name, "driver": row[f"driver_{name}"]}
        for row in wide.to_dict("records")
        for name in features
    ]
    return pd.DataFrame(rows)


def written(frame: pd.DataFrame, path: Path) -> str:
    """A table in the format that the extension names."""
    write: dict[str, Callable[[], Any]] = {
        ".parquet": lambda: frame.to_parquet(path, index=False),
        ".csv": lambda: frame.to_csv(path, index=False),
        ".jsonl": lambda: path.write_text(
            "".join(
                json.dumps(row) + "\n"
                for row in frame.astype(object).where(frame.notna(), None).to_dict("records")
            )
        ),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write[path.suffix]()
    return str(path)


def scenarios(path: Path, feature: str = "income", value: Any = "high") -> str:
    """Three rows: two scenarios, one, none; the third is where it should be."""
    edits = {feature: {"from": 1, "to": value}}
    shared = {"n_changes": 1, "changes": json.dumps(edits), "already_at_desired_class": False, "reason": None}
    nothing = {"scenario": None, "n_changes": None, "changes": None, "prediction": None}
    lines = [
        {"id": "c0", "scenario": 0, "prediction": 0.75, "baseline_prediction": 0.25} | shared,
        {"id": "c0", "scenario": 1, "prediction": 0.625, "baseline_prediction": 0.25} | shared,
        {"id": "c1", "scenario": 0, "prediction": 0.5625, "baseline_prediction": 0.4375} | shared,
        {"id": "c2", "baseline_prediction": 0.875, "already_at_desired_class": True, "reason": "there"}
        | nothing,
        {"id": "c3", "baseline_prediction": 0.125, "already_at_desired_class": False, "reason": "none"}
        | nothing,
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


def segments(path: Path, names: Sequence[str] = ("Young", "Old")) -> str:
    """Two personas, of one and three quarters of four rows."""
    personas = [
        {
            "cluster_id": index,
            "persona_name": name,
            "persona_description": f"About {name}.",
            "mean_prediction": 0.25 + index / 2,
            "top_drivers": ["age"],
        }
        for index, name in enumerate(names)
    ]
    path.write_text(
        json.dumps({"n_clusters": 2, "quality": 0.5, "cluster_ids": [0, 1, 1, 1], "personas": personas})
    )
    return str(path)


def calibrated(folder: Path, rows: int = 4, text: str = "age <= 30") -> str:
    """Payloads with intervals of known width; the last one has no upper bound."""
    folder.mkdir(parents=True)
    lines = []
    for row in range(rows):
        value = (row + 1) / (rows + 2)
        high = None if row == rows - 1 else value + 0.125
        rule = {
            "weight": {"value": 0.25, "uncertainty_interval": [-0.125, 0.5]},
            "condition": {"feature": "age", "operator": "<=", "value": 30, "text": text},
        }
        core = {
            "kind": "factual",
            "prediction": {"value": value, "uncertainty_interval": [value - 0.125, high]},
            "feature_rules": [rule],
        }
        lines.append(
            json.dumps({"id": {"id": f"c{row}"}, "payload": {"core": core, "metadata": {"class": 1}}})
        )
    (folder / "payloads.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "manifest.json").write_text(
        json.dumps({"rules": rows, "held_out_rows": 60, "held_out_coverage": 0.875})
    )
    (folder / "_SUCCESS").write_text("{}")
    return f"{folder}/"


def whole(folder: Path, **more: Any) -> Inputs:
    """All inputs of a report."""
    wide = explained()
    data = pd.DataFrame({"id": wide["id"], **{name: np.arange(ROWS) / 8 for name in FEATURES}})
    given: dict[str, Any] = {
        "explanations": written(wide, folder / "explanations.parquet"),
        "data": written(data, folder / "data.csv"),
        "scenarios": scenarios(folder / "scenarios.jsonl"),
        "segments": segments(folder / "segments.json"),
        "calibrated": calibrated(folder / "calibrated"),
        "comparison": compared_files.written(compared_files.compared(), folder / "drift.json"),
        "narrative": "# A story\n\nIt has **three** parts:\n\n- one\n- two\n- three\n",
        "raw_gradient": False,
    }
    return Inputs(**given | more)


def whole_report(folder: Path, **more: Any) -> Report:
    return gather(known(), whole(folder, **more))
