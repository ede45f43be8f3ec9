"""Twenty thousand rows are explained in the memory of two thousand."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from airflow_provider_cleartrace.client import ClearTrace
from airflow_provider_cleartrace.operators.calibrated import ClearTraceCalibratedExplainOperator
from tests.integration.airflow_tasks import context
from tests.integration.local_server import LocalServer

GROWTH_MB = 64
"""What the larger run may add: allocators do not give everything back."""


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@pytest.mark.timeout(900)
def test_ten_times_the_rows_take_no_more_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(21_000, 5)), columns=list("abcde"))
    frame["target"] = (frame["a"] + frame["b"] * frame["c"] + random.normal(size=len(frame)) > 0).astype(int)
    frame[500:1_000].to_parquet(tmp_path / "calibration.parquet")
    frame[1_000:].drop(columns="target").to_parquet(tmp_path / "rows.parquet")
    with LocalServer(tmp_path / "server") as server:
        connection = {"conn_type": "cleartrace", "host": server.base_url, "password": server.api_key}
        monkeypatch.setenv("AIRFLOW_CONN_CLEARTRACE_DEFAULT", json.dumps(connection))
        with ClearTrace(server.base_url, server.api_key, poll_interval=0.05) as client:
            client.fit(frame[:500], target="target", model_id="memory", mode="fast", n_hyperopt_steps=1)
        peaks = []
        for rows in ("#rows=0-2000", ""):
            told = ClearTraceCalibratedExplainOperator(
                task_id="explain",
                model_id="memory",
                calibration_data=str(tmp_path / "calibration.parquet"),
                target="target",
                data=f"{tmp_path}/rows.parquet{rows}",
                output_uri=f"{tmp_path}/explained/",
            ).execute(context())
            peaks.append(peak_mb())
    assert told["rows"] == 20_000
    assert peaks[1] - peaks[0] < GROWTH_MB
