"""A job submitted exactly once: what an answer that was lost has brought about is looked up first."""

from __future__ import annotations

import itertools
from typing import cast

from airflow_provider_cleartrace.api import models
from airflow_provider_cleartrace.api.errors import (
    ConflictError,
    NotFoundError,
    OuterProductError,
    ServerError,
    SubmitInDoubtError,
    TransportError,
)
from airflow_provider_cleartrace.api.operations import Operation
from airflow_provider_cleartrace.client.exchange import Flow, pause
from airflow_provider_cleartrace.client.jobs import as_its_artefact_tells, status_of
from airflow_provider_cleartrace.client.polling import RUNNING
from airflow_provider_cleartrace.client.retry import (
    REQUEST_BACKOFF,
    Backoff,
    is_transient,
    provably_without_effect,
    retry_after_of,
)
from airflow_provider_cleartrace.client.session import Session, call

VISIBLE_WITHIN = 15.0
"""Seconds for which the effect of a submit whose answer was lost is looked for before it counts as none.

A service that answers from a replica, or takes jobs in through a queue, shows a job some seconds late. To
wait that long costs little, to submit too early a second job.
"""

VISIBILITY_BACKOFF = Backoff(first=0.5, factor=2.0, cap=4.0)
"""The pauses between these looks: most services show a job at once."""


def submit(
    session: Session, operation: Operation[models.JobResult], body: models.Body, model_id: str | None
) -> Flow[models.JobResult]:
    """Start a job exactly once.

    A submit whose answer was lost is repeated only under an id that the caller chose (``model_id``), and only
    when the service shows that it had no effect; a job that did start is the answer.

    Raises:
        SubmitInDoubtError: the answer was lost, and the service cannot tell whether the job was started.
    """
    path_id = model_id if "{model_id}" in operation.path else None
    job = cast(str, operation.job)
    before = None if model_id is None else (yield from job_known(session, model_id, job))
    for attempt in range(session.settings.max_retries + 1):
        try:
            return (yield from call(session, operation, model_id=path_id, body=body))
        except (TransportError, ServerError) as error:
            if model_id is None or provably_without_effect(error):
                raise
            found = yield from _effect(session, model_id, job, before, error)
            if found is not None:
                return models.JobResult(
                    model_id=model_id, status=found.status, message=found.message, job_id=found.job_id
                )
            if attempt == session.settings.max_retries or not is_transient(error):
                raise
            delay = REQUEST_BACKOFF.delay(attempt, retry_after_of(error))
        yield from pause(delay)
    raise AssertionError("unreachable: the last attempt returns or raises")


def job_known(session: Session, model_id: str, job: str) -> Flow[models.StatusResult | None]:
    """What the service knows of this job of the model, or None where it knows none."""
    try:
        status = yield from status_of(session, model_id, job)
        if status.job is None:
            status = yield from as_its_artefact_tells(session, model_id, job, status)
    except (NotFoundError, ConflictError):
        return None
    return status if status.job in {job, None} else None


def _effect(
    session: Session,
    model_id: str,
    job: str,
    before: models.StatusResult | None,
    lost: OuterProductError,
) -> Flow[models.StatusResult | None]:
    """The job that a submit without an answer has started; None where it provably started none."""
    doubt = SubmitInDoubtError(model_id=model_id, job=job, reason=str(lost))
    waited = 0.0
    for look in itertools.count():
        failure: OuterProductError | None = None
        try:
            found = yield from job_known(session, model_id, job)
        except OuterProductError as error:
            failure = error
        else:
            if found is not None and _is_another(found, before):
                return found
        if waited >= VISIBLE_WITHIN or (failure is not None and not failure.transient):
            break
        delay = VISIBILITY_BACKOFF.delay(look)
        waited += delay
        yield from pause(delay)
    if failure is not None:
        raise doubt from failure
    if found is not None and found.job_id is None:  # the job before it, or its own in the same state
        raise doubt from lost
    return None


def _is_another(found: models.StatusResult, before: models.StatusResult | None) -> bool:
    """Whether a status is surely that of a job which was not there before."""
    if before is None:
        return True
    if found.job_id is not None:
        return found.job_id != before.job_id
    # A job that ran before may itself have ended by now.
    return found.status != before.status and before.status != RUNNING
