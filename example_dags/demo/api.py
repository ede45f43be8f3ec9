"""What the demo needs of Airflow's REST API v2, with the standard library alone."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import quote, urlencode

HEALTHY = "healthy"
REQUEST_TIMEOUT = 30.0

#: Airflow cuts longer pages to its `[api] maximum_page_limit`, 100 by default.
PAGE = 100

#: The DAG processor reads the folder every 5 s.
DAG_LIMIT = 60.0
DAG_POLL = 1.0

#: Sorts after every ISO date.
NOT_STARTED = "~"

#: A task's key within its run: its id, and its index where it is mapped, else -1.
TaskKey = tuple[str, int]


class AirflowApiError(RuntimeError):
    """Airflow refused a request, or does not know what it asks for."""


class DagNotFound(AirflowApiError):
    """The DAG did not appear in time, or its file cannot be imported."""


@dataclass(frozen=True)
class TaskInstance:
    """One task of one run, with the state it is in."""

    task_id: str
    map_index: int
    state: str | None
    duration: float | None
    end: datetime | None
    try_number: int

    @property
    def key(self) -> TaskKey:
        """The task's id and map index."""
        return self.task_id, self.map_index

    @property
    def label(self) -> str:
        """The task's id, with the map index of a mapped one."""
        return self.task_id if self.map_index < 0 else f"{self.task_id}[{self.map_index}]"


@dataclass(frozen=True)
class StateChange:
    """A row of Airflow's event log: at this moment a task entered this state."""

    key: TaskKey
    state: str
    when: datetime


def deferred_seconds(changes: Iterable[StateChange], tasks: Iterable[TaskInstance]) -> dict[TaskKey, float]:
    """Return for each task that was deferred how long it held no worker slot, in seconds, over all its tries.

    A deferral lasts from the moment the worker handed the task over until a worker took it up again: the
    trigger's wait and the scheduling after it. Where the trigger itself ended the task, which the event log
    does not tell, it lasts until the task's end.

    Args:
        changes: The state changes of one run, oldest first.
        tasks: The tasks of the same run.
    """
    since: dict[TaskKey, datetime] = {}
    seconds: dict[TaskKey, float] = {}

    def close(key: TaskKey, end: datetime) -> None:
        seconds[key] = seconds.get(key, 0.0) + (end - since.pop(key)).total_seconds()

    for change in changes:
        if change.key in since:
            close(change.key, change.when)
        if change.state == "deferred":
            since[change.key] = change.when
    for task in tasks:
        if task.key in since and task.end is not None:
            close(task.key, task.end)
    return seconds


class AirflowApi:
    """A client for one api-server on this machine.

    ``http.client`` and not ``urllib.request``, because the latter obeys the shell's proxy settings.
    """

    def __init__(self, host: str, port: int, user: str, password: str) -> None:
        self._address = host, port
        self._login = {"username": user, "password": password}
        self._token: str | None = None

    def request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Send a request to a ``path`` below ``/api/v2`` and return the JSON of its answer.

        Raises:
            AirflowApiError: It is refused.
        """
        if self._token is None:
            self._token = self._send("POST", "/auth/token", self._login)["access_token"]
        return self._send(method, f"/api/v2{path}", body, {"Authorization": f"Bearer {self._token}"})

    def health(self) -> dict[str, str]:
        """Return each component's health; an api-server that does not answer yet is told as such."""
        try:
            answer = self._send("GET", "/api/v2/monitor/health")
        except (OSError, HTTPException, AirflowApiError) as error:
            return {"api-server": f"no answer yet ({error})"}
        return {name: part["status"] or "not started" for name, part in answer.items()}

    def wait_for_dag(self, dag_id: str, limit: float = DAG_LIMIT) -> None:
        """Wait until the DAG processor has read the DAG.

        Raises:
            DagNotFound: A file of the DAGs folder cannot be imported, or the time is over.
        """
        deadline = time.monotonic() + limit
        while dag_id not in {dag["dag_id"] for dag in self._get("/dags", limit=PAGE)["dags"]}:
            errors = self._get("/importErrors")["import_errors"]
            if errors:
                raise DagNotFound(
                    "\n".join(f"{error['filename']}: {error['stack_trace']}" for error in errors)
                )
            if time.monotonic() > deadline:
                raise DagNotFound(f"The DAG {dag_id!r} did not appear within {limit:.0f} s.")
            time.sleep(DAG_POLL)

    def trigger(self, dag_id: str) -> str:
        """Start a run of the DAG and return its run id."""
        run: dict[str, Any] = self.request("POST", f"/dags/{quote(dag_id)}/dagRuns", {"logical_date": None})
        return str(run["dag_run_id"])

    def run_state(self, dag_id: str, run_id: str) -> str:
        """Return the state of a run: queued, running, success or failed."""
        return str(self._get(_run_path(dag_id, run_id))["state"])

    def task_instances(self, dag_id: str, run_id: str) -> list[TaskInstance]:
        """Return the run's tasks in the order of their start, each expansion of a mapped one by itself."""
        rows = self._pages(f"{_run_path(dag_id, run_id)}/taskInstances", "task_instances")
        rows.sort(key=lambda row: (row["start_date"] or NOT_STARTED, row["task_id"], row["map_index"]))
        return [
            TaskInstance(
                row["task_id"],
                row["map_index"],
                row["state"],
                row["duration"],
                None if row["end_date"] is None else datetime.fromisoformat(row["end_date"]),
                row["try_number"],
            )
            for row in rows
        ]

    def state_changes(self, dag_id: str, run_id: str) -> list[StateChange]:
        """Return what the event log says about the run's tasks, oldest first."""
        rows = self._pages("/eventLogs", "event_logs", dag_id=dag_id, run_id=run_id, order_by="event_log_id")
        return [
            StateChange(
                (row["task_id"], -1 if row["map_index"] is None else row["map_index"]),
                row["event"],
                datetime.fromisoformat(row["when"]),
            )
            for row in rows
            if row["task_id"] is not None
        ]

    def return_value(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> Any:
        """Return what a task returned.

        Raises:
            AirflowApiError: It returned nothing.
        """
        path = f"{_run_path(dag_id, run_id)}/taskInstances/{quote(task_id)}/xcomEntries/return_value"
        return self._get(path, map_index=map_index)["value"]

    def log(self, dag_id: str, run_id: str, task: TaskInstance) -> list[str]:
        """Return the lines that a task logged in its last try."""
        path = f"{_run_path(dag_id, run_id)}/taskInstances/{quote(task.task_id)}/logs/{task.try_number}"
        content = self._get(path, map_index=task.map_index, full_content="true")["content"]
        return [_log_line(entry) for entry in content]

    def _pages(self, path: str, key: str, **query: Any) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        while True:
            page = self._get(path, limit=PAGE, offset=len(rows), **query)
            rows += page[key]
            if not page[key] or len(rows) >= page["total_entries"]:
                return rows

    def _get(self, path: str, **query: Any) -> Any:
        return self.request("GET", f"{path}?{urlencode(query)}")

    def _send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        connection = HTTPConnection(*self._address, timeout=REQUEST_TIMEOUT)
        try:
            connection.request(
                method,
                path,
                body=None if body is None else json.dumps(body),
                headers={"Accept": "application/json", "Content-Type": "application/json", **(headers or {})},
            )
            response = connection.getresponse()
            text = response.read().decode("utf-8", errors="replace")
        finally:
            connection.close()
        if response.status >= 400:
            raise AirflowApiError(f"{method} {path}: HTTP {response.status} {text[:500]}")
        return json.loads(text)


def _run_path(dag_id: str, run_id: str) -> str:
    return f"/dags/{quote(dag_id)}/dagRuns/{quote(run_id, safe='')}"


def _log_line(entry: Any) -> str:
    """Return a log entry as one line, with the errors it carries and where they were raised."""
    if not isinstance(entry, dict):
        return str(entry)
    errors = [
        f"{error['exc_type']}: {error['exc_value']} ({frame['filename']}:{frame['lineno']})"
        for error in entry.get("error_detail") or ()
        for frame in error["frames"][-1:]
    ]
    return " ".join([str(entry.get("event", "")), *errors]).strip()
