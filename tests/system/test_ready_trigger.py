"""On a real Airflow, a model that somebody trains elsewhere starts the DAGs that wait for it."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from airflow_provider_cleartrace.client import ClearTrace
from example_dags.demo.stack import Stack

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

LIMIT = 180.0
EXAMPLE = Path(__file__).parents[2] / "example_dags" / "model_ready.py"
DAG_IDS = ("one_model", "every_model")
DAGS = """
from airflow.sdk import Asset, AssetWatcher, dag, task

from airflow_provider_cleartrace.triggers.ready import ClearTraceModelReadyTrigger


def started_by(dag_id, model_id):
    # What is complete already would fire again after a restart, were it not remembered.
    trigger = ClearTraceModelReadyTrigger(model_id, poll_interval=1.0, include_existing=True)
    asset = Asset(f"{dag_id}_ready", watchers=[AssetWatcher(name=dag_id, trigger=trigger)])

    @dag(dag_id=dag_id, schedule=[asset])
    def waiting():
        @task
        def payloads(triggering_asset_events=None):
            return [event.extra["payload"] for events in triggering_asset_events.values() for event in events]

        payloads()

    waiting()


started_by("one_model", "loans")
started_by("every_model", "loan[s]")
"""

#: A triggerer that is silent for so long is taken for dead.
SETTINGS = {
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "15",
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("ready")
    dags = folder / "dags"
    dags.mkdir()
    (dags / "ready.py").write_text(DAGS, encoding="utf-8")
    shutil.copy(EXAMPLE, dags)
    with Stack(folder / "run", dags, settings=SETTINGS) as running:
        for dag_id in (*DAG_IDS, EXAMPLE.stem):
            running.api.wait_for_dag(dag_id)
        wait_until(running, lambda: watches_begun(running.airflow_home) == len(DAG_IDS) + 1)
        yield running


def test_a_model_that_is_ready_starts_what_waits_for_it_once_also_across_a_restart(stack: Stack) -> None:
    fit(stack, "loans-production")
    first = fit(stack, "loans", seed=1)
    wait_until(stack, lambda: all(told(stack, dag_id) for dag_id in DAG_IDS))
    wait_until(stack, lambda: remembered(stack.airflow_home) == [first] * len(DAG_IDS))

    stack.kill("triggerer")
    second = fit(stack, "loans", seed=2)
    stack.start("triggerer")
    wait_until(stack, lambda: all(len(told(stack, dag_id)) >= 2 for dag_id in DAG_IDS))

    expected = [
        {
            "model_id": "loans",
            "job": "fit",
            "status": "completed",
            "link": f"{stack.cleartrace_url}/#loans",
            "job_id": job_id,
        }
        for job_id in (first, second)
    ]
    for dag_id in DAG_IDS:
        assert told(stack, dag_id) == expected

    # The example looks once a minute: it was not looking when its model was trained, and hears of it now.
    wait_until(stack, lambda: [*stack.output.glob("*/drivers.csv")] != [])


def fit(stack: Stack, model_id: str, seed: int = 0) -> str:
    """Train a model with the plain client, and give the number of the job."""
    rows = pd.DataFrame({"income": range(60), "debt": [i % 7 for i in range(60)]})
    with ClearTrace(stack.cleartrace_url, stack.cleartrace_key, poll_interval=0.1) as client:
        trained = client.fit(
            rows.assign(limit=rows.income - rows.debt),
            target="limit",
            model_id=model_id,
            mode="fast",
            n_hyperopt_steps=1,
            random_state=seed,
        )
    assert trained.job_id is not None
    return trained.job_id


def told(stack: Stack, dag_id: str) -> list[dict[str, Any]]:
    """What the finished runs of a DAG were told, the first first."""
    runs = stack.api.request("GET", f"/dags/{dag_id}/dagRuns?order_by=run_after")["dag_runs"]
    assert [run for run in runs if run["state"] == "failed"] == []
    return [
        payload
        for run in runs
        if run["state"] == "success"
        for payload in stack.api.return_value(dag_id, run["dag_run_id"], "payloads")
    ]


def watches_begun(airflow_home: Path) -> int:
    """How many watchers have looked for the first time."""
    return len(kept_by_watchers(airflow_home))


def remembered(airflow_home: Path) -> list[str]:
    """The job that each watcher has written down as reported."""
    return [marks["loans"] for marks in kept_by_watchers(airflow_home) if marks.get("loans")]


def kept_by_watchers(airflow_home: Path) -> list[dict[str, str]]:
    database = f"file:{airflow_home / 'airflow.db'}?mode=ro"
    with contextlib.closing(sqlite3.connect(database, uri=True)) as tables:
        rows = tables.execute("SELECT value FROM asset_state_store WHERE key LIKE 'cleartrace-ready-%'")
        return [json.loads(value) for (value,) in rows]


def wait_until(stack: Stack, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        stack.check()
        assert time.monotonic() < deadline, stack.log_of("triggerer").read_text()[-4000:]
        time.sleep(0.5)
