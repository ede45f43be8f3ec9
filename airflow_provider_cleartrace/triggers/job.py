"""``ClearTraceJobTrigger``: waits for one job without a worker slot."""

from __future__ import annotations

import asyncio
import functools
import random
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_cleartrace.api.errors import OuterProductError
from airflow_provider_cleartrace.client.jobs import observe
from airflow_provider_cleartrace.client.polling import Ended, Ending, Patience, Poller
from airflow_provider_cleartrace.triggers.pool import borrow

START_SPREAD = 1.0
"""Seconds over which the first looks of triggers are spread: a restart starts thousands at one instant."""


class ClearTraceJobTrigger(BaseTrigger):
    """Polls one job of a model and fires once, with how the wait ended.

    The event is flat JSON: ``ending`` (see :class:`~.Ending`), ``reason``, ``elapsed`` seconds, ``model_id``,
    ``job``. The trigger only polls: results are fetched by the worker. It never touches the job, so that a
    restarted triggerer or a second copy of the trigger does no harm.

    Args:
        model_id: The model.
        job: Which of its jobs: ``fit``, ``fit_distill``, ``segment`` or ``narrative``.
        cleartrace_conn_id: The connection; its secrets are looked up where the trigger runs.
        started: Epoch seconds at which the wait began.
        deadline: Epoch seconds at which it ends; it survives a move to another triggerer.
        poll_interval: Seconds before the second look.
        max_poll_interval: Most seconds between two looks.
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
    ) -> None:
        super().__init__()
        self.model_id = model_id
        self.job = job
        self.cleartrace_conn_id = cleartrace_conn_id
        self.started = started
        self.deadline = deadline
        self.poll_interval = poll_interval
        self.max_poll_interval = max_poll_interval

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
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait for the end of the job."""
        ended = await self._wait()
        yield TriggerEvent(
            {
                "ending": str(ended.ending),
                "reason": ended.reason,
                "elapsed": round(ended.elapsed, 3),
                "model_id": self.model_id,
                "job": self.job,
            }
        )

    async def _wait(self) -> Ended:
        poller = Poller(
            Patience(poll_interval=self.poll_interval, max_interval=self.max_poll_interval),
            started=self.started,
            deadline=self.deadline,
        )
        look = functools.partial(observe, model_id=self.model_id, job=self.job)
        await asyncio.sleep(random.uniform(0, min(START_SPREAD, self.poll_interval)))  # noqa: S311  (no secret)
        async with borrow(self.cleartrace_conn_id) as client:
            last = ""
            while True:
                try:
                    status = await client.run(look)
                    if status.status != last:
                        self.log.info("%s of model %s is %s", self.job, self.model_id, status.status)
                        last = status.status
                    verdict = poller.on_status(status, time.time())
                except OuterProductError as error:
                    self.log.debug("look at %s failed: %s", self.model_id, error)
                    try:
                        verdict = poller.on_error(error, time.time())
                    except OuterProductError as final:
                        return Ended(Ending.REFUSED, str(final), time.time() - self.started)
                if isinstance(verdict, Ended):
                    return verdict
                await asyncio.sleep(verdict.delay)
