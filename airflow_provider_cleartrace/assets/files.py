"""The URI of a file or folder, as Airflow's assets and OpenLineage tell them apart."""

from __future__ import annotations

from pathlib import Path


def file_uri(path_or_uri: str) -> str:
    """The absolute URI of what a task reads or writes: a local path becomes a ``file://`` URI.

    A part of a file (``#rows=0-1000``) belongs to that file; a folder is the same with its slash or without.
    """
    whole, _, _ = path_or_uri.partition("#rows=")
    if "://" in whole:
        return whole.rstrip("/")
    return Path(whole).expanduser().absolute().as_uri()
