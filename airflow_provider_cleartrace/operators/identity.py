"""Model ids that say what was asked for, so that asking again finds the first answer."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")

NAME_LENGTH = 100
"""Characters kept of the readable part: with the digest the id stays below the 128 of the wire."""


@dataclass(frozen=True, slots=True)
class Series:
    """The tries that belong together: a retry continues a series, a clear begins the next.

    ``number`` is 0 until somebody clears the task; ``first_try`` is whether no try came before in the series.
    """

    number: int
    first_try: bool

    @classmethod
    def of(cls, context: Any, retries: int) -> Series:
        """The series of the running task.

        Airflow raises ``max_tries`` to the tries already made plus ``retries`` when a task is cleared, and
        never for a retry: what it exceeds ``retries`` by tells the series.
        """
        ti = context["ti"]
        number = max(0, ti.max_tries - retries)
        return cls(number, ti.try_number <= number + 1)


def digest_of(value: Any) -> str:
    """A digest of JSON, the same in whatever order its keys stand."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def derived_model_id(
    context: Any, *, fingerprint: Mapping[str, Any], generation: int = 0, series: int = 0
) -> str:
    """The id of the model that a task instance trains: ``<dag>-<task>-<12 hex digits>``.

    The digest covers the DAG, the task, the run, the map index, everything that shapes the model
    (``fingerprint``, JSON), the generation, which moves on when an earlier model of the same request failed,
    and the series, where a clear shall start over. It never covers the try number: a retry finds what the try
    before it started.
    """
    ti = context["ti"]
    identity = [ti.dag_id, ti.task_id, ti.run_id, ti.map_index, fingerprint, generation]
    digest = digest_of([*identity, series] if series else identity)
    name = _UNSAFE.sub("-", f"{ti.dag_id}-{ti.task_id}")[:NAME_LENGTH].strip("-._")
    return f"{name or 'model'}-{digest[:12]}"
