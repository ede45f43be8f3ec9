"""Parquet files as record batches, a bounded piece of a row group at a time."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_cleartrace.storage.errors import StorageError
from airflow_provider_cleartrace.storage.locations import Location

if TYPE_CHECKING:
    import pyarrow as pa

    from airflow_provider_cleartrace.storage.filters import RowFilter

COLUMN_BUFFER = 256 * 1024
"""Bytes of a column chunk held at a time: without a buffer whole row groups are."""

SMALL_GROUP_ROWS = 128 * 1024
"""Rows up to which a row group is decoded whole, a column after the other: a megabyte a column of numbers.

To go through all columns at once takes a dictionary and a page of each, often two megabytes a column.
"""

READ_ROWS = 10_000
"""Rows that are handed on at a time."""

HELD_READS = 5
"""How many times as many are held decoded of a local file: to decode a column again costs 1% of an export."""


@contextlib.contextmanager
def opened(location: Location) -> Iterator[Any]:
    """The file's footer and rows (a ``pyarrow.parquet.ParquetFile``).

    Raises:
        StorageError: it is no Parquet file, or a column name occurs twice.
    """
    import pyarrow.parquet as parquet  # noqa: PLC0415  (loads where files are touched, never with a DAG)

    with location.open() as stream:
        with damage_named(location):
            file = parquet.ParquetFile(stream, pre_buffer=False, buffer_size=COLUMN_BUFFER)
            names = file.schema_arrow.names
        if twice := sorted(name for name, times in Counter(names).items() if times > 1):
            raise StorageError(f"{location.uri}: duplicate columns {', '.join(map(repr, twice))}")
        yield file


def batches(location: Location, columns: Sequence[str], groups: Sequence[int]) -> Iterator[pa.RecordBatch]:
    """The rows of some row groups, columns in the order asked for."""
    with opened(location) as file:
        for group in groups:
            yield from group_batches(location, file, group, list(columns))


def group_batches(
    location: Location, file: Any, group: int, columns: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """The rows of one row group of a file that is :func:`opened`."""
    pieces = _pieces(file, group, list(columns), again=location.is_local)
    while True:
        with damage_named(location):
            batch = next(pieces, None)
        if batch is None:
            return
        yield batch


def _pieces(file: Any, group: int, columns: list[str], *, again: bool) -> Iterator[pa.RecordBatch]:
    """The rows in pieces; ``again``: whether the same bytes may be read more than once."""
    import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)

    rows = file.metadata.row_group(group).num_rows
    if columns and rows <= SMALL_GROUP_ROWS:
        known = file.schema_arrow
        schema = pa.schema([known.field(name) for name in columns])
        starts = range(0, rows, READ_ROWS)
        held = HELD_READS if again else len(starts)
        for first in range(0, len(starts), max(1, held)):
            decoded = _decoded(file, group, columns, starts[first : first + held])
            while decoded:
                yield pa.RecordBatch.from_arrays(decoded.pop(), schema=schema)
        return
    for batch in file.iter_batches(
        batch_size=READ_ROWS, row_groups=[group], columns=columns, use_threads=False
    ):
        yield batch.select(columns)


def _decoded(file: Any, group: int, columns: Sequence[str], starts: Sequence[int]) -> list[list[pa.Array]]:
    """Pieces of a row group that begin at some rows, the last of them first; each can be let go of alone.

    They are copies: a slice would hold its whole column. And they are not in the memory that Arrow decodes
    in, which it keeps for the next time, unless told otherwise, for as long as anything in it is in use.
    """
    import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)

    pieces: list[list[pa.Array]] = [[] for _ in starts]
    for name in columns:
        column = file.read_row_group(group, columns=[name], use_threads=False).column(0)
        for start, piece in zip(reversed(starts), pieces, strict=True):
            rows = column.slice(start, READ_ROWS)
            piece.append(pa.concat_arrays(rows.chunks, memory_pool=pa.system_memory_pool()))
    pa.default_memory_pool().release_unused()
    return pieces


def groups_that_may_match(location: Location, where: RowFilter) -> set[int]:
    """The row groups whose statistics do not rule out that a row meets a condition.

    Statistics that cannot be compared with its values rule out none: that is for the rows to show.
    """
    import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)
    import pyarrow.dataset as dataset  # noqa: PLC0415

    with damage_named(location):
        fragment = dataset.ParquetFileFormat().make_fragment(location.path, filesystem=location.filesystem)
        groups = fragment.row_groups
        with contextlib.suppress(pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
            groups = fragment.subset(filter=where.expression).row_groups
        return {group.id for group in groups}


@contextlib.contextmanager
def damage_named(location: Location) -> Iterator[None]:
    """Name the file that cannot be read, and quote nothing of it."""
    import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)

    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        words = "not UTF-8" if isinstance(error, UnicodeDecodeError) else type(error).__name__
        if isinstance(error, pa.ArrowException):
            words = str(error).partition(":")[0].partition(".")[0].strip() or words
        raise StorageError(f"{location.uri}: not a Parquet file, or damaged ({words})") from None
