"""Which models a watcher watches, and where the job of each stands."""

from __future__ import annotations

import fnmatch
import logging
import time
from collections.abc import AsyncIterator, Iterable
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

_WILDCARDS = frozenset("*?[")


def is_pattern(model_id: str) -> bool:
    """Whether this stands for many ids: no id holds a wildcard."""
    return not _WILDCARDS.isdisjoint(model_id)


class Watch:
    """Finds out, look by look, about the models that may have changed.

    Args:
        model_id: The model, or a pattern of ids.
        job: Which of its jobs.
        conn_id: The connection, for what is logged.
        poll_interval: Seconds between two looks; those that fail come less often.
    """

    def __init__(self, model_id: str, job: str, conn_id: str, poll_interval: float) -> None:
        self._model_id, self._job, self._conn_id = model_id, job, conn_id
        self._backoff = patient_backoff(poll_interval)
        self._failures = 0
        self._paused_until = 0.0
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
    ) -> AsyncIterator[StatusResult]:
        """Where the job stands of each of these models that may have changed."""
        if time.monotonic() < self._paused_until:
            return
        for model_id in model_ids:
            listed = (look.models or {}).get(model_id)
            if listed is not None and not self._may_have_changed(listed):
                continue
            try:
                status = await self._status(shared, model_id, listed)
            except Exception as error:
                pause = self._backoff.delay(self._failures, asked_pause(error))
                self._failures += 1
                self._paused_until = time.monotonic() + pause
                log.warning("%s of model %s cannot be looked at: %s", self._job, model_id, told(error))
                return
            self._failures = 0
            if listed is not None:
                self._seen[model_id] = listed.updated
            if status.job in {None, self._job}:
                yield status

    def _may_have_changed(self, listed: ListedModel) -> bool:
        # The list shows the last job alone: while that is unfinished, one before it may end unseen.
        return listed.status in UNFINISHED or listed.updated != self._seen.get(listed.model_id)

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
