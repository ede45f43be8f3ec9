"""Runs operators as Airflow's worker and triggerer do, without a scheduler."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from types import SimpleNamespace
from typing import Any

from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_cleartrace.triggers.job import ClearTraceJobTrigger


def context(task_id: str = "task", **fields: Any) -> Any:
    xcom: dict[str, Any] = {}
    ti = {
        "xcom": xcom,
        "xcom_push": lambda key, value: xcom.update({key: value}),
        "dag_id": "dag",
        "task_id": task_id,
        "run_id": "run",
        "map_index": -1,
        "try_number": 1,
        "max_tries": 0,
        "start_date": dt.datetime.now(dt.UTC),
    }
    return {"ti": SimpleNamespace(**ti | fields)}


class Store:
    """The interface of Airflow 3.3's task state store, in memory."""

    def __init__(self) -> None:
        self.entries: dict[str, Any] = {}

    def get(self, key: str, default: Any = None) -> Any:
        return json.loads(self.entries[key]) if key in self.entries else default

    def set(self, key: str, value: Any) -> None:
        self.entries[key] = json.dumps(value)

    def delete(self, key: str) -> None:
        self.entries.pop(key, None)


def through_json(trigger: ClearTraceJobTrigger) -> ClearTraceJobTrigger:
    """The trigger as the triggerer gets it: rebuilt from its serialized arguments."""
    path, arguments = trigger.serialize()
    assert path == "airflow_provider_cleartrace.triggers.job.ClearTraceJobTrigger"
    return ClearTraceJobTrigger(**json.loads(json.dumps(arguments)))


def fire(trigger: ClearTraceJobTrigger) -> Any:
    """Run a trigger until its event."""

    async def first_event() -> Any:
        async for event in trigger.run():
            return event.payload

    return json.loads(json.dumps(asyncio.run(first_event())))


def run(build: Any, told: Any = None) -> Any:
    """Execute a task; whenever it defers, run its trigger and resume in a new operator, as Airflow would."""
    told = told or context()
    method, arguments = "execute", {}
    while True:
        try:
            return getattr(build(), method)(told, **arguments)
        except TaskDeferred as deferred:
            method, arguments = deferred.method_name, {"event": fire(through_json(deferred.trigger))}
