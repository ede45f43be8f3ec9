"""``ClearTraceJobTrigger``: waits for one job without a worker slot."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import random
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_cleartrace.api.errors import OuterProductError, ValidationError
from airflow_provider_cleartrace.api.models import StatusResult
from airflow_provider_cleartrace.client.async_driver import AsyncDriver
from airflow_provider_cleartrace.client.exchange import Flow
from airflow_provider_cleartrace.client.jobs import SHORTEST_LOOK, wait_until_ended
from airflow_provider_cleartrace.client.polling import Ended, Ending, Patience
from airflow_provider_cleartrace.client.retry import Backoff
from airflow_provider_cleartrace.client.session import Session
from airflow_provider_cleartrace.client.settings import Settings
from airflow_provider_cleartrace.triggers.cancelling import cancel_for
from airflow_provider_cleartrace.triggers.pool import SharedClient, borrow

log = logging.getLogger(__name__)  # a trigger's own `log` would cost a kilobyte for each that waits

START_SPREAD = 1.0
"""Seconds over which the first looks of triggers are spread: a restart starts thousands at one instant."""

LOOKUP_PATIENCE = 120.0
"""Seconds for which a connection that cannot be read, or is not given, is asked for again."""

LAST_LOOK = 2 * SHORTEST_LOOK
"""Seconds after its deadline at which a wait ends, whatever hangs: the last look begins at the deadline."""

LOOKUP_BACKOFF = Backoff(first=1.0, factor=2.0, cap=30.0)

HEARTBEAT = 600.0
"""Seconds after which a wait says that it still waits."""

UNSEEN = "unseen"
"""What a wait notes in place of a status when a look failed."""


class ClearTraceJobTrigger(BaseTrigger):
    """Polls one job of a model and fires once, with how the wait ended.

    The event is JSON: ``model_id``, ``job``, ``ending`` (see :class:`~.Ending`), ``reason``, ``elapsed``
    seconds, ``refusal``, and the ``receipt`` it was given. The trigger only polls:
    results are fetched by the worker. Nothing but :meth:`on_kill` touches the job, so that a restarted
    triggerer or a second copy of the trigger does no harm.

    Args:
        model_id: The model.
        job: Which of its jobs: ``fit``, ``fit_distill``, ``segment`` or ``narrative``.
        cleartrace_conn_id: The connection; its secrets are looked up where the trigger runs.
        started: Epoch seconds at which the wait began.
        deadline: Epoch seconds at which it ends; it survives a move to another triggerer.
        poll_interval: Seconds before the second look.
        max_poll_interval: Most seconds between two looks.
        receipt: What the task wants to know again when it is resumed (JSON, nothing secret).
        cancel_on_kill: Cancel the job when somebody marks or clears the waiting task (Airflow 3.3+).
        stall_timeout: Seconds without a change of status or progress that end the wait. They count anew
            where the trigger moves to another triggerer.
        unstarted_timeout: Seconds as "pending" from the start of the wait that end it, for a job of which it
            is in doubt whether it was submitted.
    """

    def __init__(
        self,
        model_id: str,
        job: str,
        cleartrace_conn_id: str,
        started: float,
        deadline: float | None = None,
        poll_interval: float = Patience.poll_interval,
        max_poll_interval: float = Patience.max_interval,
        receipt: dict[str, Any] | None = None,
        cancel_on_kill: bool = False,
        stall_timeout: float | None = None,
        unstarted_timeout: float | None = None,
    ) -> None:
        super().__init__()
        self.model_id = model_id
        self.job = job
        self.cleartrace_conn_id = cleartrace_conn_id
        self.started = started
        self.deadline = deadline
        self.poll_interval = poll_interval
        self.max_poll_interval = max_poll_interval
        self.receipt = receipt or {}
        self.cancel_on_kill = cancel_on_kill
        self.stall_timeout = stall_timeout
        self.unstarted_timeout = unstarted_timeout

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments, all of them plain JSON."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "model_id": self.model_id,
                "job": self.job,
                "cleartrace_conn_id": self.cleartrace_conn_id,
                "started": self.started,
                "deadline": self.deadline,
                "poll_interval": self.poll_interval,
                "max_poll_interval": self.max_poll_interval,
                "receipt": self.receipt,
                "cancel_on_kill": self.cancel_on_kill,
                "stall_timeout": self.stall_timeout,
                "unstarted_timeout": self.unstarted_timeout,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait for the end of the job."""
        spread = min(START_SPREAD, self.poll_interval)
        await asyncio.sleep(random.uniform(0, spread))  # noqa: S311  (spreads load, no secret)
        async with borrow(self.cleartrace_conn_id) as shared:
            ended = await self._end_of_wait(shared)
        yield TriggerEvent(
            {
                "model_id": self.model_id,
                "job": self.job,
                "ending": str(ended.ending),
                "reason": ended.reason,
                "elapsed": round(ended.elapsed, 3),
                "refusal": ended.refusal,
                "receipt": self.receipt,
            }
        )

    async def on_kill(self) -> None:
        """Cancel the job, as somebody has ended the waiting task (Airflow 3.3+)."""
        if self.cancel_on_kill:
            await cancel_for(self.task_instance, self.cleartrace_conn_id, self.model_id, self.job)

    def wait(self, settings: Settings) -> Flow[Ended]:
        """The wait itself, the same for an event loop and for a worker that blocks."""
        return wait_until_ended(
            Session(settings),
            self.model_id,
            self.job,
            Patience(
                poll_interval=self.poll_interval,
                max_interval=self.max_poll_interval,
                stall=self.stall_timeout,
                unstarted=self.unstarted_timeout,
            ),
            started=self.started,
            deadline=self.deadline,
            on_look=StatusLog(self.model_id, self.job),
        )

    async def _end_of_wait(self, shared: SharedClient) -> Ended:
        """Wait, and no longer than until the deadline, whatever it is that hangs."""
        left = None if self.deadline is None else max(self.deadline - time.time(), 0.0) + LAST_LOOK
        try:
            async with asyncio.timeout(left):
                try:
                    settings, transport = shared.connected or await self._connected(shared)
                except Exception as error:
                    return self._unconnected(error)
                return await transport.run(self.wait(settings))
        except TimeoutError:
            return Ended(Ending.TIMEOUT, "the last look had no answer", time.time() - self.started)

    async def _connected(self, shared: SharedClient) -> tuple[Settings, AsyncDriver]:
        """The connection, which a secrets backend may fail to give for a while."""
        failure: Exception = TimeoutError()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOKUP_PATIENCE):
                for attempt in itertools.count():
                    try:
                        return await shared.ready()
                    except ValidationError:
                        raise  # a field that cannot be read stays so
                    except Exception as error:
                        failure = error
                        log.warning("connection %s: %s", self.cleartrace_conn_id, type(error).__name__)
                    await asyncio.sleep(LOOKUP_BACKOFF.delay(attempt))
        raise failure

    def _unconnected(self, error: Exception) -> Ended:
        # Only our own words: a secrets backend's error may hold a secret.
        told = str(error) if isinstance(error, ValidationError) else type(error).__name__
        reason = f"the connection {self.cleartrace_conn_id!r} cannot be read: {told}"
        return Ended(Ending.REFUSED, reason, time.time() - self.started, type(error).__name__)


class StatusLog:
    """Logs a job's status when it changes, and now and then while it does not; so for looks that fail."""

    def __init__(self, model_id: str, job: str) -> None:
        self._model_id = model_id
        self._job = job
        self._last = ""
        self._told = 0.0

    def __call__(self, look: StatusResult | OuterProductError) -> None:
        """Take note of one look."""
        now = time.monotonic()
        seen = look.status if isinstance(look, StatusResult) else UNSEEN
        if seen == self._last and now - self._told < HEARTBEAT:
            return
        self._last, self._told = seen, now
        if isinstance(look, OuterProductError):
            log.warning("%s of model %s cannot be looked at: %s", self._job, self._model_id, look)
            return
        share = "" if look.progress is None else f" ({look.progress:.0%})"
        log.info("%s of model %s is %s%s", self._job, self._model_id, look.status, share)
