"""The table of faults: what goes wrong between a task and the service, and how each must end."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

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
)

FOREVER = float("inf")
HOUR = 3600.0

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


def lost_and_not_visible(s: Scene) -> None:
    s.break_exchanges(SUBMIT, answer_lost)
    s.break_exchanges(LOOK, answered(404), last=2)


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
    Row("the submit's answer is lost, and the job is visible only later", lost_and_not_visible),
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
        extra={"timeout": 2.0},
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
        "the rotated key is refused as well",
        lambda s: s.break_exchanges(
            LOOK, meanwhile(s.rotate_key, answered(401, {"detail": f"no such key: {KEYS[1]}"})), last=FOREVER
        ),
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

NEED_MEMORY = {
    "the status stays unknown (reschedule)",
    "the job is never visible (reschedule)",
    "the outage lasts too long (reschedule)",
    "a look is turned away with 429 (reschedule)",
}
"""Below Airflow 3.3 each look of a rescheduled sensor is its first: only its own timeout ends the wait."""


def parameters(row: Row, mode: Callable[[Scene], Any]) -> Any:
    name = f"{row.name} ({mode.__name__})"
    marks = []
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
