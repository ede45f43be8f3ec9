"""Runs of DAGs on a stack: started together, each waited for where it is looked at."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from example_dags.demo.stack import Stack

#: Several examples share two cores.
RUN_LIMIT = 420.0
RUN_POLL = 0.5
FINISHED = {"success", "failed"}


def start(stack: Stack, dag_id: str, **body: Any) -> Run:
    """Start a run of a DAG, which may have been paused; ``body`` is that of Airflow's API (``conf``, ...)."""
    unpause(stack, dag_id)
    path = f"/dags/{dag_id}/dagRuns"
    return Run(stack, dag_id, stack.api.request("POST", path, {"logical_date": None, **body})["dag_run_id"])


def unpause(stack: Stack, dag_id: str) -> None:
    """Wait for a DAG, and let its schedule begin."""
    stack.api.wait_for_dag(dag_id)
    stack.api.request("PATCH", f"/dags/{dag_id}", {"is_paused": False})


def scheduled(stack: Stack, dag_id: str, *, count: int) -> list[Run]:
    """Wait until a DAG has so many runs, which its schedule makes; the earliest comes first."""
    deadline = time.monotonic() + RUN_LIMIT
    while True:
        stack.check()
        made = stack.api.request("GET", f"/dags/{dag_id}/dagRuns?order_by=logical_date")["dag_runs"]
        if len(made) >= count:
            return [Run(stack, dag_id, run["dag_run_id"]) for run in made]
        assert time.monotonic() < deadline, made
        time.sleep(RUN_POLL)


@dataclass(frozen=True)
class Run:
    """One run of a DAG on a stack."""

    stack: Stack
    dag_id: str
    run_id: str

    @property
    def path(self) -> str:
        """The run in Airflow's API."""
        return f"/dags/{self.dag_id}/dagRuns/{quote(self.run_id, safe='')}"

    @property
    def folder(self) -> Path:
        """Where the examples write what belongs to a run alone."""
        return self.stack.output / self.run_id

    def states(self) -> dict[str, str | None]:
        """The state of each task, by its id, with the map index of a mapped one."""
        return {task.label: task.state for task in self.stack.api.task_instances(self.dag_id, self.run_id)}

    def ended(self, expected: str = "success") -> dict[str, str | None]:
        """Wait for the end of the run, and give the states of its tasks."""
        deadline = time.monotonic() + RUN_LIMIT
        while (state := self.stack.api.run_state(self.dag_id, self.run_id)) not in FINISHED:
            self.stack.check()
            assert time.monotonic() < deadline, self.states()
            time.sleep(RUN_POLL)
        assert state == expected, self.failures()
        return self.states()

    def clear(self, *task_ids: str) -> None:
        """Have all tasks done again, or some of them alone."""
        body = {"dry_run": False, "only_failed": False, "dag_run_id": self.run_id}
        chosen = {"task_ids": list(task_ids)} if task_ids else {}
        self.stack.api.request("POST", f"/dags/{self.dag_id}/clearTaskInstances", body | chosen)

    def told(self, task_id: str, map_index: int = -1) -> Any:
        """What a task returned."""
        return self.stack.api.return_value(self.dag_id, self.run_id, task_id, map_index)

    def failures(self) -> str:
        """The ends of the logs of the tasks that failed."""
        api = self.stack.api
        failed = (each for each in api.task_instances(self.dag_id, self.run_id) if each.state == "failed")
        logs = (api.log(self.dag_id, self.run_id, each)[-30:] for each in failed)
        return "\n".join([str(self.states()), *("\n".join(log) for log in logs)])
