"""Jobs as flows: looked at one by one, waited for, cancelled."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from typing import TypeVar, cast

import pydantic_core

from airflow_provider_cleartrace.api import models, operations
from airflow_provider_cleartrace.api.errors import OuterProductError
from airflow_provider_cleartrace.api.operations import Operation
from airflow_provider_cleartrace.client.exchange import Answer, Flow, pause
from airflow_provider_cleartrace.client.polling import (
    COMPLETED,
    MISSING_GRACE,
    Ended,
    Ending,
    Patience,
    Poller,
    Wait,
)
from airflow_provider_cleartrace.client.session import Session, answer_of, call
from airflow_provider_cleartrace.client.settings import Settings

R = TypeVar("R", bound=models.Result)

LOOK_TIMEOUT = 60.0
"""Seconds a status may take to arrive, however long a prediction is allowed."""

CANCEL_TIMEOUT = 10.0
"""Seconds a request to cancel may take: a killed task has seconds, Airflow's ``on_kill`` of triggers 30."""

CANCEL_RETRIES = 1
"""Repeats of a cancel, for a connection that had gone stale; there is no time for more."""

SHORTEST_LOOK = 5.0
"""Seconds that the last look of a wait has at least, or it could never succeed."""


def status_of(session: Session, model_id: str, job: str | None = None) -> Flow[models.StatusResult]:
    """One look at the status word of a model; ``job`` asks a server that can tell jobs apart for that one."""
    query = f"?job={job}" if job else ""
    return (yield from call(session, operations.STATUS, model_id=model_id, query=query))


def observe(session: Session, model_id: str, job: str) -> Flow[models.StatusResult]:
    """One look at one job of a model.

    A fit owns the model's status word. A segmentation or narrative shares it with other jobs, so unless the
    server says whose status it is, the artefact itself is asked once no job is under way: before, it could be
    the result of an earlier job.

    Raises:
        NotFoundError: no such model, or no such job of it.
    """
    status = yield from status_of(session, model_id, job)
    return status if status.job == job else (yield from as_its_artefact_tells(session, model_id, job, status))


def as_its_artefact_tells(
    session: Session, model_id: str, job: str, status: models.StatusResult
) -> Flow[models.StatusResult]:
    """Where a job stands whose model has one ``status`` for all, once that says that none is under way.

    Raises:
        NotFoundError, ConflictError: there is no such artefact.
    """
    artefact = operations.ARTEFACTS.get(job)
    if artefact is None or status.status != COMPLETED:
        return status
    answer = yield from answer_of(session, artefact, model_id=model_id)
    return models.StatusResult(model_id=model_id, job=job, status=_shown_status(answer))


def _shown_status(answer: Answer) -> str:
    """The status of an artefact's answer: 202 and a non-terminal ``status`` key mean "not ready yet"."""
    try:
        content = pydantic_core.from_json(answer.content)
    except ValueError:
        content = None
    word = content.get("status") if isinstance(content, dict) else None
    if isinstance(word, str):
        return word
    return "running" if answer.status == 202 else COMPLETED


def wait_until_ended(
    session: Session,
    model_id: str,
    job: str,
    patience: Patience,
    *,
    started: float,
    deadline: float | None,
    on_look: Callable[[models.StatusResult | OuterProductError], None] = lambda _: None,
) -> Flow[Ended]:
    """Poll one job until it ends or nothing more can be learned of it.

    Args:
        session: Whose settings to use.
        model_id: The model.
        job: Which of its jobs.
        patience: How often to look, and what to bear.
        started: Epoch seconds at which the wait began.
        deadline: Epoch seconds at which it ends; None to wait for ever.
        on_look: Told of every look: what it saw, or why it failed.
    """
    poller = Poller(patience, started=started, deadline=deadline)
    looking = _for_looks(session, LOOK_TIMEOUT)
    while True:
        verdict = yield from _look(_within(looking, deadline), model_id, job, poller, on_look)
        if isinstance(verdict, Ended):
            return verdict
        yield from pause(verdict.delay)


def _look(
    session: Session,
    model_id: str,
    job: str,
    poller: Poller,
    on_look: Callable[[models.StatusResult | OuterProductError], None],
) -> Flow[Wait | Ended]:
    """One look and what the poller makes of it; a flow of its own, which keeps no answer during a sleep."""
    try:
        status = yield from observe(session, model_id, job)
    except OuterProductError as error:
        on_look(error)
        return poller.on_error(error, time.time())
    on_look(status)
    return poller.on_status(status, time.time())


def look(session: Session, model_id: str, job: str) -> Flow[models.StatusResult]:
    """Look at a job as :func:`observe` does, once and briefly: the next look is the retry of this one."""
    return (yield from observe(_for_looks(session, LOOK_TIMEOUT), model_id, job))


def look_again(session: Session, model_id: str, job: str, ended: Ended) -> Flow[Ended]:
    """Look once more before a wait is called given up: the job may have ended while nobody could look.

    Returns:
        The job's own ending where it has one by now, else ``ended`` as it was.
    """
    if ended.ending in {Ending.COMPLETED, Ending.FAILED}:
        return ended
    try:
        status = yield from look(session, model_id, job)
    except OuterProductError:
        return ended
    return Ended.of_job(status, ended.elapsed) or ended


def _for_looks(session: Session, seconds: float) -> Session:
    """A session whose requests take that long at most, and are not repeated: the poller is their retry."""
    settings = session.settings
    return Session(dataclasses.replace(settings, timeout=min(settings.timeout, seconds), max_retries=0))


def _within(looking: Session, deadline: float | None) -> Session:
    """The same session, or near the deadline one whose requests do not outlast the wait."""
    left = math.inf if deadline is None else max(deadline - time.time(), SHORTEST_LOOK)
    return looking if left >= looking.settings.timeout else _for_looks(looking, left)


def wait_for(session: Session, model_id: str, job: str, *, missing: float = MISSING_GRACE) -> Flow[Ended]:
    """Wait for one job as a blocking call does, up to the client's ``timeout``.

    Args:
        session: Whose settings to use.
        model_id: The model.
        job: Which of its jobs.
        missing: Seconds in which "no such job" is taken as "not yet".

    Raises:
        JobFailedError: the service ended the job as failed.
        PollTimeoutError: the client's ``timeout`` ran out first.
        OuterProductError: the status cannot be had any more; the job may still run.
    """
    started = time.time()
    ended = yield from wait_until_ended(
        session,
        model_id,
        job,
        Patience(poll_interval=session.settings.poll_interval, missing=missing),
        started=started,
        deadline=started + session.settings.timeout,
    )
    if (error := ended.error(model_id=model_id, job=job)) is not None:
        raise error
    return ended


def artefact(session: Session, operation: Operation[R], *, missing: float) -> Flow[R]:
    """Wait until the job behind an artefact is done, then fetch it."""
    model_id = session.attached()
    yield from wait_for(session, model_id, cast(str, operation.artefact_of), missing=missing)
    return (yield from call(session, operation, model_id=model_id))


def cancel(session: Session, /, job: str | None = None) -> Flow[bool]:
    """Ask the server to stop a job of the current model.

    Args:
        job: Which of its jobs; by default the latest.

    Returns:
        Whether the server could. The hosted service has no such call, and its jobs run on.
    """
    try:
        query = f"?job={job}" if job else ""
        yield from call(session, operations.CANCEL, model_id=session.attached(), query=query)
    except OuterProductError as error:
        if error.status_code in {404, 405, 501}:
            return False
        raise
    return True


def cancel_soon(settings: Settings, model_id: str, job: str) -> Flow[bool]:
    """Cancel a job within seconds, as a task must that is about to end; returns as :func:`cancel` does."""
    brief = dataclasses.replace(
        settings, timeout=min(settings.timeout, CANCEL_TIMEOUT), max_retries=CANCEL_RETRIES
    )
    return (yield from cancel(Session(brief, model_id=model_id), job))


def current_status(session: Session, /) -> Flow[models.StatusResult]:
    """Where the current model's latest job stands."""
    return (yield from status_of(session, session.attached()))
