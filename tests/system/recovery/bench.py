"""One running stack, its held-back teacher, and what can be asked of them."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from example_dags.demo.processes import log_tail
from example_dags.demo.stack import CLEARTRACE_LOCAL, Stack
from tests.system.recovery.databases import PostgreSql, Sqlite
from tests.system.recovery.held_teacher import HeldTeacher
from tests.system.recovery.secrecy import TABLES, Written

#: For whatever has to happen sooner or later on a machine under load, in seconds.
LIMIT = 240.0
POLL = 0.5

POOL = "/pools/default_pool?update_mask=slots"
POOL_SLOTS = 128

#: What the teacher's connection holds, in Airflow's database; strange enough to be quoted in a URL.
TEACHER_PASSWORD = "canary+of/the=teacher&0123456789"


@dataclass(frozen=True)
class Job:
    """A row of ClearTrace Local's queue; ``starts`` counts the processes that worked on it."""

    model_id: str
    status: str
    error: str | None
    starts: int


@dataclass(frozen=True)
class Run:
    """One run of a DAG."""

    bench: Bench
    dag_id: str
    run_id: str

    @property
    def path(self) -> str:
        return f"/dags/{self.dag_id}/dagRuns/{quote(self.run_id, safe='')}/taskInstances"

    def tasks(self) -> list[dict[str, Any]]:
        """Airflow's own answer for each task instance."""
        instances: list[dict[str, Any]] = self.bench.stack.api.request("GET", f"{self.path}?limit=100")[
            "task_instances"
        ]
        return instances

    def task(self, task_id: str) -> dict[str, Any]:
        (instance,) = (instance for instance in self.tasks() if instance["task_id"] == task_id)
        return instance

    def states(self) -> Counter[str | None]:
        return Counter(instance["state"] for instance in self.tasks())

    def mark(self, task_id: str, state: str) -> None:
        """What the UI does for "Mark state as"."""
        self.bench.stack.api.request("PATCH", f"{self.path}/{task_id}", {"new_state": state})

    def clear(self, task_id: str) -> None:
        """What the UI does for "Clear"."""
        wanted = {"dag_run_id": self.run_id, "task_ids": [task_id], "only_failed": False, "dry_run": False}
        self.bench.stack.api.request("POST", f"/dags/{self.dag_id}/clearTaskInstances", wanted)

    def wait(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds, while the stack is well.

        What a failure shows are the states of the tasks and the jobs behind them.
        """
        self.bench.wait(condition, lambda: f"{self._situation()}; {self.jobs()}")

    def wait_for_states(self, **counts: int) -> None:
        """Wait until so many tasks are in each of these states, and none in another."""
        self.wait(lambda: self.states() == Counter(counts))

    def waiting_at(self) -> Counter[int | None]:
        """How many triggers each triggerer holds, by its id; None: they are nobody's yet."""
        triggers = (instance["trigger"] for instance in self.tasks())
        return Counter(trigger["triggerer_id"] for trigger in triggers if trigger)

    def logs(self) -> str:
        """All that workers and triggerers wrote for this run."""
        folder = self.bench.stack.airflow_home / "logs" / f"dag_id={self.dag_id}" / f"run_id={self.run_id}"
        return "".join(path.read_text(encoding="utf-8") for path in folder.rglob("*.log"))

    def looks_told(self) -> int:
        """How many lines the triggers wrote of what they saw: the first tells that one is at work."""
        return self.logs().count('"logger":"airflow_provider_cleartrace.triggers.job"')

    def told_model(self, task_id: str, map_index: int = -1) -> str:
        """The model id that a task returned."""
        told = self.bench.stack.api.return_value(self.dag_id, self.run_id, task_id, map_index)
        return str(told["model_id"])

    def jobs(self, task_id: str = "") -> list[Job]:
        """The jobs that were submitted for this run, in their order."""
        return self.bench.jobs(f"{self.dag_id}-{task_id}")

    def _situation(self) -> list[tuple[Any, ...]]:
        return [
            (task["task_id"], task["map_index"], task["state"], task["try_number"]) for task in self.tasks()
        ]


@dataclass
class Bench:
    """What the scenarios share. Each has a DAG of its own, and so model ids of its own."""

    stack: Stack
    teacher: HeldTeacher
    database: PostgreSql | Sqlite
    _triggerers: list[str] = field(default_factory=lambda: ["triggerer"])
    _counted: Counter[str] = field(default_factory=Counter)
    _last_job: int = 0

    def begin(self) -> None:
        """Hold the teacher; what counts are the jobs and requests from now on."""
        self.teacher.hold()
        self._counted = self._requests_ever()
        ((last,),) = self._query("SELECT coalesce(max(job_id), 0) FROM jobs")
        self._last_job = last

    def end(self) -> None:
        """Let every job end, so that the next test finds the workers of ClearTrace Local free."""
        self.teacher.release()
        self.wait(lambda: not self._query("SELECT 1 FROM jobs WHERE status IN ('pending', 'running')"))

    def run(self, dag_id: str) -> Run:
        """Start a run."""
        self.stack.api.wait_for_dag(dag_id)
        return Run(self, dag_id, self.stack.api.trigger(dag_id))

    def wait(self, condition: Callable[[], bool], situation: Callable[[], object] = str) -> None:
        """Wait until the condition holds, while the stack is well."""
        deadline = time.monotonic() + LIMIT
        while not condition():
            self.stack.check()
            assert time.monotonic() < deadline, situation()
            time.sleep(POLL)

    @contextlib.contextmanager
    def no_task_starts(self) -> Iterator[None]:
        """Let no worker take up a task for the time of the block."""
        self.stack.api.request("PATCH", POOL, {"slots": 0})
        try:
            yield
        finally:
            self.stack.api.request("PATCH", POOL, {"slots": POOL_SLOTS})

    def start_triggerer(self, *flags: str) -> tuple[str, int]:
        """Start one more triggerer; return its name and its id once it lives."""
        known = self._triggerers_ever()
        name = f"triggerer-{1 + max(known)}"
        self.stack.start("triggerer", *flags, name=name)
        self._triggerers.append(name)
        self.wait(lambda: self._triggerers_ever() > known, lambda: log_tail(self.stack.log_of(name)))
        (started,) = self._triggerers_ever() - known
        return name, started

    def kill_triggerer(self, name: str) -> None:
        """End one with SIGKILL."""
        self.stack.kill(name)
        self._triggerers.remove(name)

    def kill_triggerers(self) -> None:
        """End all with SIGKILL."""
        for name in tuple(self._triggerers):
            self.kill_triggerer(name)

    def _triggerers_ever(self) -> set[int]:
        told = self.stack.api.request("GET", "/jobs?job_type=TriggererJob&limit=100")["jobs"]
        return {job["id"] for job in told}

    def jobs(self, model_ids: str) -> list[Job]:
        """What ClearTrace Local has on record since the test began, for models whose id begins so."""
        rows = self._query(
            "SELECT model_id, status, error, attempt FROM jobs WHERE job_id > ? AND model_id GLOB ? "
            "ORDER BY job_id",
            self._last_job,
            f"{model_ids}*",
        )
        return [Job(*row) for row in rows]

    def _query(self, statement: str, *values: object) -> list[Any]:
        database = f"file:{self.stack.cleartrace_data / 'state.db'}?mode=ro"
        with contextlib.closing(sqlite3.connect(database, uri=True, timeout=30)) as connection:
            return connection.execute(statement, values).fetchall()

    def requests(self) -> Counter[str]:
        """How often ClearTrace Local was asked to submit and to cancel since the test began."""
        return self._requests_ever() - self._counted

    def _requests_ever(self) -> Counter[str]:
        counts: Counter[str] = Counter()
        for line in self.stack.log_of(CLEARTRACE_LOCAL).read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                if entry.get("event") == "request" and entry["path"] == "/v1/fit_distill":
                    counts["submit"] += 1
                if entry.get("event") == "request" and entry["method"] == "DELETE":
                    counts["cancel"] += 1
        return counts

    def assert_no_secret_is_written(self, control: str) -> None:
        """Search all files and tables for the secrets, and for a text that logs and database do hold."""
        written = Written([self.stack.folder, *self.database.folders], self.database)
        found = written.secrets(self._secrets())
        assert not found, found
        names = {Path(place).name for place in written.places_of(control)}
        assert any(name.endswith(".log") for name in names), names
        assert any(name == TABLES or name.startswith("airflow.db") for name in names), names

    def _secrets(self) -> dict[str, str]:
        return {"the API key": self.stack.cleartrace_key, "the teacher's password": TEACHER_PASSWORD}
