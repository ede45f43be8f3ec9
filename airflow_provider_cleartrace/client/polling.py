"""The pure poller: what one look at a job means, and when to look again.

The blocking wait, the trigger and the sensor are thin loops over it, so that they cannot drift apart. Times
are wall-clock seconds since the epoch, so that a deadline survives a move to another process.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from airflow_provider_cleartrace.api.errors import (
    AuthenticationError,
    ConflictError,
    JobFailedError,
    NotFoundError,
    OuterProductError,
    PollTimeoutError,
    ServerError,
    TransportError,
    ValidationError,
)
from airflow_provider_cleartrace.api.models import StatusResult
from airflow_provider_cleartrace.client.retry import Backoff, is_transient, retry_after_of

COMPLETED = "completed"
FAILED = "failed"
UNFINISHED = frozenset({"pending", "running"})


MISSING_GRACE = 60.0
"""Seconds after a submit in which "no such job" may mean "not visible yet"."""


class Ending(enum.StrEnum):
    """How a wait can end. Only the first two say anything about the job itself."""

    COMPLETED = "completed"
    FAILED = "failed"
    TIMEOUT = "timeout"
    LOST = "lost"
    REFUSED = "refused"


@dataclass(frozen=True)
class Patience:
    """How often to look and how much to bear, in seconds.

    ``outage``: time without one good answer. ``unknown``: time in a status that no documentation names.
    ``missing``: see :data:`MISSING_GRACE`.
    """

    poll_interval: float = 2.0
    max_interval: float = 30.0
    outage: float = 900.0
    unknown: float = 300.0
    missing: float = MISSING_GRACE


@dataclass(frozen=True, slots=True)
class Wait:
    """Look again after ``delay`` seconds."""

    delay: float


_REFUSALS = {
    error.__name__: error for error in (AuthenticationError, ConflictError, NotFoundError, ValidationError)
}


@dataclass(frozen=True, slots=True)
class Ended:
    """The wait is over. ``reason`` is the service's or the poller's own sentence.

    ``refusal`` names the error that no later look could mend. Plain values only, so that an ending travels
    from the triggerer to the worker as it is.
    """

    ending: Ending
    reason: str = ""
    elapsed: float = 0.0
    refusal: str = ""

    def error(self, *, model_id: str, job: str) -> OuterProductError | None:
        """The exception a caller raises for this ending; None when the job completed."""
        about = f"ClearTrace {job} of model {model_id!r}"
        match self.ending:
            case Ending.COMPLETED:
                return None
            case Ending.FAILED:
                return JobFailedError(model_id=model_id, job=job, reason=self.reason)
            case Ending.TIMEOUT:
                return PollTimeoutError(
                    f"{about} was not finished after {self.elapsed:.0f} s and may still run: {self.reason}",
                    elapsed=self.elapsed,
                    model_id=model_id,
                )
            case Ending.LOST:
                return TransportError(f"{about} may still run, but its status is out of reach: {self.reason}")
            case Ending.REFUSED:
                refusal: type[OuterProductError] = _REFUSALS.get(self.refusal, ServerError)
                return refusal(f"{about} may still run, but its status cannot be read: {self.reason}")


class Poller:
    """Turns looks at a job into the next delay or the end of the wait. One instance for one wait."""

    def __init__(self, patience: Patience, *, started: float, deadline: float | None = None) -> None:
        """Start a wait at ``started`` that must end at ``deadline`` (both epoch seconds)."""
        self._patience = patience
        self._backoff = Backoff(first=patience.poll_interval, factor=1.5, cap=patience.max_interval)
        self._started = started
        self._deadline = deadline
        self._looks = 0
        self._last_answer = started
        self._unknown_since: float | None = None

    def on_status(self, status: StatusResult, now: float) -> Wait | Ended:
        """Judge a good answer."""
        self._last_answer = now
        if status.status == COMPLETED:
            return self._ended(Ending.COMPLETED, status.message or "", now)
        if status.status == FAILED:
            return self._ended(
                Ending.FAILED, status.error or status.message or "the service gave no reason", now
            )
        if status.status in UNFINISHED:
            self._unknown_since = None
        else:
            self._unknown_since = now if self._unknown_since is None else self._unknown_since
            if now - self._unknown_since >= self._patience.unknown:
                return self._ended(Ending.REFUSED, f"unknown status {status.status!r}", now)
        return self._wait(now, None, f"last status {status.status!r}")

    def on_error(self, error: OuterProductError, now: float) -> Wait | Ended:
        """Judge a look that failed."""
        if isinstance(error, NotFoundError | ConflictError):
            self._last_answer = now
        if not self._is_bearable(error, now):
            return self._ended(Ending.REFUSED, str(error), now, type(error).__name__)
        silence = now - self._last_answer
        if silence >= self._patience.outage:
            return self._ended(Ending.LOST, f"no good answer for {silence:.0f} s, last: {error}", now)
        return self._wait(now, retry_after_of(error), f"last answer: {error}")

    def _wait(self, now: float, retry_after: float | None, situation: str) -> Wait | Ended:
        delay = self._backoff.delay(self._looks, retry_after)
        self._looks += 1
        if self._deadline is None:
            return Wait(delay)
        if now >= self._deadline:
            return self._ended(Ending.TIMEOUT, situation, now)
        # The last look falls on the deadline itself: a job that ended in time is never reported as late.
        return Wait(min(delay, self._deadline - now))

    def _is_bearable(self, error: OuterProductError, now: float) -> bool:
        if isinstance(error, NotFoundError | ConflictError):  # both may mean "not ready yet"
            return now - self._started < self._patience.missing
        return is_transient(error) or isinstance(error, ServerError)

    def _ended(self, ending: Ending, reason: str, now: float, refusal: str = "") -> Ended:
        return Ended(ending, reason, now - self._started, refusal)
