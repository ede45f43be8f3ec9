"""A job is cancelled as somebody ends the task that waits for it in the triggerer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

from asgiref.sync import sync_to_async

from airflow_provider_cleartrace.api.errors import OuterProductError
from airflow_provider_cleartrace.client.exchange import Flow
from airflow_provider_cleartrace.client.jobs import cancel_soon, look
from airflow_provider_cleartrace.client.polling import Ended
from airflow_provider_cleartrace.client.session import Session
from airflow_provider_cleartrace.client.settings import Settings
from airflow_provider_cleartrace.triggers.pool import borrow

log = logging.getLogger(__name__)

_cancelling: set[asyncio.Task[None]] = set()
"""Cancellations under way: the event loop itself would not keep them alive."""


async def cancel_for(ti: Any, conn_id: str, model_id: str, job: str) -> None:
    """Cancel the job of a task that was ended, and log what became of it.

    Airflow 3.3 repeats its own cancellation with every second that this takes, which would end the request
    before its answer; the job is therefore cancelled by a task of its own.

    Args:
        ti: The task's instance, as the trigger has it; None where Airflow gives none.
        conn_id: The connection.
        model_id: The model.
        job: Which of its jobs.
    """
    cancelling = asyncio.create_task(_cancel(ti, conn_id, model_id, job))
    _cancelling.add(cancelling)
    cancelling.add_done_callback(_cancelling.discard)
    await asyncio.shield(cancelling)


async def _cancel(ti: Any, conn_id: str, model_id: str, job: str) -> None:
    try:
        if await _still_deferred(ti):
            log.info("%s of model %s: its task waits on, elsewhere", job, model_id)
            return
        async with borrow(conn_id) as shared:
            settings, transport = await shared.ready()
            fate = await transport.run(_end(settings, model_id, job))
    except Exception as error:  # nobody is left to hear of it
        told = type(error).__name__
        log.warning("%s of model %s could not be cancelled (%s) and may still run", job, model_id, told)
        return
    log.info("%s of model %s: %s", job, model_id, fate)


async def _still_deferred(ti: Any) -> bool:
    """Whether the task waits, and so nobody ended it.

    Airflow 3.3 tells a trigger that it was killed also where a triggerer was silent for so long that another
    one took its triggers over (apache/airflow #73454).
    """
    if ti is None:
        return False
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance  # noqa: PLC0415  (Airflow 3 alone)

    states = await sync_to_async(RuntimeTaskInstance.get_task_states)(
        dag_id=ti.dag_id, task_ids=[ti.task_id], run_ids=[ti.run_id], map_index=ti.map_index
    )
    return "deferred" in states.get(ti.run_id, {}).values()


def _end(settings: Settings, model_id: str, job: str) -> Flow[str]:
    """End the job; where it has ended, the task has gone on since the trigger was told, and it is let be."""
    with contextlib.suppress(OuterProductError):  # the cancel itself tells what is wrong
        status = yield from look(Session(settings), model_id, job)
        if Ended.of_job(status, 0.0) is not None:
            return "it has ended by itself"
    stopped = yield from cancel_soon(settings, model_id, job)
    return "cancelled" if stopped else "left running: the service has no cancel"
