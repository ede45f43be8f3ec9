"""Outputs of partitions, each in a folder of its own below one folder: one manifest makes them one output."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_cleartrace.storage.errors import StorageError
from airflow_provider_cleartrace.storage.listing import visible
from airflow_provider_cleartrace.storage.locations import Location
from airflow_provider_cleartrace.storage.manifests import PART, SUCCESS, FileEntry, Manifest
from airflow_provider_cleartrace.storage.publishing import publish_bytes
from airflow_provider_cleartrace.storage.sources import split_range

DESCRIBED = ("id_columns", "columns", "asked")
"""What a manifest says of its rows, which is the same of all partitions: one mapped task made them."""


@dataclass(frozen=True)
class PartitionOutput:
    """What a task says that it made of a partition.

    Attributes:
        data: The partition, as the task was given it.
        folder: Where its output is.
        fingerprint: The fingerprint of that output.
    """

    data: str
    folder: Location
    fingerprint: str


def combine(root: Location, outputs: Sequence[PartitionOutput]) -> Manifest:
    """Publish the manifest that names the files of all partitions, in the order given.

    It is of the kind that each output has itself: whoever reads the folder by its ``_SUCCESS`` reads all of
    them as one. The files stay where they are.

    Raises:
        StorageError: an output is not below ``root``, shares its folder, is no table of parts, is not whole,
            was replaced, does not have the rows of its partition, another model's answers or other columns;
            or files of somebody else are there.
    """
    counts: Counter[str] = Counter()
    files: list[FileEntry] = []
    models: set[Any] = set()
    formats: set[str] = set()
    described: dict[str, Any] | None = None
    names = _names_below(root, outputs)
    for name, output in zip(names, outputs, strict=True):
        made = _manifest_of(output)
        counts.update(made.counts)
        files += [dataclasses.replace(entry, name=f"{name}/{entry.name}") for entry in made.files]
        models.add(made.made_by.get("model_id"))
        told = {name: made.made_by[name] for name in DESCRIBED if name in made.made_by}
        formats |= {entry.name.rpartition(".")[2] for entry in made.files}
        if described not in (None, told) or len(formats) > 1:
            raise StorageError(
                f"{output.folder.uri}: the output of {output.data} was asked for otherwise than those before:"
                " clear its task, or all of them, to make them alike"
            )
        described = told
    if len(models) > 1:
        raise StorageError(f"{root.uri}: the partitions are the work of {len(models)} models, not of one")
    _refuse_strangers(root, {entry.name for entry in files})
    manifest = Manifest(
        hashlib.sha256("\n".join(output.fingerprint for output in outputs).encode()).hexdigest(),
        tuple(files),
        dict(counts),
        {"model_id": models.pop(), "data": sorted({split_range(output.data)[0] for output in outputs})}
        | (described or {}),
    )
    publish_bytes(root.child(SUCCESS), manifest.to_bytes())
    return manifest


def _names_below(root: Location, outputs: Sequence[PartitionOutput]) -> list[str]:
    taken: dict[str, str] = {}
    for output in outputs:
        folder = output.folder
        if not folder.named_as_folder or not root.covers(folder) or folder.path == root.path:
            raise StorageError(f"{folder.uri}: the output of a partition must be a folder below {root.uri}")
        name = folder.path.removeprefix(f"{root.path}/")
        if name in taken:
            raise StorageError(
                f"{folder.uri}: the output of both {taken[name]} and {output.data}:"
                " put the map index into output_uri"
            )
        taken[name] = output.data
    return list(taken)


def _manifest_of(output: PartitionOutput) -> Manifest:
    where = f"{output.folder.uri}: the output of {output.data}"
    made = Manifest.read(output.folder.child(SUCCESS))
    if made is None:
        raise StorageError(f"{where} is not there")
    if made.fingerprint != output.fingerprint:
        raise StorageError(f"{where} was replaced by something else")
    for entry in made.files:
        if not PART.fullmatch(entry.name):
            raise StorageError(
                f"{where} holds {entry.name!r}, which is no part of a table: it stays on its own"
            )
        if output.folder.child(entry.name).size() != entry.bytes:
            raise StorageError(f"{where} is damaged: {entry.name!r} should have {entry.bytes} bytes")
    _, start, stop = split_range(output.data)
    if stop is not None and made.counts["rows_in"] != stop - start:
        raise StorageError(f"{where} is about {made.counts['rows_in']} rows, not about {stop - start}")
    return made


def _refuse_strangers(root: Location, own: set[str]) -> None:
    """A reader that does not look at the manifest would take them for parts."""
    if strange := sorted(set(visible(root)) - own):
        raise StorageError(
            f"{root.uri}: the folder also holds {strange[0]!r}, which belongs to none of the partitions:"
            " name a folder of its own for each run, or delete it"
        )
