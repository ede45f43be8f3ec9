"""What a task remembers from one process to the next: an entry of Airflow's task state store (3.3+)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

log = logging.getLogger(__name__)


class TaskState:
    """One entry of the running task's state store.

    The store is a help, never a condition: where Airflow has none (before 3.3) or it fails, nothing is
    remembered and the task goes on.

    Args:
        context: Of the running task.
        key: Name of the entry.
    """

    def __init__(self, context: Any, key: str) -> None:
        self._store = context.get("task_state_store")
        self._key = key

    def get(self) -> dict[str, Any]:
        """The entry; empty when there is none."""
        return self._call("get") or {}

    def set(self, value: Mapping[str, Any]) -> None:
        """Replace the entry (JSON)."""
        self._call("set", dict(value))

    def delete(self) -> None:
        """Remove the entry."""
        self._call("delete")

    def _call(self, name: str, *arguments: Any) -> Any:
        if self._store is None:
            return None
        try:
            return getattr(self._store, name)(self._key, *arguments)
        except Exception as error:
            log.warning("the task state store failed (%s of %s: %s)", name, self._key, type(error).__name__)
            return None
