"""Which models a watcher watches, and where the job of each stands."""

from __future__ import annotations

import asyncio
import fnmatch
import logging
import time
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass
from datetime import datetime

from airflow_provider_cleartrace.api.errors import NotFoundError
from airflow_provider_cleartrace.api.listing import ListedModel
from airflow_provider_cleartrace.api.models import StatusResult
from airflow_provider_cleartrace.client.jobs import observe
from airflow_provider_cleartrace.client.polling import UNFINISHED
from airflow_provider_cleartrace.triggers.looks import Look, asked_pause, look_with, patient_backoff, told
from airflow_provider_cleartrace.triggers.pool import SharedClient

log = logging.getLogger(__name__)

ABSENT = "absent"
"""The status, in our words, of a job that the service does not know."""

AT_ONCE = 8
"""Looks of one watcher under way at once: one that hangs holds up no other, and places are left for waits."""

_WILDCARDS = frozenset("*?[")


def is_pattern(model_id: str) -> bool:
    """Whether this stands for many ids: no id holds a wildcard."""
    return not _WILDCARDS.isdisjoint(model_id)


@dataclass(slots=True)
class _Trouble:
    """Looks at a model that failed one after the other, and until when (monotonic) it is left alone."""

    failures: int = 0
    paused_until: float = 0.0


class Watch:
    """Finds out, look by look, about the models that may have changed.

    Args:
        model_id: The model, or a pattern of ids.
        job: Which of its jobs.
        conn_id: The connection, for what is logged.
        poll_interval: Seconds between two looks; those at a model where they fail come less often.
    """

    def __init__(self, model_id: str, job: str, conn_id: str, poll_interval: float) -> None:
        self._model_id, self._job, self._conn_id = model_id, job, conn_id
        self._backoff = patient_backoff(poll_interval)
        self._troubles: dict[str, _Trouble] = {}
        self._quiet_until = 0.0
        self._seen: dict[str, datetime] = {}
        self._complaint = ""

    def matching(self, look: Look) -> list[str] | None:
        """The ids that a look is about; None where it cannot tell."""
        if not is_pattern(self._model_id):
            return [self._model_id]
        if look.models is None:
            self._complain(look.reason)
            return None
        return [name for name in look.models if fnmatch.fnmatchcase(name, self._model_id)]

    async def changes(
        self, model_ids: Iterable[str], look: Look, shared: SharedClient
    ) -> AsyncGenerator[StatusResult]:
        """Where the job stands of each of these models that may have changed, as the answers come in."""
        if time.monotonic() < self._quiet_until:
            return
        listed = look.models or {}
        due = [model_id for model_id in model_ids if self._is_due(model_id, listed.get(model_id))]
        places = asyncio.Semaphore(AT_ONCE)
        looking = [asyncio.create_task(self._look(places, shared, name, listed.get(name))) for name in due]
        try:
            for answer in asyncio.as_completed(looking):
                status = await answer
                if status is not None and status.job in {None, self._job}:
                    yield status
        finally:
            for task in looking:
                task.cancel()
            await asyncio.gather(*looking, return_exceptions=True)

    def _is_due(self, model_id: str, listed: ListedModel | None) -> bool:
        """Whether a model is to be looked at by now: it may have changed, and its looks do not fail."""
        trouble = self._troubles.get(model_id)
        if trouble is not None and time.monotonic() < trouble.paused_until:
            return False
        # The list shows the last job alone: while that is unfinished, one before it may end unseen.
        return listed is None or listed.status in UNFINISHED or listed.updated != self._seen.get(model_id)

    async def _look(
        self, places: asyncio.Semaphore, shared: SharedClient, model_id: str, listed: ListedModel | None
    ) -> StatusResult | None:
        """One look at a model; None where it failed, which is nothing to the other models."""
        try:
            async with places:
                status = await self._status(shared, model_id, listed)
        except Exception as error:
            trouble = self._troubles.setdefault(model_id, _Trouble())
            now, asked = time.monotonic(), asked_pause(error)
            trouble.paused_until = now + self._backoff.delay(trouble.failures, asked)
            trouble.failures += 1
            if asked:  # it is the service that wants a pause, whatever is looked at
                self._quiet_until = trouble.paused_until
            log.warning("%s of model %s cannot be looked at: %s", self._job, model_id, told(error))
            return None
        self._troubles.pop(model_id, None)
        if listed is not None:
            self._seen[model_id] = listed.updated
        return status

    async def _status(self, shared: SharedClient, model_id: str, listed: ListedModel | None) -> StatusResult:
        if listed is not None and listed.job == self._job:
            return listed
        try:
            return await look_with(shared, lambda session: observe(session, model_id, self._job))
        except NotFoundError as error:
            if not error.from_service:
                raise
            return StatusResult(model_id=model_id, status=ABSENT)

    def _complain(self, reason: str) -> None:
        if reason == self._complaint:
            return
        self._complaint = reason
        error = NotFoundError(
            f"no model can match {self._model_id!r}: the service of connection {self._conn_id!r} does not "
            f"list its models, so watch one by its id ({reason})"
        )
        log.error("%s", error)
