"""Calibrated explanations in small parts, as a task that may run in a process of its own and be killed."""

from __future__ import annotations

from typing import Any
from unittest import mock

import numpy as np
import pandas as pd

from airflow_provider_cleartrace.operators.calibrated import ClearTraceCalibratedExplainOperator
from airflow_provider_cleartrace.operators.rules import plan
from tests.integration.airflow_tasks import context

ROWS, BATCH_ROWS, PART_ROWS = 60, 10, 20
FEATURES: dict[str, Any] = {name: {"dtype": "number"} for name in ("x", "z")}


def calibration_frame() -> pd.DataFrame:
    """What a model of the row server is calibrated with: its prediction, and noise."""
    draw = np.random.default_rng(0)
    frame = pd.DataFrame(draw.normal(size=(80, 2)), columns=list(FEATURES)).round(3)
    return frame.assign(y=frame.sum(axis=1) / 1000 + draw.normal(size=len(frame)) / 1000)


def rows_frame() -> pd.DataFrame:
    """The rows to explain."""
    draw = np.random.default_rng(1)
    return pd.DataFrame(draw.normal(size=(ROWS, 2)), columns=list(FEATURES)).round(3)


def explain(folder: str, output: str, *, rows: str = "", **more: Any) -> dict[str, Any]:
    """Explain the rows that lie in a folder."""
    operator = ClearTraceCalibratedExplainOperator(
        task_id="explain",
        model_id="m",
        calibration_data=f"{folder}/calibration.csv",
        target="y",
        data=f"{folder}/rows.csv{rows}",
        output_uri=output,
        batch_rows=BATCH_ROWS,
        max_in_flight=1,
        **more,
    )
    with mock.patch.object(plan, "EXPLAINED_PART_ROWS", PART_ROWS):
        return operator.execute(context("explain"))
