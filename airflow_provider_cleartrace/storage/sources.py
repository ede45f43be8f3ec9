"""The rows behind a ``data`` URI: a file, a folder, hive partitions, or a range of rows of any of these."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from airflow_provider_cleartrace.storage import csv_files, parquet_files
from airflow_provider_cleartrace.storage.errors import StorageError
from airflow_provider_cleartrace.storage.filters import RowFilter
from airflow_provider_cleartrace.storage.kinds import AS_IT_IS, Kind, check_kind, common_type
from airflow_provider_cleartrace.storage.listing import listed
from airflow_provider_cleartrace.storage.locations import Location, locate
from airflow_provider_cleartrace.storage.s3 import S3ClientFactory, default_s3_client

if TYPE_CHECKING:
    import pyarrow as pa

PARQUET = (".parquet", ".pq")
CSV = (".csv", ".csv.gz")

_RANGE = re.compile(r"#rows=(\d+)-(\d+)$")


@dataclass(frozen=True)
class Block:
    """Rows that follow each other in the input; ``first`` is the number of the first, counted from 0."""

    first: int
    batch: pa.RecordBatch


@dataclass(frozen=True)
class DataFile:
    """One file of an input; ``partition`` holds what hive-style folders (``day=2026-11-21``) say of it."""

    location: Location
    partition: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def is_csv(self) -> bool:
        """Whether it is a CSV; otherwise it is Parquet."""
        return self.location.name.lower().endswith(CSV)

    @functools.cached_property
    def columns(self) -> list[str]:
        """The names of its columns, those of the partition last."""
        own = csv_files.header(self.location) if self.is_csv else self.parquet_schema.names
        return [*own, *(name for name in self.partition if name not in own)]

    @functools.cached_property
    def parquet_schema(self) -> pa.Schema:
        """The columns and types of a Parquet file."""
        with parquet_files.opened(self.location) as file:
            return file.schema_arrow

    @functools.cached_property
    def group_rows(self) -> list[int]:
        """Rows of each row group of a Parquet file."""
        with parquet_files.opened(self.location) as file:
            return [file.metadata.row_group(index).num_rows for index in range(file.num_row_groups)]


@dataclass
class Source:
    """An input. Rows are numbered through all of its files, in the order of their paths.

    ``start`` and ``stop`` bound the rows that are read; ``stop`` is None for all that follow.
    """

    uri: str
    root: Location
    files: tuple[DataFile, ...]
    start: int = 0
    stop: int | None = None
    _bytes_before: int = 0
    _position: list[int] = field(default_factory=lambda: [0])

    @functools.cached_property
    def fingerprint(self) -> str:
        """The identity of what is read: which files with which content, and which rows of them."""
        listed = [f"{file.location.path}\0{file.location.fingerprint()}" for file in self.files]
        if len(listed) == 1 and self.stop is None:
            return listed[0].partition("\0")[2]
        digest = hashlib.sha256("\n".join([*listed, f"{self.start}-{self.stop}"]).encode())
        return f"sha256:{digest.hexdigest()}"

    @functools.cached_property
    def rows(self) -> int | None:
        """How many rows are read, where the files tell without being read (Parquet, or a range)."""
        if any(file.is_csv for file in self.files):
            return None if self.stop is None else self.stop - self.start
        total = sum(sum(file.group_rows) for file in self.files)
        return max(0, (total if self.stop is None else min(total, self.stop)) - self.start)

    def count(self) -> int:
        """How many rows all files have. Parquet files tell; CSV files are read for it."""
        total = 0
        for file in self.files:
            if file.is_csv:
                pieces = csv_files.batches(file.location, file.columns[:1], position=[0])
                total += sum(batch.num_rows for batch in pieces)
            else:
                total += sum(file.group_rows)
        return total

    def share_read(self) -> float | None:
        """Which share of the bytes of CSV files was read so far, in [0, 1]; None for a range or Parquet."""
        if self.start or self.stop is not None or not all(file.is_csv for file in self.files):
            return None
        total = sum(self._sizes)
        return min(1.0, (self._bytes_before + self._position[0]) / total) if total else None

    @functools.cached_property
    def _sizes(self) -> list[int]:
        return [file.location.size() for file in self.files]

    def check(self, kinds: Mapping[str, Kind]) -> None:
        """Look at every file's header for the columns that will be read.

        Raises:
            StorageError: a file that cannot be read, lacks a column, or has one of another type; or files
                whose types of a column have nothing in common.
        """
        for file in self.files:
            what = file.location.uri
            if file.location.size() == 0:
                raise StorageError(f"{what}: the file is empty")
            if missing := sorted(kinds.keys() - set(file.columns)):
                raise StorageError(
                    f"{what}: no column {', '.join(map(repr, missing))};"
                    f" its columns: {', '.join(map(repr, file.columns))}"
                )
            if not file.is_csv:
                for field_ in file.parquet_schema:
                    if field_.name in kinds:
                        check_kind(what, field_, kinds[field_.name])
        for name, kind in kinds.items():
            types = self._types(name)
            if kind in AS_IT_IS and common_type(types) is None:
                told = ", ".join(sorted(map(str, types)))
                raise StorageError(f"{self.uri}: the column {name!r} has another type in each file: {told}")

    def type_of(self, column: str) -> pa.DataType | None:
        """The type that holds a column of all files; None where there is none."""
        return common_type(self._types(column))

    def _types(self, column: str) -> set[pa.DataType]:
        import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)

        return {
            pa.string() if file.is_csv or column in file.partition else file.parquet_schema.field(column).type
            for file in self.files
        }

    def read(self, columns: Sequence[str], *, prune: RowFilter | None = None) -> Iterator[Block]:
        """Read the rows in order, as the files have them.

        Args:
            columns: Columns to read, in this order; those of CSV files and partitions are texts.
            prune: Row groups and files that cannot have a row that meets this may be left out.

        Raises:
            StorageError: a file is damaged, or CSV files end before the range does.
        """
        first = 0
        self._bytes_before = 0
        for index, file in enumerate(self.files):
            if self.stop is not None and first >= self.stop:
                return
            own = [name for name in columns if name not in file.partition]
            blocks = self._csv(file, own) if file.is_csv else self._parquet(file, own, first, prune)
            end = first
            for offset, batch in blocks:
                end = first + offset + (0 if batch is None else batch.num_rows)
                if batch is None:
                    continue
                block = self._within(Block(first + offset, _with_partition(batch, file.partition, columns)))
                if block is not None:
                    yield block
                if self.stop is not None and end >= self.stop:
                    return
            first = end
            if file.is_csv:
                self._bytes_before += self._sizes[index]
                self._position[0] = 0
        if self.stop is not None and first < self.stop and any(file.is_csv for file in self.files):
            raise StorageError(f"{self.root.uri}: has only {first} rows, not {self.stop}")

    def _csv(self, file: DataFile, columns: Sequence[str]) -> Iterator[tuple[int, pa.RecordBatch]]:
        offset = 0
        for batch in csv_files.batches(file.location, columns or file.columns[:1], position=self._position):
            yield offset, batch.select(list(columns)) if columns else batch
            offset += batch.num_rows

    def _parquet(
        self, file: DataFile, columns: Sequence[str], first: int, prune: RowFilter | None
    ) -> Iterator[tuple[int, pa.RecordBatch | None]]:
        wanted = set(range(len(file.group_rows)))
        if prune is not None and set(prune.columns) <= set(file.parquet_schema.names):
            wanted = parquet_files.groups_that_may_match(file.location, prune)
        offset = 0
        for group, rows in enumerate(file.group_rows):
            begin, end = first + offset, first + offset + rows
            outside = end <= self.start or (self.stop is not None and begin >= self.stop)
            if group in wanted and not outside:
                start = offset
                for batch in parquet_files.batches(file.location, columns, [group]):
                    yield start, batch
                    start += batch.num_rows
            offset += rows
        yield offset, None

    def _within(self, block: Block) -> Block | None:
        """The part of a block that lies in the range of rows that is asked for."""
        skip = max(0, self.start - block.first)
        end = block.first + block.batch.num_rows
        keep = block.batch.num_rows - skip - (0 if self.stop is None else max(0, end - self.stop))
        return Block(block.first + skip, block.batch.slice(skip, keep)) if keep > 0 else None


def split_range(data: str) -> tuple[str, int, int | None]:
    """A path or URI, and which of its rows are meant: from START to before STOP (None: to the end)."""
    match = _RANGE.search(data)
    return (data[: match.start()], int(match[1]), int(match[2])) if match else (data, 0, None)


def find_source(data: str, s3_client: S3ClientFactory = default_s3_client) -> Source:
    """Find the files behind a path or URI, which may end in ``#rows=START-STOP``.

    A folder with a ``_SUCCESS`` manifest of this provider is the files that the manifest names; one that
    still lacks it while parts are there is refused. In any other folder every file counts whose path has
    no segment that begins with ``.`` or ``_``.

    Raises:
        StorageError: there is nothing, or a file of another kind.
    """
    uri, start, stop = split_range(data)
    if stop is not None and stop <= start:
        raise StorageError(f"{data}: an empty range of rows")
    root = locate(uri, s3_client)
    if not root.named_as_folder and root.is_file():
        files = [_data_file(root, "")]
    elif root.is_folder():
        files = [_data_file(root.child(name), name.rpartition("/")[0]) for name in listed(root)]
        if not files:
            raise StorageError(f"{uri}: the folder has no .csv, .csv.gz, .parquet or .pq file")
    else:
        raise StorageError(f"{uri}: no such file")
    return Source(data, root, tuple(files), start, stop)


def single_file(location: Location) -> Source:
    """One file as an input.

    Raises:
        StorageError: there is none, it is empty, or of another kind.
    """
    if location.size() == 0:
        raise StorageError(f"{location.uri}: the file is empty")
    return Source(location.uri, location, (_data_file(location, ""),))


def _data_file(location: Location, folder: str) -> DataFile:
    if not location.name.lower().endswith(PARQUET + CSV):
        raise StorageError(
            f"{location.uri}: {location.suffix or 'no'} extension; .csv, .csv.gz, .parquet or .pq is needed"
        )
    pairs = [segment.split("=", 1) for segment in folder.split("/") if "=" in segment]
    partition = {
        unquote(name): None if value == "__HIVE_DEFAULT_PARTITION__" else unquote(value)
        for name, value in pairs
    }
    return DataFile(location, partition)


def _with_partition(
    batch: pa.RecordBatch, partition: Mapping[str, str | None], columns: Sequence[str]
) -> pa.RecordBatch:
    import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)

    if not partition and batch.schema.names == list(columns):
        return batch
    arrays: dict[str, Any] = dict(zip(batch.schema.names, batch.columns, strict=True))
    for name, value in partition.items():
        arrays[name] = pa.array([value] * batch.num_rows, pa.string())
    return pa.RecordBatch.from_arrays([arrays[name] for name in columns], names=list(columns))
