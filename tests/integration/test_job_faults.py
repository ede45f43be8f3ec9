"""One table of faults, played in every mode of waiting: one job, the same ending, no secret told."""

from __future__ import annotations

import asyncio
import contextlib
import html
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.connection import get_async_connection
from airflow.providers.common.compat.sdk import BaseHook

from airflow_provider_cleartrace.api.errors import (
    AuthenticationError,
    JobFailedError,
    NotFoundError,
    OuterProductError,
    PollTimeoutError,
    ServerError,
    TransportError,
    UploadError,
)
from airflow_provider_cleartrace.client.uploads import URL_TRIES
from airflow_provider_cleartrace.hooks import cleartrace
from airflow_provider_cleartrace.operators.training import ClearTraceFitOperator
from airflow_provider_cleartrace.triggers.job import ClearTraceJobTrigger
from tests.integration.airflow_tasks import through_json
from tests.integration.fault_proxy import (
    Exchange,
    answer_cut,
    answer_halved,
    answer_lost,
    answered,
    answered_after_effect,
    meanwhile,
    reset,
)
from tests.integration.fault_scene import (
    CANCEL,
    KEYS,
    LOOK,
    OPERATORS,
    PRESIGN,
    PUT,
    REMEMBERS,
    SCHEMA,
    SENSORS,
    SUBMIT,
    Scene,
    blocking,
    debug_lines,
    deferrable,
    scene,
    without_identity,
)
from tests.integration.local_server import LocalServer

FOREVER = float("inf")
HOUR = 3600.0

LOOP_PATIENCE = 20.0
"""Seconds after which an event loop that did not turn is taken to be blocked."""

S3_REFUSAL = (
    b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>SignatureDoesNotMatch</Code>'
    b"<Message>The request signature we calculated does not match</Message>"
    b"<SignatureProvided>canary-key-one</SignatureProvided></Error>"
)


def status(word: str, **fields: Any) -> dict[str, Any]:
    return {"model_id": "m", "status": word} | fields


@dataclass(frozen=True)
class Row:
    """What goes wrong, and what becomes of the task and of its job.

    ``effects`` are the requests that reach the server and change something, where they are not the one
    upload and the one submit of a good run. ``may_still_run``: the exception must say that of the job.
    ``waits``: an endpoint that must be left alone for so many seconds.
    """

    name: str
    faults: Callable[[Scene], object]
    error: type[OuterProductError] | None = None
    says: str = ""
    may_still_run: bool = False
    effects: Mapping[str, int] = field(default_factory=dict)
    modes: tuple[Callable[[Scene], Any], ...] = (*OPERATORS, *SENSORS)
    waits: tuple[str, float] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


def burst(s: Scene) -> None:
    for place, code in enumerate((500, 502, 503, 504), start=1):
        s.break_exchanges(LOOK, answered(code), place)


def lasting(s: Scene, hours: float, answer: Any) -> None:
    """Every look is answered so, and between two of them hours pass."""
    s.break_exchanges(LOOK, meanwhile(lambda: s.clock.forward(hours * HOUR), answer), last=FOREVER)


def trickled(exchange: Exchange) -> None:
    """A good answer, in seconds: never silent for long, and far later than a look may take."""
    exchange.trickle(json.dumps(status("running")).encode(), 0.1)


def gateway_page(exchange: Exchange) -> None:
    """A gateway's refusal, for people: it quotes the URL that was asked for."""
    exchange.answer(403, f"<h1>Denied</h1>{html.escape(exchange.target)}, {exchange.target}".encode())


SUBMITTING = [
    Row("the submit's answer is lost", lambda s: s.break_exchanges(SUBMIT, answer_lost)),
    Row("the submit is reset on its way", lambda s: s.break_exchanges(SUBMIT, reset)),
    Row("the submit's answer is cut", lambda s: s.break_exchanges(SUBMIT, answer_cut)),
    Row("the submit's answer is half a JSON", lambda s: s.break_exchanges(SUBMIT, answer_halved)),
    Row(
        "a gateway gives up on a submit that worked",
        lambda s: s.break_exchanges(SUBMIT, answered_after_effect(504)),
    ),
    Row("the submit is turned away with 503", lambda s: s.break_exchanges(SUBMIT, answered(503))),
    Row(
        "the submit is turned away with 429",
        lambda s: s.break_exchanges(SUBMIT, answered(429, Retry_After="1")),
        waits=(SUBMIT, 1.0),
    ),
    Row(
        "the submit fails with 500",
        lambda s: s.break_exchanges(SUBMIT, answered(500), last=FOREVER),
        ServerError,
        "500",
        effects={SUBMIT: 0},
    ),
    Row(
        "the submit is refused with 401",
        lambda s: s.break_exchanges(SUBMIT, answered(401), last=FOREVER),
        AuthenticationError,
        "401",
        effects={SUBMIT: 0},
    ),
]

UPLOADING = [
    Row(
        "the answer with the upload URL is lost",
        lambda s: s.break_exchanges(PRESIGN, answer_lost),
        effects={PRESIGN: 2},
    ),
    Row(
        "the upload URL has expired",
        lambda s: s.break_exchanges(PUT, answered(403, S3_REFUSAL)),
        effects={PRESIGN: 2},
    ),
    Row("the upload is reset", lambda s: s.break_exchanges(PUT, reset)),
    Row("the upload's answer is lost", lambda s: s.break_exchanges(PUT, answer_lost), effects={PUT: 2}),
    Row(
        "the store refuses every URL",
        lambda s: s.break_exchanges(PUT, answered(403, S3_REFUSAL), last=FOREVER),
        UploadError,
        "SignatureDoesNotMatch: The request signature",
        effects={PRESIGN: URL_TRIES, PUT: 0, SUBMIT: 0},
    ),
    Row(
        "a gateway refuses every URL",
        lambda s: s.break_exchanges(PUT, gateway_page, last=FOREVER),
        UploadError,
        "Denied",
        effects={PRESIGN: URL_TRIES, PUT: 0, SUBMIT: 0},
    ),
]

WAITING = [
    Row("no fault", lambda s: None),
    Row("a look is reset", lambda s: s.break_exchanges(LOOK, reset, last=2)),
    Row(
        "a look is turned away with 429",
        lambda s: s.break_exchanges(LOOK, answered(429, Retry_After="1")),
        waits=(LOOK, 1.0),
    ),
    Row("a burst of 5xx", burst),
    Row("a look is answered with half a JSON", lambda s: s.break_exchanges(LOOK, answer_halved)),
    Row("a look's answer is cut", lambda s: s.break_exchanges(LOOK, answer_cut)),
    Row(
        "a look is answered with a web page",
        lambda s: s.break_exchanges(LOOK, answered(200, b"<html>login</html>")),
    ),
    Row(
        "a look trickles in longer than it may take",
        lambda s: s.break_exchanges(LOOK, trickled),
        extra={"timeout": 1.0},
    ),
    Row(
        "the status is unknown for a while",
        lambda s: s.break_exchanges(LOOK, answered(200, status("PAUSED")), last=2),
    ),
    Row(
        "the status stays unknown",
        lambda s: lasting(s, 0.1, answered(200, status("PAUSED"))),
        ServerError,
        "'PAUSED'",
        may_still_run=True,
    ),
    Row("the job is not visible at once", lambda s: s.break_exchanges(LOOK, answered(404), last=2)),
    Row(
        "the job is never visible",
        lambda s: lasting(s, 0.02, answered(404)),
        NotFoundError,
        "404",
        may_still_run=True,
    ),
    Row("the key is rotated", lambda s: s.break_exchanges(LOOK, meanwhile(s.rotate_key, answered(401)))),
    Row(
        "the key is refused for good",
        lambda s: s.break_exchanges(LOOK, answered(401, {"detail": f"no such key: {KEYS[0]}"}), last=FOREVER),
        AuthenticationError,
        r"401: no such key: \*\*\*",
        may_still_run=True,
    ),
    Row(
        "the server is restarted",
        lambda s: s.break_exchanges(LOOK, meanwhile(s.restart_server, reset)),
        modes=OPERATORS,  # to a sensor, whose job is done, this is one more reset
    ),
    Row(
        "the outage lasts too long",
        lambda s: lasting(s, 0.2, answered(503)),
        TransportError,
        "no good answer for",
        may_still_run=True,
    ),
    Row(
        "the job fails",
        lambda s: s.break_exchanges(LOOK, answered(200, status("failed", error="y never changes"))),
        JobFailedError,
        "failed: y never changes",
    ),
    Row(
        "the job takes too long",
        lambda s: lasting(s, 13, answered(200, status("running"))),
        PollTimeoutError,
        "it was cancelled",
        effects={CANCEL: 1},
        modes=OPERATORS,
    ),
    Row("the result is reset", lambda s: s.break_exchanges(SCHEMA, reset), modes=OPERATORS),
]

UNPACED = "a sensor looks again after poke_interval, whatever the server asked for"
UNBOUNDED = "a request's timeout bounds each read, not the whole answer"
STALE_KEY = "only the triggerer reads the connection again after a 401"
FORGOTTEN = "how long a status is unknown is not remembered"

GAPS = {
    "a look is turned away with 429 (poke)": UNPACED,
    "a look is turned away with 429 (reschedule)": UNPACED,
    "a look trickles in longer than it may take": UNBOUNDED,
    "the key is rotated (blocking)": STALE_KEY,
    "the key is rotated (poke)": STALE_KEY,
    "the key is rotated (reschedule)": STALE_KEY,
    "the status stays unknown (reschedule)": FORGOTTEN,
}
"""What is known to be wrong; a row that is mended must leave this table."""


NEED_MEMORY = {"the job is never visible (reschedule)", "the outage lasts too long (reschedule)"}
"""Below Airflow 3.3 each look of a rescheduled sensor is its first: only its own timeout ends the wait."""


def parameters(row: Row, mode: Callable[[Scene], Any]) -> Any:
    name = f"{row.name} ({mode.__name__})"
    marks = []
    if gap := GAPS.get(name) or GAPS.get(row.name):
        marks.append(pytest.mark.xfail(strict=True, reason=gap))
    if name in NEED_MEMORY and not REMEMBERS:
        marks.append(pytest.mark.skip(reason="needs the task state store of Airflow 3.3"))
    return pytest.param(row, mode, id=name, marks=marks)


TABLE = [
    parameters(row, mode)
    for rows, modes in ((SUBMITTING + UPLOADING, OPERATORS), (WAITING, (*OPERATORS, *SENSORS)))
    for row in rows
    for mode in modes
    if mode in row.modes
]


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
