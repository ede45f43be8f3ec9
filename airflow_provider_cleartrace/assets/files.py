"""The URI of a file, as Airflow's assets and OpenLineage tell files apart."""

from __future__ import annotations

from pathlib import Path


def file_uri(path_or_uri: str) -> str:
    """The absolute ``file://`` URI of a local path; other URIs are one already."""
    if "://" in path_or_uri:
        return path_or_uri
    return Path(path_or_uri).expanduser().absolute().as_uri()
