"""The pure poller: what one look at a job means, and when to look again.

The blocking wait, the trigger and the sensor are thin loops over it, so that they cannot drift apart. Times
are wall-clock seconds since the epoch, so that a deadline survives a move to another process.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from airflow_provider_cleartrace.api.errors import (
    AuthenticationError,
    ConflictError,
    JobFailedError,
    JobStalledError,
    NotFoundError,
    OuterProductError,
    PollTimeoutError,
    ServerError,
    TransportError,
    ValidationError,
)
from airflow_provider_cleartrace.api.models import StatusResult
from airflow_provider_cleartrace.client.retry import MAX_RETRY_AFTER, Backoff, retry_after_of

COMPLETED = "completed"
FAILED = "failed"
PENDING = "pending"
RUNNING = "running"
UNFINISHED = frozenset({PENDING, RUNNING})


MISSING_GRACE = 60.0
"""Seconds after a submit in which "no such job" may mean "not visible yet"."""

MAY_RUN = "it may still run"
"""What is known of a job that nobody looks at any more."""


class Ending(enum.StrEnum):
    """How a wait can end. Only the first two say anything about the job itself."""

    COMPLETED = "completed"
    FAILED = "failed"
    TIMEOUT = "timeout"
    STALLED = "stalled"
    NOT_STARTED = "not_started"
    LOST = "lost"
    REFUSED = "refused"


@dataclass(frozen=True)
class Patience:
    """How often to look and how much to bear, in seconds.

    ``outage``: time without one good answer. ``unknown``: time in a status that no documentation names.
    ``missing``: see :data:`MISSING_GRACE`. ``stall``: time without a change of status or progress; None: for
    ever. ``unstarted``: time as "pending" from the start of the wait on, for a job of which it is not known
    whether it was submitted; None: it was.
    """

    poll_interval: float = 2.0
    max_interval: float = 30.0
    outage: float = 900.0
    unknown: float = 300.0
    missing: float = MISSING_GRACE
    stall: float | None = None
    unstarted: float | None = None


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

    @classmethod
    def of_job(cls, status: StatusResult, elapsed: float) -> Ended | None:
        """The ending that a job's own status tells; None while it has not ended."""
        if status.status == COMPLETED:
            return cls(Ending.COMPLETED, status.message or "", elapsed)
        if status.status == FAILED:
            reason = status.error or status.message or "the service gave no reason"
            return cls(Ending.FAILED, reason, elapsed)
        return None

    @property
    def gave_up(self) -> bool:
        """Whether the wait ended by its own limits, and left a job that nobody wants any more."""
        return self.ending in {Ending.TIMEOUT, Ending.STALLED}

    def error(
        self, *, model_id: str, job: str, fate: str = MAY_RUN, page: str = ""
    ) -> OuterProductError | None:
        """The exception a caller raises for this ending; None when the job completed.

        Args:
            model_id: The model.
            job: Which of its jobs.
            fate: What becomes of a job that has not ended.
            page: URL of the model's page.
        """
        about = f"ClearTrace {job} of model {model_id!r}"
        known = f"{self.reason}; {fate}" + (f"; see {page}" if page else "")
        match self.ending:
            case Ending.COMPLETED:
                return None
            case Ending.FAILED:
                return JobFailedError(model_id=model_id, job=job, reason=self.reason, page=page)
            case Ending.TIMEOUT:
                late = f"{about} was not finished after {self.elapsed:.0f} s: {known}"
                return PollTimeoutError(late, elapsed=self.elapsed, model_id=model_id)
            case Ending.STALLED | Ending.NOT_STARTED:
                still = f"{about} does not move: {known}"
                return JobStalledError(still, elapsed=self.elapsed, model_id=model_id)
            case Ending.LOST:
                return TransportError(f"the status of {about} is out of reach: {known}")
            case Ending.REFUSED:
                refusal: type[OuterProductError] = _REFUSALS.get(self.refusal, ServerError)
                return refusal(f"the status of {about} cannot be read: {known}")


class Poller:
    """Turns looks at a job into the next delay or the end of the wait. One instance for one wait."""

    def __init__(
        self,
        patience: Patience,
        *,
        started: float,
        deadline: float | None = None,
        memory: Mapping[str, float | None] | None = None,
    ) -> None:
        """Start a wait at ``started`` that must end at ``deadline`` (both epoch seconds).

        ``memory`` is that of a poller whose wait this one continues.
        """
        self._patience = patience
        self._backoff = Backoff(first=patience.poll_interval, factor=1.5, cap=patience.max_interval)
        self._started = started
        self._deadline = deadline
        self._looks = 0
        memory = memory or {}
        self._last_answer = memory.get("last_answer") or started
        self._unknown_since = memory.get("unknown_since")
        #: Epoch seconds before which the service asked not to be looked at again.
        self.not_before = memory.get("not_before") or started
        self._seen: tuple[str, float | None] | None = None
        self._changed = started
        self._is_blind = False
        self._only_pending = True

    def memory(self) -> dict[str, float | None]:
        """What a poller that continues the wait in another process has to know, in epoch seconds."""
        return {
            "last_answer": self._last_answer,
            "unknown_since": self._unknown_since,
            "not_before": self.not_before,
        }

    def on_status(self, status: StatusResult, now: float) -> Wait | Ended:
        """Judge a good answer."""
        if self._is_blind:  # nobody saw whether the job stood still meanwhile
            self._changed += now - self._last_answer
            self._is_blind = False
        self._last_answer = now
        if (ended := Ended.of_job(status, now - self._started)) is not None:
            return ended
        if status.status in UNFINISHED:
            self._unknown_since = None
        else:
            self._unknown_since = now if self._unknown_since is None else self._unknown_since
            if now - self._unknown_since >= self._patience.unknown:
                return self._ended(Ending.REFUSED, f"unknown status {status.status!r}", now)
        return self._standstill(status, now) or self._wait(now, None, f"last status {status.status!r}")

    def on_error(self, error: OuterProductError, now: float) -> Wait | Ended:
        """Judge a look that failed."""
        self._is_blind = True
        if isinstance(error, NotFoundError | ConflictError):
            self._last_answer = now
        if not self._is_bearable(error, now):
            return self._ended(Ending.REFUSED, str(error), now, type(error).__name__)
        silence = now - self._last_answer
        if silence >= self._patience.outage:
            return self._ended(Ending.LOST, f"no good answer for {silence:.0f} s, last: {error}", now)
        asked = min(retry_after_of(error) or 0.0, MAX_RETRY_AFTER)
        self.not_before = now + asked
        return self._wait(now, asked, f"last answer: {error}")

    def _standstill(self, status: StatusResult, now: float) -> Ended | None:
        """The end of the wait for a job that does not move."""
        if self._seen != (status.status, status.progress):
            self._seen, self._changed = (status.status, status.progress), now
        self._only_pending = self._only_pending and status.status == PENDING
        waited, still = now - self._started, now - self._changed
        unstarted, stall = self._patience.unstarted, self._patience.stall
        if self._only_pending and unstarted is not None and waited >= unstarted:
            return self._ended(Ending.NOT_STARTED, f"pending for {waited:.0f} s", now)
        if stall is not None and still >= stall:
            return self._ended(Ending.STALLED, f"{status.status!r}, no progress for {still:.0f} s", now)
        return None

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
        return error.transient

    def _ended(self, ending: Ending, reason: str, now: float, refusal: str = "") -> Ended:
        return Ended(ending, reason, now - self._started, refusal)
