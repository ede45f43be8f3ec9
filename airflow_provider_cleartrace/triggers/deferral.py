"""What operators and sensors agree on when they defer to :class:`~.ClearTraceJobTrigger`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow.providers.common.compat.sdk import conf

from airflow_provider_cleartrace.api.errors import OuterProductError
from airflow_provider_cleartrace.client.polling import Ended, Ending

BACKSTOP = 300.0
"""Seconds that Airflow's own timeout waits longer than the trigger's: it ends a task without telling it."""


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
