"""``ClearTraceModelReadyTrigger``: tells the watcher of an asset when jobs of models complete."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Hashable
from typing import Any

from airflow.providers.common.compat.triggers import BaseEventTrigger
from airflow.triggers.base import TriggerEvent

from airflow_provider_cleartrace.api.errors import ValidationError
from airflow_provider_cleartrace.api.models import MODEL_ID_PATTERN, StatusResult
from airflow_provider_cleartrace.api.operations import OPERATIONS
from airflow_provider_cleartrace.hooks.cleartrace import DEFAULT_CONN_ID
from airflow_provider_cleartrace.triggers.completions import Completions
from airflow_provider_cleartrace.triggers.looks import Look, looks, patient_backoff
from airflow_provider_cleartrace.triggers.pool import SharedClient, borrow
from airflow_provider_cleartrace.triggers.watch import Watch, is_pattern

JOBS = tuple(operation.job for operation in OPERATIONS if operation.job)

DEFAULT_POLL_INTERVAL = 60.0
"""Seconds between two looks: a training takes minutes, and a watch lasts for months."""

HANDED_OVER = 5.0
"""Seconds after which Airflow has an event in its database; its triggerer writes events every second."""


class ClearTraceModelReadyTrigger(BaseEventTrigger):
    """Fires whenever a job of a model completes, for as long as a DAG is scheduled on it (Airflow 3.0+).

    The event is flat JSON: ``model_id``, ``job``, ``status`` (``completed``), ``link`` to the model's page,
    and ``job_id`` where the service tells one. A job is reported once; a new training under the same id is
    reported again. Outages are borne. On Airflow 3.3+ all watchers of a connection share one look at its
    models, and what was reported is kept in the asset's state store, so that a restart repeats nothing.

    Args:
        model_id: The model, or a pattern of ids with ``*``, ``?`` or ``[...]``. A pattern needs a service
            that lists its models, such as ClearTrace Local.
        job: Which of its jobs: ``fit``, ``fit_distill``, ``segment`` or ``narrative``.
        cleartrace_conn_id: The connection; its secrets are looked up where the trigger runs.
        poll_interval: Seconds between two looks.
        include_existing: Also fire for what is complete already when nothing is remembered: when the watch is
            new, and below Airflow 3.3 after each restart of the triggerer.

    Raises:
        ValidationError: neither an id nor a pattern, no such job, or an interval that is not positive.
    """

    def __init__(
        self,
        model_id: str,
        job: str = "fit",
        cleartrace_conn_id: str = DEFAULT_CONN_ID,
        poll_interval: float = DEFAULT_POLL_INTERVAL,
        include_existing: bool = False,
    ) -> None:
        super().__init__()
        if not model_id or not (is_pattern(model_id) or re.match(MODEL_ID_PATTERN, model_id)):
            raise ValidationError(f"{model_id!r} is neither a model id nor a pattern of ids")
        if job not in JOBS:
            raise ValidationError(f"{job!r} is no job; known: {', '.join(JOBS)}")
        if poll_interval <= 0:
            raise ValidationError(f"poll_interval must be positive, not {poll_interval}")
        self.model_id = model_id
        self.job = job
        self.cleartrace_conn_id = cleartrace_conn_id
        self.poll_interval = poll_interval
        self.include_existing = include_existing

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments, all of them plain JSON."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "model_id": self.model_id,
                "job": self.job,
                "cleartrace_conn_id": self.cleartrace_conn_id,
                "poll_interval": self.poll_interval,
                "include_existing": self.include_existing,
            },
        )

    def shared_stream_key(self) -> Hashable:
        """Watchers of one connection that look equally often share their looks (Airflow 3.3+)."""
        return ("cleartrace-models", self.cleartrace_conn_id, self.poll_interval)

    @classmethod
    def open_shared_stream(cls, kwargs: dict[str, Any]) -> AsyncGenerator[Look]:
        """Look at the models of the connection, for all who share the key."""
        return looks(kwargs["cleartrace_conn_id"], kwargs["poll_interval"])

    async def run(self) -> AsyncGenerator[TriggerEvent]:
        """Watch alone, where Airflow shares nothing (below 3.3)."""
        async with (
            contextlib.aclosing(self.open_shared_stream(self.serialize()[1])) as stream,
            contextlib.aclosing(self.filter_shared_stream(stream)) as events,
        ):
            async for event in events:
                yield event

    async def filter_shared_stream(self, shared_stream: AsyncIterator[Look]) -> AsyncGenerator[TriggerEvent]:
        """Fire for each completion that the looks bring to light."""
        marks = await self._recall()
        completions = Completions(marks, include_existing=self.include_existing)
        watch = Watch(self.model_id, self.job, self.cleartrace_conn_id, self.poll_interval)
        async with borrow(self.cleartrace_conn_id) as shared:
            async for look in shared_stream:
                model_ids = watch.matching(look)
                if model_ids is None:
                    continue
                completions.begin(model_ids)
                fired = False
                async with contextlib.aclosing(watch.changes(model_ids, look, shared)) as changes:
                    async for status in changes:
                        if completions.is_news(status):
                            fired = True
                            yield TriggerEvent(await self._payload(shared, status))
                if completions.marks != marks and await self._remember(completions.marks, fired=fired):
                    marks = dict(completions.marks)

    async def _payload(self, shared: SharedClient, status: StatusResult) -> dict[str, str]:
        settings, _ = await shared.ready()
        self.log.info("%s of model %s is ready", self.job, status.model_id)
        payload = {
            "model_id": status.model_id,
            "job": self.job,
            "status": status.status,
            "link": settings.model_url(status.model_id),
        }
        return payload if status.job_id is None else payload | {"job_id": status.job_id}

    @property
    def _memory_key(self) -> str:
        watched = json.dumps([self.cleartrace_conn_id, self.model_id, self.job])
        return f"cleartrace-ready-{hashlib.sha256(watched.encode()).hexdigest()[:16]}"

    async def _recall(self) -> dict[str, str] | None:
        """What this watch has reported before; None where nobody knows."""
        for attempt in itertools.count():
            store = getattr(self, "asset_state_store", None)
            if store is None:
                return None
            try:
                remembered = await store.aget(self._memory_key)
            except ValueError:  # Airflow has no store for a trigger that several assets watch with
                self.log.warning("several assets watch %s alike: a restart forgets", self.model_id)
                self.asset_state_store = None
            except Exception as error:  # to begin without it would lose what completed meanwhile
                self.log.warning("the asset's state cannot be read: %s", type(error).__name__)
                await asyncio.sleep(patient_backoff(self.poll_interval).delay(attempt))
            else:
                return remembered if isinstance(remembered, dict) else None
        raise AssertionError("unreachable: attempts do not end")

    async def _remember(self, marks: dict[str, str], *, fired: bool) -> bool:
        """Keep what was reported, once Airflow has the events: a crash in between repeats but loses none."""
        store = getattr(self, "asset_state_store", None)
        if store is None:
            return True
        if fired:
            await asyncio.sleep(HANDED_OVER)
        try:
            await store.aset(self._memory_key, marks)
        except Exception as error:
            self.log.warning("the asset's state cannot be written: %s", type(error).__name__)
            return False
        return True
