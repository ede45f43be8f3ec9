"""What a task hands on through XCom: a small, flat JSON object that names what was made and where it lies."""

from __future__ import annotations

import json
import math
from typing import Any

from airflow_provider_cleartrace.api.errors import OuterProductError

SCHEMA_VERSION = 1

MAX_BYTES = 48 * 1024
"""The largest manifest: XCom backends start to refuse values at 64 KiB."""

LISTED = 20
"""Most entries of a list in a manifest; whole lists belong into files."""

LISTED_CHARACTERS = 300
"""Of a listed name: twenty of them leave room for the rest. The name of a column can be a megabyte."""


def manifest(**values: Any) -> dict[str, Any]:
    """Build a manifest: scalars and short lists of scalars; what is None is left out, long names are cut."""
    kept = {name: _small(value) for name, value in values.items() if value is not None}
    result = {"schema_version": SCHEMA_VERSION} | kept
    size = len(json.dumps(result, ensure_ascii=False).encode())
    if size > MAX_BYTES:
        raise OuterProductError(f"the task's manifest has {size} bytes; XCom takes {MAX_BYTES}")
    return result


def _small(value: Any) -> Any:
    """The value with None for what JSON cannot say."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [_cut(entry) if isinstance(entry, str) else _small(entry) for entry in value]
    return value


def _cut(name: str) -> str:
    return name if len(name) <= LISTED_CHARACTERS else f"{name[:LISTED_CHARACTERS]}…"
