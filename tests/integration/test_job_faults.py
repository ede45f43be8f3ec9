"""One table of faults, played in every mode of waiting: one job, the same ending, no secret told."""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.connection import get_async_connection
from airflow.providers.common.compat.sdk import BaseHook

from airflow_provider_cleartrace.api.errors import OuterProductError
from airflow_provider_cleartrace.hooks import cleartrace
from airflow_provider_cleartrace.operators.training import ClearTraceFitOperator
from airflow_provider_cleartrace.triggers.job import ClearTraceJobTrigger
from tests.integration.airflow_tasks import through_json
from tests.integration.fault_proxy import (
    answer_lost,
    answered,
    meanwhile,
    reset,
)
from tests.integration.fault_scene import (
    LOOK,
    OPERATORS,
    PRESIGN,
    PUT,
    SENSORS,
    SUBMIT,
    Scene,
    blocking,
    debug_lines,
    deferrable,
    scene,
    without_identity,
)
from tests.integration.fault_table import FOREVER, TABLE, Row, status
from tests.integration.local_server import LocalServer

LOOP_PATIENCE = 20.0
"""Seconds after which an event loop that did not turn is taken to be blocked."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """A server of our own: it is restarted in the middle of jobs."""
    with LocalServer(tmp_path_factory.mktemp("faults") / "data", api_keys=("canary-key-server",)) as started:
        yield started


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("faults") / "rows.csv"
    path.write_text("x,z,y\n" + "".join(f"{i},{i * 7 % 11},{i % 2}\n" for i in range(60)))
    return path


@pytest.fixture(scope="module")
def good_run(server: LocalServer, data: Path) -> dict[str, Any]:
    """What the task returns when nothing goes wrong; its model is trained from then on."""
    with pytest.MonkeyPatch.context() as patch, scene(server, data, "", patch) as set_up:
        manifest: dict[str, Any] = blocking(set_up)
        return manifest


@pytest.fixture
def played(
    server: LocalServer, data: Path, good_run: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Scene]:
    with scene(server, data, good_run["model_id"], monkeypatch) as set_up:
        yield set_up


def changes(played: Scene) -> Counter[str]:
    """The requests that reached the server and were no mere reading."""
    passed = played.proxy.passed
    return Counter({name: count for name, count in passed.items() if not name.startswith("GET")})


@pytest.mark.parametrize(("row", "mode"), TABLE)
def test_one_job_one_ending_and_no_secret_told(
    row: Row,
    mode: Callable[[Scene], Any],
    played: Scene,
    good_run: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    played.waits_only = mode in SENSORS
    played.extra.update(row.extra)
    played.connect(played.proxy.key)
    row.faults(played)

    with debug_lines(caplog):
        outcome = played.play(mode)

    if row.error is not None:
        assert type(outcome) is row.error
        assert re.search(row.says, str(outcome))
        assert ("may still run" in str(outcome)) or not row.may_still_run
    elif mode in OPERATORS:
        assert without_identity(outcome) == without_identity(good_run)
    else:
        assert outcome is None
    expected = Counter({} if played.waits_only else {SUBMIT: 1, PRESIGN: 1, PUT: 1} | dict(row.effects))
    assert changes(played) == expected
    if row.waits is not None:
        endpoint, seconds = row.waits
        times = played.proxy.times[endpoint]
        assert max(later - earlier for earlier, later in pairwise(times)) >= seconds
    assert not played.proxy.trickled_out
    let_out = "\n".join([*played.told, caplog.text, *capfd.readouterr()])
    assert [secret for secret in played.secrets() if secret in let_out] == []


class TestADyingWorker:
    def test_between_submit_and_defer_leaves_one_job_and_its_retry_finds_it(
        self, played: Scene, good_run: dict[str, Any]
    ) -> None:
        class Killed(Exception):
            pass

        def dies(*_: Any, **__: Any) -> None:
            raise Killed

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ClearTraceFitOperator, "defer", dies)
            assert type(played.play(deferrable)) is Killed

        assert without_identity(played.play(deferrable)) == without_identity(good_run)
        assert changes(played) == {SUBMIT: 1, PRESIGN: 1, PUT: 1}

    @pytest.mark.parametrize("mode", OPERATORS)
    def test_a_submit_that_could_not_be_followed_up_is_found_by_the_retry(
        self, mode: Callable[[Scene], Any], played: Scene, good_run: dict[str, Any]
    ) -> None:
        played.break_exchanges(SUBMIT, answer_lost)
        played.break_exchanges(LOOK, reset, last=FOREVER)
        lost = played.play(mode)
        assert isinstance(lost, OuterProductError)
        assert played.proxy.passed[SUBMIT] == 1

        played.proxy.rules.clear()
        assert without_identity(played.play(mode)) == without_identity(good_run)
        assert changes(played) == {SUBMIT: 1, PRESIGN: 1, PUT: 1}


class TestTriggersOfOneProcess:
    def trigger(self, played: Scene) -> ClearTraceJobTrigger:
        return through_json(
            ClearTraceJobTrigger(
                played.trained, "fit", "cleartrace_default", 0.0, poll_interval=0.05, cancel_on_kill=True
            )
        )

    async def events(self, triggers: Iterable[ClearTraceJobTrigger]) -> list[dict[str, Any]]:
        fired = await asyncio.gather(*(anext(trigger.run()) for trigger in triggers))
        return [event.payload for event in fired]

    def test_two_copies_of_a_trigger_tell_the_same_and_touch_nothing(self, played: Scene) -> None:
        played.waits_only = True
        played.break_exchanges(LOOK, answered(200, status("running")), last=4)

        one, other = asyncio.run(self.events([self.trigger(played), self.trigger(played)]))

        assert one | {"elapsed": 0} == other | {"elapsed": 0}
        assert one["ending"] == "completed"
        assert changes(played) == {}

    def test_fifty_triggers_share_one_look_up_and_few_connections(
        self, played: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        looked_up: list[str] = []

        async def counted(conn_id: str, **arguments: Any) -> Any:
            looked_up.append(conn_id)
            return await get_async_connection(conn_id, **arguments)

        monkeypatch.setattr(cleartrace, "get_async_connection", counted)
        never_on_the_event_loop(monkeypatch)
        played.waits_only = True
        slow = meanwhile(lambda: time.sleep(0.1), answered(200, status("running")))
        played.break_exchanges(LOOK, slow, last=50)

        events = asyncio.run(self.events(self.trigger(played) for _ in range(50)))

        assert {event["ending"] for event in events} == {"completed"}
        assert looked_up == ["cleartrace_default"]
        assert 1 < played.proxy.most_connections <= 20

    def test_the_event_loop_turns_while_the_server_thinks(
        self, played: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        turned = threading.Event()
        answered_in_time: list[bool] = []

        async def both() -> dict[str, Any]:
            loop, thinking = asyncio.get_running_loop(), asyncio.Event()

            def think() -> None:
                loop.call_soon_threadsafe(thinking.set)
                answered_in_time.append(turned.wait(LOOP_PATIENCE))

            async def turn() -> None:
                await thinking.wait()
                turned.set()

            played.break_exchanges(LOOK, meanwhile(think))
            events, _ = await asyncio.gather(self.events([self.trigger(played)]), turn())
            return events[0]

        never_on_the_event_loop(monkeypatch)
        played.waits_only = True
        assert asyncio.run(both(), debug=True)["ending"] == "completed"
        assert answered_in_time == [True]


def never_on_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the blocking look-up of a connection fail where it would stop an event loop."""
    real = BaseHook.get_connection

    def look_up(_: Any, conn_id: str) -> Any:
        with contextlib.suppress(RuntimeError):
            asyncio.get_running_loop()
            pytest.fail("a connection was looked up on the event loop")
        return real(conn_id)

    monkeypatch.setattr(BaseHook, "get_connection", classmethod(look_up))
