"""The parts of an unfinished output: written one by one, each with a record, to be found by a later try."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_cleartrace.storage import csv_files, parquet_files
from airflow_provider_cleartrace.storage.errors import StorageError
from airflow_provider_cleartrace.storage.locations import BLOCK, Location
from airflow_provider_cleartrace.storage.manifests import FileEntry
from airflow_provider_cleartrace.storage.publishing import publish_bytes
from airflow_provider_cleartrace.storage.writing import CountedBytes, TableWriter, csv_header_size

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Part:
    """A finished part: its file, None where it has no row, and its counts."""

    index: int
    file: FileEntry | None
    counts: Mapping[str, int]
    has_rejects: bool = False


@dataclass(frozen=True)
class Staging:
    """The hidden folder beside an output that holds its parts.

    Args:
        folder: The folder; its name holds the fingerprint of the work, so that nothing else is found in it.
        mark: The beginning of the fingerprint, for the names of the parts.
        file_format: ``parquet``, ``jsonl`` or ``csv``.
    """

    folder: Location
    mark: str
    file_format: str

    def file(self, index: int) -> Location:
        """The rows of a part."""
        return self.folder.child(f"part-{index:05d}-{self.mark}.{self.file_format}")

    def rejects(self, index: int) -> Location:
        """The rejected rows of a part."""
        return self.folder.child(f".part-{index:05d}.rejects.jsonl")

    def record(self, index: int) -> Location:
        """What says that a part is finished."""
        return self.folder.child(f".part-{index:05d}.json")

    def done(self, index: int) -> Part | None:
        """A part that an earlier try finished, if it is there as it was written."""
        try:
            document = json.loads(self.record(index).read_bytes())
            file = None if document["file"] is None else FileEntry(**document["file"])
            if file is not None and self.file(index).size() != file.bytes:
                return None
            return Part(index, file, document["counts"], document["has_rejects"])
        except (StorageError, ValueError, KeyError, TypeError):
            return None

    def discard_if_nothing_done(self) -> None:
        """Leave no trace of a try that finished no part."""
        with contextlib.suppress(StorageError):
            if not any(name.endswith(".json") for name in self.folder.names()):
                self.folder.delete_folder()

    def merge(self, files: Sequence[FileEntry]) -> FileEntry:
        """All parts in one file of this folder, in their order."""
        if len(files) == 1:
            return files[0]
        whole = self.folder.child(f"whole.{self.file_format}")
        parts = [self.folder.child(file.name) for file in files]
        with whole.create() as stream, whole.errors_named():
            sink = CountedBytes(stream)
            if self.file_format == "parquet":
                _merge_parquet(sink, parts)
            else:
                header = csv_header_size(csv_files.header(parts[0])) if self.file_format == "csv" else 0
                for index, part in enumerate(parts):
                    append_file(sink, part, skip=header if index else 0)
        return FileEntry(whole.name, sum(file.rows for file in files), sink.size, sink.sha256)


@dataclass
class PartWriter:
    """Takes the rows of one part; end with :meth:`finish` or :meth:`abandon`."""

    staging: Staging
    index: int
    counts: Counter[str] = field(default_factory=Counter)
    _rejects: list[bytes] = field(default_factory=list)
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _sink: CountedBytes | None = None
    _table: TableWriter | None = None

    def write(self, batch: pa.RecordBatch) -> None:
        """Append rows; the first batch decides the part's columns."""
        place = self.staging.file(self.index)
        if self._table is None:
            self._sink = CountedBytes(self._stack.enter_context(place.create()))
            self._table = TableWriter(self._sink, batch.schema, self.staging.file_format)
        with place.errors_named():
            self._table.write(batch)

    def reject(self, row: Mapping[str, Any]) -> None:
        """Keep a row that got no answer, as a line of JSON."""
        import pydantic_core  # noqa: PLC0415  (only bad rows need it)

        self._rejects.append(pydantic_core.to_json(row, inf_nan_mode="strings") + b"\n")

    def finish(self) -> Part:
        """Close the file, then record that the part is there."""
        file = None
        if self._table is not None and self._sink is not None:
            place = self.staging.file(self.index)
            with place.errors_named():
                self._table.close()
            self._stack.close()
            file = FileEntry(place.name, self._table.rows, self._sink.size, self._sink.sha256)
        if self._rejects:
            with self.staging.rejects(self.index).create() as stream:
                stream.write(b"".join(self._rejects))
        part = Part(self.index, file, dict(self.counts), bool(self._rejects))
        publish_bytes(self.staging.record(self.index), json.dumps(dataclasses.asdict(part)).encode())
        return part

    def abandon(self) -> None:
        """Close the file; without a record nobody takes it for a part."""
        if self._table is not None:
            self._table.abandon()
        with contextlib.suppress(StorageError):
            self._stack.close()


def append_file(sink: Any, part: Location, *, skip: int = 0) -> None:
    """Copy the bytes of a file behind others, without its first ``skip`` bytes."""
    with part.open() as stream, part.errors_named():
        stream.seek(skip)
        while block := stream.read(BLOCK):
            sink.write(block)


def _merge_parquet(sink: CountedBytes, parts: Sequence[Location]) -> None:
    writer: TableWriter | None = None
    for part in parts:
        with parquet_files.opened(part) as file:
            writer = writer or TableWriter(sink, file.schema_arrow, "parquet")
            for group in range(file.num_row_groups):
                with parquet_files.damage_named(part):
                    rows = file.read_row_group(group)
                for batch in rows.to_batches():
                    writer.write(batch)
    if writer is not None:
        writer.close()
