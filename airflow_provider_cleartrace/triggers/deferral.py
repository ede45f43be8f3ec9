"""What operators and sensors agree on when they defer to :class:`~.ClearTraceJobTrigger`."""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import conf

from airflow_provider_cleartrace.api.errors import OuterProductError, ValidationError
from airflow_provider_cleartrace.client.polling import Ended, Ending

if TYPE_CHECKING:
    from airflow_provider_cleartrace.triggers.job import ClearTraceJobTrigger

BACKSTOP = 300.0
"""Seconds that Airflow's own timeout waits longer than the trigger's: it ends a task without telling it."""

EXECUTION_MARGIN = 60.0
"""Seconds that a wait ends before Airflow's ``execution_timeout``, so that the task can still end its job."""

EXECUTION_MARGIN_SHARE = 0.1
"""The most of an ``execution_timeout`` that the margin may take."""


def deadline_of(
    context: Any, *, begun: float, timeout: float, execution_timeout: dt.timedelta | None
) -> float:
    """When a wait has to end, in epoch seconds.

    Args:
        context: Of the running task. Its start does not move when the task is resumed, so that every wait of
            a try has the same limit.
        begun: Epoch seconds at which the wait begins.
        timeout: Seconds it may take.
        execution_timeout: Airflow's limit for the whole try, of which no deferred task hears.
    """
    deadline = begun + timeout
    if execution_timeout is None:
        return deadline
    seconds = execution_timeout.total_seconds()
    margin = min(EXECUTION_MARGIN, EXECUTION_MARGIN_SHARE * seconds)
    return min(deadline, float(context["ti"].start_date.timestamp()) + seconds - margin)


def backstop_of(trigger: ClearTraceJobTrigger) -> dt.timedelta | None:
    """How long Airflow itself lets a trigger wait: for the case that no triggerer is alive."""
    if trigger.deadline is None:
        return None
    return dt.timedelta(seconds=max(0.0, trigger.deadline - time.time()) + BACKSTOP)


def check_travels(trigger: ClearTraceJobTrigger) -> None:
    """Refuse a trigger that cannot reach the triggerer as it is.

    Airflow 3.2+ finds out only when it defers the task, and then the job is running already.

    Raises:
        ValidationError: an argument is no plain JSON.
    """
    for name, value in trigger.serialize()[1].items():
        try:
            same = json.loads(json.dumps(value, allow_nan=False)) == value
        except (TypeError, ValueError):
            same = False
        if not same:
            raise ValidationError(f"{name} must be plain JSON to be waited for in the triggerer")


def deferrable_or_default(deferrable: bool | None) -> bool:
    """The author's choice, else ``[operators] default_deferrable``."""
    if deferrable is not None:
        return deferrable
    return bool(conf.getboolean("operators", "default_deferrable", fallback=False))


def ended_from_event(event: Mapping[str, Any] | None) -> Ended:
    """How the wait ended, from the trigger's event; keys a trigger of another version left out are blank.

    Raises:
        OuterProductError: no event, or none of this trigger's.
    """
    try:
        ending = Ending((event or {})["ending"])
    except (KeyError, ValueError):
        raise OuterProductError(
            "the task was resumed without an event of ClearTraceJobTrigger; its job may still run"
        ) from None
    told = event or {}
    return Ended(ending, told.get("reason", ""), told.get("elapsed", 0.0), told.get("refusal", ""))
