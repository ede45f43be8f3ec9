"""What an output says of itself: its files, its counts, and what it was made from."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from airflow_provider_cleartrace.storage.errors import StorageError
from airflow_provider_cleartrace.storage.locations import Location

SUCCESS = "_SUCCESS"
"""The manifest's name in a folder: written last, and the sign that all files are there."""

PART = re.compile(r"part-\d{5}-[0-9a-f]{12}\.(parquet|jsonl|csv)")
"""The names of the files in a folder: the number of the part, and the beginning of the fingerprint."""

REJECTS = "_rejects.jsonl"
"""The rejected rows of a folder; those of a file ``NAME`` lie in ``NAME.rejects.jsonl`` beside it."""

SCHEMA_VERSION = 1


def manifest_place(target: Location) -> Location:
    """Where the manifest of an output lies: in a folder, or hidden beside a file."""
    if target.named_as_folder:
        return target.child(SUCCESS)
    return target.sibling(f".{target.name}.manifest.json")


def rejects_place(target: Location) -> Location:
    """Where the rejected rows of an output lie."""
    if target.named_as_folder:
        return target.child(REJECTS)
    return target.sibling(f"{target.name}.rejects.jsonl")


@dataclass(frozen=True)
class FileEntry:
    """One published file: its name below the folder, its rows and bytes, and their SHA-256."""

    name: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """A finished output.

    Attributes:
        fingerprint: The digest of everything that decides what the output holds.
        files: Its files, in the order of their rows.
        counts: ``rows_in``, ``rows_filtered``, ``rows_rejected``, ``rows_out`` and what the task adds.
        made_by: Which task wrote it, and with what; of rows also the ``id_columns`` that name them, and what
            the model was ``asked``.
    """

    fingerprint: str
    files: tuple[FileEntry, ...]
    counts: Mapping[str, int]
    made_by: Mapping[str, Any] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """As JSON, the same for the same content."""
        document = {"schema_version": SCHEMA_VERSION} | asdict(self)
        return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"

    @classmethod
    def read(cls, location: Location) -> Manifest | None:
        """Read a manifest; None where there is none, or somebody else's (Hadoop's is empty)."""
        try:
            document = json.loads(location.read_bytes())
            return cls(
                document["fingerprint"],
                tuple(FileEntry(**entry) for entry in document["files"]),
                document["counts"],
                document["made_by"],
            )
        except (StorageError, ValueError, KeyError, TypeError):
            return None
