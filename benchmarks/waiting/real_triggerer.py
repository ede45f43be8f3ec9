"""Contestants in a real Airflow triggerer that finds all of their triggers waiting when it starts."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # no stubs are published with it

from benchmarks.waiting.contestants import CONTESTANTS, StallMeter
from benchmarks.waiting.figures import LOOK_AROUND, Figures, measure
from benchmarks.waiting.plain_loop import connection
from benchmarks.waiting.status_server import StatusServer
from example_dags.demo.processes import Processes, log_tail, processes_of
from tests.system.recovery.databases import database

PATIENCE = 600.0
CAPACITY = 10_000
START_LIMIT = 120.0


@contextlib.contextmanager
def airflow_home() -> Iterator[dict[str, str]]:
    """The environment of an Airflow with a migrated, empty database."""
    with tempfile.TemporaryDirectory() as folder, database() as metadata:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
        environment |= {"AIRFLOW_HOME": folder, "AIRFLOW__CORE__LOAD_EXAMPLES": "False", **metadata.settings}
        airflow(environment, "db", "migrate")
        yield environment


def airflow(environment: Mapping[str, str], *arguments: str) -> None:
    command = (sys.executable, "-m", "airflow", *arguments)
    subprocess.run(command, env=dict(environment), check=True, capture_output=True)


def fill(contestant: str, jobs: int, stalls: str) -> None:
    """Replace what the database has by the triggers of one contestant and a meter of stalls.

    Each hangs on an asset's watcher: the triggerer runs it like that of a deferred task, and no run of a DAG
    has to be made up.
    """
    from airflow.models.asset import AssetModel, AssetWatcherModel
    from airflow.models.trigger import Trigger
    from airflow.utils.session import create_session
    from sqlalchemy import delete

    waiting = [StallMeter(stalls), *(CONTESTANTS[contestant](f"m-{job}") for job in range(jobs))]
    with create_session() as session:
        for model in (AssetWatcherModel, AssetModel, Trigger):
            session.execute(delete(model))
        asset = AssetModel(name="jobs", uri="jobs", group="asset", extra={})
        rows = [Trigger.from_object(trigger) for trigger in waiting]
        session.add_all([asset, *rows])
        session.flush()
        session.add_all(
            AssetWatcherModel(name=f"job-{row.id}", asset_id=asset.id, trigger_id=row.id) for row in rows
        )


def measure_in_triggerer(
    environment: Mapping[str, str], server: StatusServer, contestant: str, scheme: str, jobs: int
) -> Figures:
    """Start a triggerer on a database full of one contestant's triggers, and watch what runs them."""
    with tempfile.TemporaryDirectory() as folder:
        stalls = Path(folder) / "stalls"
        full = {**environment, "AIRFLOW_CONN_CLEARTRACE_DEFAULT": connection(server, scheme)}
        filling = (sys.executable, "-m", __name__, contestant, str(jobs), str(stalls))
        subprocess.run(filling, env=full, check=True, stdout=subprocess.DEVNULL)
        server.reset()
        with Processes(folder, Path(folder)) as processes:
            command = ("-m", "airflow", "triggerer", "--skip-serve-logs", "--capacity", str(CAPACITY))
            processes.start("triggerer", (sys.executable, *command), full)
            begun = time.time()
            while not stalls.exists():  # the first of all triggers makes it
                processes.check()
                if time.time() - begun > START_LIMIT:
                    raise TimeoutError(f"no trigger started: {log_tail(processes.log_of('triggerer'))}")
                time.sleep(LOOK_AROUND)
            begun = time.time()
            runner = _runner(folder)
            bare = runner.memory_info().rss
            return measure(runner, server, jobs, stalls, begun=begun, bare=bare, patience=PATIENCE)


def _runner(owner: str) -> psutil.Process:
    """The child in which the triggerer runs the triggers."""
    own = processes_of(owner)
    (child,) = (process for process in own if process.ppid() in {other.pid for other in own})
    return child


if __name__ == "__main__":
    fill(sys.argv[1], int(sys.argv[2]), sys.argv[3])
