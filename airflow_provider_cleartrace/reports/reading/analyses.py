"""Personas and narratives, as the Segment and Narrative tasks write them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from airflow_provider_cleartrace.reports.errors import ReportError
from airflow_provider_cleartrace.reports.facts import Persona, Segments, is_number
from airflow_provider_cleartrace.storage.locations import Location, locate
from airflow_provider_cleartrace.storage.s3 import S3ClientFactory

MOST_TEXT_BYTES = 4 * 1024 * 1024
"""A larger narrative is no text for people."""


def read_segments(location: Location) -> Segments:
    """The personas of a segmentation; their sizes are counted in ``cluster_ids``.

    Raises:
        ReportError: the file is no segmentation.
        StorageError: it cannot be read.
    """
    content = location.read_bytes()
    try:
        told = json.loads(content)
        counts = Counter(told["cluster_ids"])
        rows = sum(counts.values())
        personas = [_persona(entry, counts, rows) for entry in told["personas"]]
        quality = float(told["quality"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ReportError(f"{location.uri}: no JSON of a segmentation") from None
    return Segments(
        rows=rows, quality=quality, personas=tuple(sorted(personas, key=lambda persona: -persona.rows))
    )


def _persona(told: Mapping[str, Any], counts: Mapping[int, int], rows: int) -> Persona:
    size = counts[told["cluster_id"]]
    means = {name: told[name] for name in ("mean_prediction", "mean_target") if is_number(told.get(name))}
    return Persona(
        name=told["persona_name"],
        description=told["persona_description"],
        rows=size,
        share=size / rows if rows else 0.0,
        top_drivers=tuple(map(str, told.get("top_drivers") or ())),
        **means,
    )


def names_file(narrative: str) -> bool:
    """Whether a narrative is told by the path of its file, rather than itself."""
    return "\n" not in narrative and narrative.lower().endswith((".md", ".txt"))


def read_narrative(narrative: str, s3: S3ClientFactory) -> str:
    """A narrative by the path of its ``.md`` or ``.txt`` file, or the text itself.

    Raises:
        ReportError: the file is too large or no UTF-8.
    """
    if not names_file(narrative):
        return narrative
    location = locate(narrative, s3)
    if location.size() > MOST_TEXT_BYTES:
        raise ReportError(f"{location.uri}: a narrative of more than {MOST_TEXT_BYTES} bytes")
    try:
        return location.read_bytes().decode()
    except UnicodeDecodeError:
        raise ReportError(f"{location.uri}: not UTF-8") from None
