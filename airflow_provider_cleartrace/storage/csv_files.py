"""CSV (RFC 4180, UTF-8, plain or gzip) as record batches of texts, block by block."""

from __future__ import annotations

import contextlib
import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any

from airflow_provider_cleartrace.storage.errors import StorageError
from airflow_provider_cleartrace.storage.locations import Location

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK_BYTES = 8 * 1024 * 1024
"""Bytes parsed at a time. A row must fit: 5,000 columns of 20 characters are a tenth of a megabyte."""

_HEADER_ALONE = "Empty CSV file or block"
"""Arrow's words for a header without a line break behind it."""

MAX_TABLE_BYTES = 2**31 - 2
"""The largest CSV read in one piece, by Arrow's bound on a block."""


def header(location: Location) -> list[str]:
    """The names in the first line.

    Raises:
        StorageError: there is none, or a name twice.
    """
    with _text(location) as stream, damage_named(location):
        names = next(csv.reader(_lines(stream)), [])
    if not names:
        raise StorageError(f"{location.uri}: the file has no header")
    if twice := sorted(name for name, times in Counter(names).items() if times > 1):
        raise StorageError(f"{location.uri}: duplicate columns {', '.join(map(repr, twice))}")
    return names


def _lines(stream: IO[bytes]) -> Iterator[str]:
    """Line by line, so that nothing behind the header is decoded."""
    encoding = "utf-8-sig"
    while line := stream.readline(BLOCK_BYTES):
        yield line.decode(encoding)
        encoding = "utf-8"


def batches(location: Location, columns: Sequence[str], *, position: list[int]) -> Iterator[pa.RecordBatch]:
    """The rows, every column as text; an empty cell, ``NA``, ``NaN`` or ``null`` is a missing value.

    Args:
        location: The file.
        columns: Columns to read, in this order.
        position: Its one entry is set to the bytes of the file that were read.

    Raises:
        StorageError: not a CSV, a ragged row (named by its number, the header being row 1), not UTF-8.
    """
    import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)
    import pyarrow.csv as arrow_csv  # noqa: PLC0415

    ragged: list[Any] = []
    with location.open() as raw, damage_named(location, ragged):
        try:
            reader = arrow_csv.open_csv(
                _plain(location, raw), **_options(columns, columns, BLOCK_BYTES, ragged)
            )
        except pa.ArrowInvalid as error:
            if _HEADER_ALONE in str(error):
                return
            raise
        while True:
            try:
                batch = reader.read_next_batch()
            except StopIteration:
                return
            position[0] = raw.tell()
            yield batch


def whole_table(location: Location, columns: Sequence[str], texts: Sequence[str]) -> pa.Table:
    """All rows at once, so that a column's type follows from every one of them.

    Args:
        location: The file.
        columns: Columns to read, in this order.
        texts: Columns that are texts, whatever their values look like.

    Raises:
        StorageError: as :func:`batches`; also a file of more than 2 GiB.
    """
    import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)
    import pyarrow.csv as arrow_csv  # noqa: PLC0415

    ragged: list[Any] = []
    with location.open() as raw, damage_named(location, ragged):
        content = _plain(location, raw).read()
        if len(content) > MAX_TABLE_BYTES:
            raise StorageError(
                f"{location.uri}: a CSV of more than {MAX_TABLE_BYTES} bytes: split it, or use Parquet"
            )
        table = arrow_csv.read_csv(
            pa.BufferReader(content), **_options(columns, texts, max(len(content), 1), ragged)
        )
    # Arrow reads a text that is not UTF-8 as bytes.
    if undecoded := [field.name for field in table.schema if pa.types.is_binary(field.type)]:
        raise StorageError(f"{location.uri}: the column {undecoded[0]!r} is not UTF-8")
    return table


def _options(
    columns: Sequence[str], texts: Sequence[str], block_bytes: int, ragged: list[Any]
) -> dict[str, Any]:
    import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)
    import pyarrow.csv as arrow_csv  # noqa: PLC0415

    def refuse(row: Any) -> str:
        ragged.append(row)
        return "error"

    return {
        # One thread counts rows.
        "read_options": arrow_csv.ReadOptions(use_threads=False, block_size=block_bytes),
        "parse_options": arrow_csv.ParseOptions(newlines_in_values=True, invalid_row_handler=refuse),
        "convert_options": arrow_csv.ConvertOptions(
            strings_can_be_null=True,
            include_columns=list(columns),
            column_types=dict.fromkeys(texts, pa.string()),
        ),
    }


def _plain(location: Location, raw: Any) -> Any:
    import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)

    return pa.CompressedInputStream(raw, "gzip") if _is_gzip(location) else raw


@contextlib.contextmanager
def damage_named(location: Location, ragged: Sequence[Any] = ()) -> Iterator[None]:
    """Name the file and the row of what a parser refuses, and quote neither."""
    import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)

    try:
        yield
    except UnicodeDecodeError:
        raise StorageError(f"{location.uri}: not a CSV table (not UTF-8)") from None
    except (pa.ArrowException, OSError, EOFError, csv.Error) as error:
        if ragged:
            row = ragged[0]
            raise StorageError(
                f"{location.uri}: row {row.number} has {row.actual_columns} values,"
                f" the header has {row.expected_columns}"
            ) from None
        text = str(error)
        if "invalid UTF8" in text:
            raise StorageError(f"{location.uri}: {_column_of(location, text)} is not UTF-8") from None
        if "straddling" in text:
            raise StorageError(f"{location.uri}: a row has more than {BLOCK_BYTES} bytes") from None
        words = text.partition(":")[0].partition(".")[0].strip() or type(error).__name__
        raise StorageError(f"{location.uri}: not a CSV table ({words})") from None


def _column_of(location: Location, text: str) -> str:
    index = text.partition("#")[2].partition(":")[0]
    names = header(location)
    known = index.isdecimal() and int(index) < len(names)
    return f"the column {names[int(index)]!r}" if known else "a column"


@contextlib.contextmanager
def _text(location: Location) -> Iterator[IO[bytes]]:
    import gzip  # noqa: PLC0415  (only compressed files need it)

    with location.open() as raw:
        if _is_gzip(location):
            with gzip.open(raw) as stream:
                yield stream  # type: ignore[misc]  # it is one, by duck typing
        else:
            yield io.BufferedReader(raw)  # type: ignore[type-var]  # Arrow's file reads into a buffer as well


def _is_gzip(location: Location) -> bool:
    return location.suffix == ".gz"
