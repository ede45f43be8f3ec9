"""The table of endings, row by row, in every mode: the error, and what its message tells."""

from __future__ import annotations

import datetime as dt
import functools
import json
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from airflow.providers.common.compat.sdk import AirflowSensorTimeout

from airflow_provider_cleartrace.api.errors import (
    AuthenticationError,
    JobFailedError,
    JobStalledError,
    NotFoundError,
    PollTimeoutError,
    ServerError,
    TransportError,
)
from airflow_provider_cleartrace.client import ClearTrace
from airflow_provider_cleartrace.client.polling import Ending, Patience
from airflow_provider_cleartrace.operators.training import ClearTraceFitOperator
from airflow_provider_cleartrace.sensors.job import ClearTraceJobSensor
from tests.integration.airflow_tasks import Store, context, run
from tests.integration.fault_proxy import Fault, FaultProxy, Rule, answered, fault_proxy, passed_on, reset
from tests.integration.local_server import LocalServer

ROOT = Path(__file__).parents[2]
CREDIT = ROOT / "example_dags" / "data" / "german_credit.csv"
STATUS = "GET /v1/models/{model_id}/status"
FIT = "POST /v1/fit"
CANCEL = "DELETE /v1/models/{model_id}/job"


@dataclass(frozen=True)
class Row:
    """One ending: what brings it about, and what the task then says of the job."""

    ending: Ending
    error: type[Exception] | None
    fault: Fault = passed_on
    told: tuple[str, ...] = ()
    steps: int = 500
    cancels: int = 0
    arguments: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.ending}-{self.error.__name__ if self.error else 'success'}"


def says(status: str, **fields: Any) -> Fault:
    return answered(200, {"model_id": "m", "status": status, "job": "fit"} | fields)


MAY_RUN = "it may still run"
ROWS = [
    Row(Ending.COMPLETED, None, steps=1),
    Row(Ending.FAILED, JobFailedError, says("failed", error="no luck"), ("failed: no luck",)),
    Row(
        Ending.TIMEOUT,
        PollTimeoutError,
        told=("not finished after", "it was cancelled"),
        cancels=1,
        arguments={"timeout": 0.5},
    ),
    Row(
        Ending.STALLED,
        JobStalledError,
        says("running", progress=0.5),
        ("'running', no progress for", "it was cancelled"),
        cancels=1,
        arguments={"stall_timeout": 0.3},
    ),
    Row(Ending.LOST, TransportError, reset, ("out of reach", "no good answer for", MAY_RUN)),
    Row(Ending.REFUSED, AuthenticationError, answered(403), ("HTTP 403", MAY_RUN)),
    Row(Ending.REFUSED, ServerError, says("PAUSED"), ("unknown status 'PAUSED'", MAY_RUN)),
]


@pytest.fixture
def service(local_server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    for place in ("triggers.job", "sensors.job"):
        monkeypatch.setattr(
            f"airflow_provider_cleartrace.{place}.Patience",
            functools.partial(Patience, outage=0.3, unknown=0.3),
        )
    with fault_proxy(local_server.base_url, local_server.api_key, "task-key") as proxy:
        connection = {"conn_type": "cleartrace", "host": proxy.url, "password": "task-key"}
        monkeypatch.setenv(
            "AIRFLOW_CONN_CLEARTRACE_DEFAULT", json.dumps(connection | {"extra": {"poll_interval": 0.1}})
        )
        yield proxy


@pytest.fixture
def model_id(local_server: LocalServer) -> Iterator[str]:
    model_id = f"ending-{uuid.uuid4().hex[:8]}"
    yield model_id
    with ClearTrace(local_server.base_url, local_server.api_key) as client:
        client.load(model_id).cancel()


def ends_as(row: Row, service: FaultProxy, model_id: str, task: Callable[[], Any]) -> None:
    """The task succeeds, or raises the row's error with all that somebody on call wants to know."""
    if row.error is None:
        run(task)
        return
    with pytest.raises(row.error) as raised:
        run(task)
    assert type(raised.value) is row.error
    text = str(raised.value)
    for told in (repr(model_id), "fit", f"see {service.url}/#{model_id}", *row.told):
        assert told in text


@pytest.mark.parametrize("deferrable", [False, True], ids=["blocking", "deferrable"])
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_of_an_operator(row: Row, service: FaultProxy, model_id: str, deferrable: bool) -> None:
    service.rules.append(Rule(STATUS, row.fault, last=float("inf"), after=FIT))
    ends_as(
        row,
        service,
        model_id,
        lambda: ClearTraceFitOperator(
            task_id="fit",
            data=str(CREDIT),
            target="good_credit",
            model_id=model_id,
            config={"n_hyperopt_steps": row.steps},
            deferrable=deferrable,
            **row.arguments,
        ),
    )
    assert service.passed[FIT] == 1
    assert service.passed[CANCEL] == row.cancels


@pytest.mark.parametrize("deferrable", [False, True], ids=["blocking", "deferrable"])
@pytest.mark.parametrize("row", [row for row in ROWS if row.ending is not Ending.STALLED], ids=str)
def test_of_a_sensor(
    row: Row, service: FaultProxy, local_server: LocalServer, model_id: str, deferrable: bool
) -> None:
    with ClearTrace(local_server.base_url, local_server.api_key) as client:
        client.fit(
            pd.read_csv(CREDIT),
            target="good_credit",
            model_id=model_id,
            wait=False,
            n_hyperopt_steps=row.steps,
        )
    service.rules.append(Rule(STATUS, row.fault, last=float("inf")))

    def sensor() -> ClearTraceJobSensor:
        return ClearTraceJobSensor(
            task_id="wait",
            model_id=model_id,
            poke_interval=0.1,
            deferrable=deferrable,
            **{"timeout": 60} | row.arguments,
        )

    if row.ending is Ending.TIMEOUT:
        with pytest.raises(AirflowSensorTimeout):
            run(sensor)
        return
    told = tuple(MAY_RUN if "cancelled" in text else text for text in row.told)
    ends_as(Row(row.ending, row.error, told=told), service, model_id, sensor)
    assert service.passed[CANCEL] == 0


class TestASensorThatIsRescheduled:
    """Each of its looks is a process of its own."""

    @pytest.fixture
    def look(self, service: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> Callable[..., bool]:
        """One look so many minutes after the first."""
        began = time.time()

        def look(store: Store, minutes: float, **fields: Any) -> bool:
            first = dt.datetime.fromtimestamp(began, dt.UTC)
            told = context(get_first_reschedule_date=lambda _: first, **fields)
            now = began + 60 * minutes
            monkeypatch.setattr(
                "airflow_provider_cleartrace.sensors.job.time", SimpleNamespace(time=lambda: now)
            )
            sensor = ClearTraceJobSensor(task_id="wait", model_id="nobody", mode="reschedule")
            return sensor.poke(told | {"task_state_store": store})

        monkeypatch.setattr("airflow_provider_cleartrace.sensors.job.Patience", Patience)
        return look

    def test_gives_up_after_an_outage_across_its_looks(
        self, service: FaultProxy, look: Callable[..., bool]
    ) -> None:
        store = Store()
        service.rules.append(Rule(STATUS, says("running")))
        service.rules.append(Rule(STATUS, reset, first=2, last=99))
        assert not look(store, 60)
        assert not look(store, 74)
        with pytest.raises(TransportError, match="no good answer for 900 s"):
            look(store, 75)
        # The next try has a patience of its own.
        assert not look(store, 76, try_number=2)

    def test_gives_up_a_status_that_stays_unknown_across_its_looks(
        self, service: FaultProxy, look: Callable[..., bool]
    ) -> None:
        store = Store()
        service.rules.append(Rule(STATUS, says("PAUSED"), last=99))
        assert not look(store, 60)
        with pytest.raises(ServerError, match="unknown status 'PAUSED'"):
            look(store, 65)

    def test_bears_an_outage_where_nothing_is_remembered(
        self, service: FaultProxy, look: Callable[..., bool]
    ) -> None:
        service.rules.append(Rule(STATUS, reset, last=99))
        assert not any(look(Store(), minutes) for minutes in (60, 90, 120))

    def test_gives_up_a_job_that_is_unknown_a_minute_after_its_first_look(
        self, look: Callable[..., bool]
    ) -> None:
        assert not look(Store(), 0.5)
        with pytest.raises(NotFoundError, match="nobody"):
            look(Store(), 1.5)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_the_page_on_waiting_tells_the_same(row: Row) -> None:
    page = (ROOT / "docs" / "deferral.md").read_text(encoding="utf-8")
    (line,) = [line for line in page.splitlines() if line.startswith(f"| `{row.ending}` |")]
    _, _, task, job = line.split(" | ")
    assert (row.error.__name__ if row.error else "succeeds") in task
    if row.error and issubclass(row.error, PollTimeoutError):
        assert job.startswith(("cancelled", "as for `timeout`"))


def test_no_ending_is_missing() -> None:
    # A job that was never submitted is submitted, and so never ends a task.
    assert {row.ending for row in ROWS} == set(Ending) - {Ending.NOT_STARTED}
