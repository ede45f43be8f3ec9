"""Model ids that say what was asked for, so that asking again finds the first answer."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")

NAME_LENGTH = 100
"""Characters kept of the readable part: with the digest the id stays below the 128 of the wire."""


def derived_model_id(context: Any, *, fingerprint: dict[str, Any], generation: int = 0) -> str:
    """The id of the model that a task instance trains: ``<dag>-<task>-<12 hex digits>``.

    The digest covers the DAG, the task, the run, the map index, everything that shapes the model
    (``fingerprint``, JSON), and the generation, which moves on when an earlier model of the same request
    failed. It never covers the try number: a retry finds what the try before it started.
    """
    ti = context["ti"]
    identity = [ti.dag_id, ti.task_id, ti.run_id, ti.map_index, fingerprint, generation]
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()
    name = _UNSAFE.sub("-", f"{ti.dag_id}-{ti.task_id}")[:NAME_LENGTH].strip("-._")
    return f"{name or 'model'}-{digest[:12]}"
