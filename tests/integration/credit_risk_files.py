"""What the example DAG ``credit_risk`` leaves behind, whoever ran it."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd


def assert_whole(folder: Path) -> None:
    """The files of a run agree with each other."""
    explanations = pd.read_parquet(folder / "explanations.parquet")
    scenarios = pd.read_json(folder / "scenarios.jsonl", lines=True)
    declined = set(explanations.query("prediction < 0.5")["row"])
    assert len(explanations) == 1000
    assert set(scenarios["row"]) == declined
    assert (scenarios["prediction"].dropna() >= 0.5).all()
    assert "Good credit" in (folder / "narrative.md").read_text()
    assert json.loads((folder / "segments.json").read_text())["n_clusters"] >= 3
    report = json.loads((folder / "report.json").read_text())
    assert report["predictions"]["below"] == report["scenarios"]["rows"] == len(declined)
    assert (folder / "report.html").is_file()
