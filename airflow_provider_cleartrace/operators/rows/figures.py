"""What a task tells of the rows that it has published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_provider_cleartrace.operators.manifest import LISTED
from airflow_provider_cleartrace.storage.manifests import Manifest, rejects_place
from airflow_provider_cleartrace.storage.publication import Publication

_OWN = {"rows_in", "rows_out", "rows_filtered", "rows_rejected"}
"""Counts that have names of their own in the task's manifest."""


def row_figures(
    publication: Publication, published: Manifest, *, filtered: bool, columns: Sequence[str]
) -> dict[str, Any]:
    """Counts and places, flat.

    Args:
        publication: Where it was published.
        published: What.
        filtered: Whether the task was to choose among the rows.
        columns: The output's.
    """
    counts, target = published.counts, publication.target
    rejected = counts["rows_rejected"]
    return {
        "output_uri": target.uri,
        "rows": counts["rows_in"],
        "rows_filtered": counts.get("rows_filtered", 0) if filtered else None,
        "rows_rejected": rejected,
        "rows_written": sum(file.rows for file in published.files),
        "rejects_uri": rejects_place(target).uri if rejected else None,
        "files": len(published.files),
        "bytes": sum(file.bytes for file in published.files),
        "sha256": published.files[0].sha256 if len(published.files) == 1 else None,
        "fingerprint": publication.fingerprint,
        "columns": columns[:LISTED],
        "n_columns": len(columns),
    } | {name: count for name, count in counts.items() if name not in _OWN}


def summary_of(data: str, figures: Mapping[str, Any]) -> str:
    """The figures of some data as a line for the log."""
    filtered = figures["rows_filtered"] or 0
    answered = figures["rows"] - filtered - figures["rows_rejected"]
    return (
        f"{figures['rows']} rows of {data}: {answered} answered, {filtered} not wanted,"
        f" {figures['rows_rejected']} rejected; {figures['output_uri']}"
    )
