"""One task, one job, one faulty network: what the fault tests play in, in every mode of waiting."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import logging
import sys
import time
import traceback
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred
from airflow.triggers.base import BaseTrigger

from airflow_provider_cleartrace.client import submitting
from airflow_provider_cleartrace.operators.training import ClearTraceFitOperator
from airflow_provider_cleartrace.sensors.job import ClearTraceJobSensor
from tests.integration.airflow_tasks import context, fire, through_json
from tests.integration.fault_proxy import Fault, FaultProxy, Rule, fault_proxy
from tests.integration.local_server import LocalServer

KEYS = ("canary-key-one", "canary-key-two")
"""What the proxy knows its clients by; the server never sees them."""

SUBMIT = "POST /v1/fit"
PRESIGN = "POST /v1/uploads"
PUT = "PUT /uploads"
LOOK = "GET /v1/models/{model_id}/status"
CANCEL = "DELETE /v1/models/{model_id}/job"
SCHEMA = "GET /v1/models/{model_id}/schema"

VISIBLE_WITHIN = 1.0
"""Seconds within which the proxy's service shows what a submit has brought about."""

POKE_INTERVAL = 0.1

POKES = 20
"""More looks than any row needs: a sensor that never ends is a failure, not a hang."""


REMEMBERS = hasattr(BaseTrigger, "on_kill")
"""Whether this Airflow (3.3+) keeps what a task wants to know again in its next process."""


class StateStore:
    """The interface of Airflow 3.3's task state store, in memory."""

    def __init__(self) -> None:
        self.entries: dict[str, str] = {}

    def get(self, key: str, default: Any = None) -> Any:
        return json.loads(self.entries[key]) if key in self.entries else default

    def set(self, key: str, value: Any) -> None:
        self.entries[key] = json.dumps(value)

    def delete(self, key: str) -> None:
        self.entries.pop(key, None)


@dataclass
class Clock:
    """The wall clock of this process, which can be put forward: hours of an outage pass in no time."""

    offset: float = 0.0
    _real: Callable[[], float] = time.time

    def __call__(self) -> float:
        return self._real() + self.offset

    def forward(self, seconds: float) -> None:
        self.offset += seconds


def new_task() -> Any:
    """The context of a task that runs for the first time."""
    told = context("fit", run_id=uuid.uuid4().hex)
    return told | {"task_state_store": StateStore()} if REMEMBERS else told


@dataclass
class Scene:
    """A task in front of a proxy; ``told`` gathers everything the task let out, to be searched for secrets.

    Attributes:
        trained: a model that is completed before the scene begins, for sensors to wait for.
        waits_only: whether somebody else has submitted the job.
    """

    server: LocalServer
    proxy: FaultProxy
    clock: Clock
    data: Path
    trained: str
    patch: pytest.MonkeyPatch
    extra: dict[str, Any] = field(default_factory=dict)
    task: Any = field(default_factory=new_task)
    waits_only: bool = False
    told: list[str] = field(default_factory=list)

    def connect(self, key: str) -> None:
        """Have the Airflow connection lead to the proxy, with this key."""
        extra = {"poll_interval": 0.05, "max_retries": 1, "timeout": 30.0} | self.extra
        connection = {"conn_type": "cleartrace", "host": self.proxy.url, "password": key, "extra": extra}
        self.patch.setenv("AIRFLOW_CONN_CLEARTRACE_DEFAULT", json.dumps(connection))

    def rotate_key(self) -> None:
        """From now on there is another key, in the service and in the connection."""
        self.proxy.key = KEYS[1]
        self.connect(KEYS[1])

    def restart_server(self) -> None:
        """The server dies with its job under way, and comes back."""
        self.server.kill()
        self.server.start()

    def break_exchanges(self, endpoint: str, fault: Fault, first: int = 1, last: float | None = None) -> None:
        """Have the proxy spoil exchanges; looks at the job are counted from its submit on."""
        after = SUBMIT if endpoint == LOOK and not self.waits_only else None
        self.proxy.rules.append(Rule(endpoint, fault, first, first if last is None else last, after))

    def fit(self, *, deferrable: bool) -> ClearTraceFitOperator:
        """The task, as each process that works on it builds it anew."""
        return ClearTraceFitOperator(
            task_id="fit",
            data=str(self.data),
            target="y",
            config={"mode": "fast", "n_hyperopt_steps": 1},
            deferrable=deferrable,
        )

    def sensor(self, **arguments: Any) -> ClearTraceJobSensor:
        """A sensor for the model that is trained already."""
        return ClearTraceJobSensor(
            task_id="wait", model_id=self.trained, poke_interval=POKE_INTERVAL, timeout=1e6, **arguments
        )

    def play(self, mode: Callable[[Scene], Any]) -> Any:
        """Run the task; give what it returns, or the exception it ends with."""
        try:
            result = mode(self)
        except Exception as error:
            self.told.append("".join(traceback.format_exception(error)))
            return error
        self.told.append(json.dumps(result))
        return result

    def deferred(self, build: Callable[[], Any]) -> Any:
        """Execute, run the trigger in another "process", resume in a third; nothing but JSON in between."""
        method, arguments = "execute", {}
        while True:
            try:
                return getattr(build(), method)(self.task, **arguments)
            except TaskDeferred as deferral:
                event = fire(through_json(deferral.trigger))
                self.told.append(json.dumps([deferral.trigger.serialize(), deferral.kwargs, event]))
                method, arguments = deferral.method_name, {"event": event}

    def secrets(self) -> set[str]:
        """What must never be let out."""
        assert self.proxy.signatures or not self.proxy.passed[PRESIGN]
        return {*KEYS, self.server.api_key} | self.proxy.signatures


def blocking(scene: Scene) -> Any:
    """An operator that waits on its worker."""
    return scene.fit(deferrable=False).execute(scene.task)


def deferrable(scene: Scene) -> Any:
    """An operator that waits in the triggerer."""
    return scene.deferred(lambda: scene.fit(deferrable=True))


def poke(scene: Scene) -> Any:
    """A sensor that keeps its worker."""
    return scene.sensor(mode="poke").execute(scene.task)


def reschedule(scene: Scene) -> Any:
    """A sensor that is a new process at each look."""
    first = dt.datetime.fromtimestamp(time.time(), dt.UTC)
    scene.task["ti"].get_first_reschedule_date = lambda _: first if REMEMBERS else None
    for _ in range(POKES):
        if scene.sensor(mode="reschedule").poke(scene.task):
            return None
        time.sleep(POKE_INTERVAL)
    return "never ended"


def deferrable_sensor(scene: Scene) -> Any:
    """A sensor that waits in the triggerer."""
    return scene.deferred(lambda: scene.sensor(deferrable=True))


@contextlib.contextmanager
def debug_lines(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Have every logger tell all it can, those of tasks too: Airflow 3 gives them a level of their own."""
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="airflow.task")
    structlog = sys.modules.get("structlog")
    if structlog is None:  # Airflow 2
        yield
        return
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG))
    try:
        yield
    finally:
        structlog.configure(**before)


OPERATORS = (blocking, deferrable)
SENSORS = (poke, reschedule, deferrable_sensor)


def without_identity(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest without what differs from run to run."""
    return {name: value for name, value in manifest.items() if name not in {"model_id", "elapsed_seconds"}}


@contextlib.contextmanager
def scene(
    server: LocalServer, data: Path, trained: str, patch: pytest.MonkeyPatch, *, waits_only: bool = False
) -> Iterator[Scene]:
    """Set a scene without faults."""
    clock = Clock()
    patch.setattr(time, "time", clock)
    patch.setattr(submitting, "VISIBLE_WITHIN", VISIBLE_WITHIN)
    with fault_proxy(server.base_url, server.api_key, KEYS[0]) as proxy:
        set_up = Scene(server, proxy, clock, data, trained, patch, waits_only=waits_only)
        set_up.connect(KEYS[0])
        yield set_up
