"""On two Celery workers, one of which is killed: mapped partitions end as one exact output."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import shutil
import signal
import socket
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
import pytest

from airflow_provider_cleartrace.client import ClearTrace
from airflow_provider_cleartrace.storage.sources import find_source
from example_dags.demo.processes import log_tail
from example_dags.demo.stack import CELERY_WORKER, CLEARTRACE_LOCAL, LOOPBACK, Stack
from tests.system.recovery.databases import database

MISSING = [
    *(f"the program {name}" for name in ("redis-server", "initdb") if shutil.which(name) is None),
    *(
        f"the package {name}"
        for name, module in (("apache-airflow-providers-celery", "airflow.providers.celery"), ("redis",) * 2)
        if importlib.util.find_spec(module) is None
    ),
]

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(600),
    pytest.mark.skipif(bool(MISSING), reason=f"CeleryExecutor needs {' and '.join(MISSING)}"),
]

EXAMPLE = Path(__file__).parents[2] / "example_dags" / "partitioned_scoring.py"
DAG_ID = EXAMPLE.stem
TARGET = "good_credit"
ROWS, PARTITIONS = 1000, 10
WORKERS = ("worker-1", "worker-2")
SLOTS = 2
LIMIT = 240.0

#: A task that is silent for so long is taken for dead; the default of five minutes is long for a test.
SILENCE = {
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
}


@contextlib.contextmanager
def redis(folder: Path) -> Iterator[str]:
    """A broker on loopback, which keeps nothing; gives its URL."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port = probe.getsockname()[1]
    options = {"port": port, "bind": LOOPBACK, "dir": folder, "save": "", "logfile": "redis.log"}
    flags = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    with subprocess.Popen(("redis-server", *flags)) as server:
        try:
            yield f"redis://{LOOPBACK}:{port}/0"
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("celery")
    (folder / "dags").mkdir()
    shutil.copy(EXAMPLE, folder / "dags")
    shutil.copytree(EXAMPLE.parent / "data", folder / "dags" / "data")
    with database() as tables, redis(folder) as broker:
        address = tables.settings["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]
        executor = {
            "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
            "AIRFLOW__CELERY__BROKER_URL": broker,
            "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{address}",
        }
        with Stack(
            folder / "run", folder / "dags", settings={**tables.settings, **executor, **SILENCE}
        ) as running:
            for name in WORKERS:
                running.start(CELERY_WORKER, "-H", f"{name}@{LOOPBACK}", "-c", str(SLOTS), name=name)
            yield running


@dataclass(frozen=True)
class Story:
    """A run of the example, in whose middle the first worker was killed.

    ``ran_at`` holds the worker of each partition's first try, ``lost`` the partitions of the killed one, and
    ``finished`` the files that were published before, each with what changes when it is written again.
    """

    run_id: str
    ran_at: dict[int, str]
    lost: set[int]
    finished: dict[Path, tuple[int, int]]


@pytest.fixture(scope="module")
def story(stack: Stack) -> Story:
    stack.api.wait_for_dag(DAG_ID)
    run_id = stack.api.trigger(DAG_ID)
    wait(stack, run_id, lambda: explained(stack, run_id)["success"] >= 2)

    # Nobody answers any more: what runs now still runs when the worker is killed.
    stack.send_signal(CLEARTRACE_LOCAL, signal.SIGSTOP)
    wait(stack, run_id, lambda: explained(stack, run_id)["running"] == SLOTS * len(WORKERS))
    tries = partitions_of(stack, run_id)
    finished = written(stack, run_id)
    stack.kill(WORKERS[0])
    stack.send_signal(CLEARTRACE_LOCAL, signal.SIGCONT)

    lost = {one["map_index"] for one in tries if one["state"] == "running" and at(stack, one) == WORKERS[0]}
    wait(stack, run_id, lambda: stack.api.run_state(DAG_ID, run_id) == "success")
    first_tries = {one["map_index"]: one for one in partitions_of(stack, run_id)}
    first_tries |= {one["map_index"]: one for one in tries if one["map_index"] in lost}
    ran_at = {index: at(stack, one) for index, one in first_tries.items()}
    return Story(run_id, ran_at, lost, finished)


def test_both_workers_ran_partitions(story: Story) -> None:
    assert sorted(story.ran_at) == list(range(PARTITIONS))
    counted = Counter(story.ran_at.values())
    assert counted.keys() == set(WORKERS)
    assert min(counted.values()) >= SLOTS


def test_a_killed_worker_costs_its_own_partitions_a_try_and_nothing_else(stack: Stack, story: Story) -> None:
    assert len(story.lost) == SLOTS
    tries = {one["map_index"]: one["try_number"] for one in partitions_of(stack, story.run_id)}
    assert tries == {index: 2 if index in story.lost else 1 for index in range(PARTITIONS)}
    # Airflow 3.3 may fail a task that resumes before its deferral is booked (apache/airflow #71580).
    others = [one for one in tasks(stack, story.run_id) if one["task_id"] not in {"explain", "fit"}]
    assert {one["task_id"]: one["try_number"] for one in others} == dict.fromkeys(
        ("land", "cut", "publish"), 1
    )


def test_no_partition_touches_the_output_of_another(stack: Stack, story: Story) -> None:
    assert story.finished
    assert story.finished.items() <= written(stack, story.run_id).items()
    cut = stack.api.return_value(DAG_ID, story.run_id, "cut")
    folder = explanations(stack, story.run_id)
    assert {path.name for path in folder.iterdir()} == {"_SUCCESS", *map(str, range(PARTITIONS))}
    for index in range(PARTITIONS):
        made = json.loads((folder / str(index) / "_SUCCESS").read_bytes())
        assert made["made_by"]["task"] == [DAG_ID, "explain", story.run_id, index]
        assert made["made_by"]["data"] == cut[index]
        assert {path.name for path in (folder / str(index)).iterdir()} == {
            "_SUCCESS",
            *(entry["name"] for entry in made["files"]),
        }


def test_the_one_manifest_holds_every_row_once(stack: Stack, story: Story) -> None:
    told = stack.api.return_value(DAG_ID, story.run_id, "publish")
    assert told["partitions"] == PARTITIONS
    assert told["rows"] == told["rows_written"] == ROWS
    explained = frame(told["output_uri"], ["row", "day", "prediction"])
    assert explained["row"].tolist() == list(range(ROWS))

    landed = pd.read_parquet(stack.output / story.run_id / "applications")
    assert explained["day"].tolist() == landed["day"].tolist()
    with ClearTrace(stack.cleartrace_url, stack.cleartrace_key) as client:
        predicted = client.load(told["model_id"]).predict(landed.drop(columns="day"))
    assert explained["prediction"].tolist() == pytest.approx(list(predicted), abs=1e-9)


def test_the_model_was_trained_by_one_job(stack: Stack, story: Story) -> None:
    with contextlib.closing(sqlite3.connect(stack.cleartrace_data / "state.db")) as connection:
        assert connection.execute("SELECT status FROM jobs").fetchall() == [("completed",)]


def tasks(stack: Stack, run_id: str) -> list[dict[str, Any]]:
    """Airflow's own answer for each task instance of the run."""
    path = f"/dags/{DAG_ID}/dagRuns/{quote(run_id, safe='')}/taskInstances?limit=100"
    instances: list[dict[str, Any]] = stack.api.request("GET", path)["task_instances"]
    return instances


def partitions_of(stack: Stack, run_id: str) -> list[dict[str, Any]]:
    return [one for one in tasks(stack, run_id) if one["task_id"] == "explain"]


def explained(stack: Stack, run_id: str) -> Counter[str]:
    """How many partitions are in which state."""
    return Counter(one["state"] for one in partitions_of(stack, run_id))


def at(stack: Stack, one: dict[str, Any]) -> str:
    """The worker that says that it was given this try of a task."""
    (worker,) = (name for name in WORKERS if one["id"] in stack.log_of(name).read_text(encoding="utf-8"))
    return worker


def explanations(stack: Stack, run_id: str) -> Path:
    return stack.output / run_id / "explanations"


def written(stack: Stack, run_id: str) -> dict[Path, tuple[int, int]]:
    """The published files of partitions, each with what changes when it is written again."""
    published = explanations(stack, run_id).glob("[0-9]*/*")
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in published}


def frame(uri: str, columns: list[str]) -> pd.DataFrame:
    return pd.concat([block.batch.to_pandas() for block in find_source(uri).read(columns)])


def wait(stack: Stack, run_id: str, condition: Callable[[], bool]) -> None:
    """Wait until the condition holds, while the stack is well and the run did not fail."""
    deadline = time.monotonic() + LIMIT
    while not condition():
        stack.check()
        states = [(one["task_id"], one["map_index"], one["state"]) for one in tasks(stack, run_id)]
        late = time.monotonic() > deadline or stack.api.run_state(DAG_ID, run_id) == "failed"
        assert not late, f"{states}\n{log_tail(stack.log_of(WORKERS[1]))}"
        time.sleep(0.5)
