"""A table as the output of a task: rows written in parts, rejected rows beside them, one file or a folder."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_cleartrace.storage.locations import Location
from airflow_provider_cleartrace.storage.manifests import PART, REJECTS, SUCCESS, FileEntry, Manifest
from airflow_provider_cleartrace.storage.merging import append_file, merge
from airflow_provider_cleartrace.storage.parts import Part, Parts
from airflow_provider_cleartrace.storage.publication import Draft
from airflow_provider_cleartrace.storage.publishing import abandon, published
from airflow_provider_cleartrace.storage.writing import CountedBytes, TableWriter

if TYPE_CHECKING:
    import pyarrow as pa

NAMES = re.compile(rf"{PART.pattern}|{SUCCESS}|{re.escape(REJECTS)}")
"""The files of a folder of parts."""

_ROWS, _REJECTED = "rows", "rejected"
"""What the files of a part hold."""


@dataclass(frozen=True)
class TableDraft:
    """The draft of a table.

    Args:
        draft: Where it lies.
        file_format: ``parquet``, ``jsonl`` or ``csv``.
    """

    draft: Draft
    file_format: str

    @property
    def parts(self) -> Parts:
        """The parts that are finished."""
        return self.draft.parts

    def writer(self, index: int) -> PartWriter:
        """For the rows of one part."""
        name = f"part-{index:05d}-{self.draft.publication.mark}.{self.file_format}"
        return PartWriter(self.parts, index, name, self.file_format)

    def publish(self, parts: Sequence[Part], empty: pa.RecordBatch) -> Manifest:
        """Put the output into its place; what it replaces is gone afterwards.

        Args:
            parts: All parts, in order.
            empty: A batch without rows, which is written where there is no row at all.

        Raises:
            StorageError: a file that was finished is gone or cut short; what was there before is untouched.
        """
        counts: Counter[str] = Counter()
        for part in parts:
            counts.update(part.counts)
        folder, target = self.parts.folder, self.draft.publication.target
        rejected = [part.files[_REJECTED] for part in parts if _REJECTED in part.files]
        files = [part.files[_ROWS] for part in parts if _ROWS in part.files]
        files = files or [self._without_rows(len(parts), empty)]
        self.draft.check_files([*files, *rejected])
        if rejected:
            with published(folder.child(REJECTS)) as stream:
                for file in rejected:
                    append_file(stream, folder.child(file.name))
        if not target.named_as_folder:
            files = [merge(folder, files, target.name, self.file_format)]
        return self.draft.publish(files, counts)

    def _without_rows(self, index: int, empty: pa.RecordBatch) -> FileEntry:
        writer = self.writer(index)
        writer.write(empty)
        return writer.finish().files[_ROWS]


@dataclass
class PartWriter:
    """Takes the rows of one part; end with :meth:`finish` or :meth:`abandon`.

    Args:
        parts: Where the part is recorded.
        index: Its place among them.
        name: Its file's name.
        file_format: Its file's format.
    """

    parts: Parts
    index: int
    name: str
    file_format: str
    counts: Counter[str] = field(default_factory=Counter)
    _rejects: list[bytes] = field(default_factory=list)
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _sink: CountedBytes | None = None
    _table: TableWriter | None = None

    @property
    def _place(self) -> Location:
        return self.parts.folder.child(self.name)

    def write(self, batch: pa.RecordBatch) -> None:
        """Append rows; the first batch decides the part's columns."""
        if self._table is None:
            self._sink = CountedBytes(self._stack.enter_context(published(self._place)))
            self._table = TableWriter(self._sink, batch.schema, self.file_format)
        with self._place.errors_named():
            self._table.write(batch)

    def reject(self, row: Mapping[str, Any]) -> None:
        """Keep a row that got no answer, as a line of JSON."""
        import pydantic_core  # noqa: PLC0415  (only bad rows need it)

        self._rejects.append(pydantic_core.to_json(row, inf_nan_mode="strings") + b"\n")

    def finish(self) -> Part:
        """Close the file, then record that the part is there."""
        files = {}
        self.parts.check()  # before the file appears: who took over has tidied up already
        if self._table is not None and self._sink is not None:
            with self._place.errors_named():
                self._table.close()
            self._stack.close()
            files[_ROWS] = FileEntry(self.name, self._table.rows, self._sink.size, self._sink.sha256)
        if self._rejects:
            files[_REJECTED] = self._write_rejects()
        return self.parts.finish(Part(self.index, files, dict(self.counts)))

    def _write_rejects(self) -> FileEntry:
        place = self.parts.folder.child(f".part-{self.index:05d}.rejects.jsonl")
        with published(place) as stream:
            sink = CountedBytes(stream)
            sink.write(b"".join(self._rejects))
        return FileEntry(place.name, len(self._rejects), sink.size, sink.sha256)

    def abandon(self) -> None:
        """Close the file after a failure, and leave nothing of it."""
        if self._table is not None:
            self._table.abandon()
        abandon(self._stack)
