"""Tables from files: CSV (RFC 4180) and Parquet as Arrow record batches."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from airflow_provider_cleartrace.storage.errors import StorageError
from airflow_provider_cleartrace.storage.locations import Location

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

MAX_CSV_BYTES = 2**31 - 2
"""The largest CSV: Arrow reads it as one block, so that types are inferred from every row."""

BATCH_ROWS = 10_000
"""Rows handed on at a time by default: a few megabytes of JSON for a table of some dozen columns."""


def read_batches(
    location: Location,
    *,
    columns: Sequence[str] | None = None,
    texts: Sequence[str] = (),
    batch_rows: int = BATCH_ROWS,
) -> Iterator[pa.RecordBatch]:
    """Read a ``.csv`` or Parquet file.

    Args:
        location: The file.
        columns: Columns to read, in this order; all when None.
        texts: Columns of a CSV that are texts, whatever their values look like.
        batch_rows: Most rows of a batch.

    Raises:
        StorageError: no such file, an extension that is not read, an empty or damaged file, a ragged row
            (named by its line), or a missing column.
    """
    if location.size() == 0:
        raise StorageError(f"{location.uri}: the file is empty")
    if location.suffix == ".csv":
        batches = _csv_batches(location, texts, batch_rows)
    elif location.suffix in {".parquet", ".pq"}:
        batches = _parquet_batches(location, batch_rows)
    else:
        raise StorageError(
            f"{location.uri}: {location.suffix or 'no'} extension; .csv, .parquet or .pq is needed"
        )
    for batch in batches:
        yield batch if columns is None else _select(location, batch, columns)


def _select(location: Location, batch: pa.RecordBatch, columns: Sequence[str]) -> pa.RecordBatch:
    if missing := [name for name in columns if name not in batch.schema.names]:
        raise StorageError(
            f"{location.uri}: no column {', '.join(map(repr, missing))};"
            f" its columns: {', '.join(map(repr, batch.schema.names))}"
        )
    return batch.select(list(columns))


def _csv_batches(location: Location, texts: Sequence[str], batch_rows: int) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)
    import pyarrow.csv as csv  # noqa: PLC0415

    ragged: list[csv.InvalidRow] = []

    def refuse(row: csv.InvalidRow) -> str:
        ragged.append(row)
        return "error"

    if location.size() > MAX_CSV_BYTES:
        raise StorageError(
            f"{location.uri}: a CSV of more than {MAX_CSV_BYTES} bytes: split it, or use Parquet"
        )
    with location.open() as stream:
        try:
            table = csv.read_csv(
                stream,
                # One thread counts rows; one block infers types from all of them.
                read_options=csv.ReadOptions(use_threads=False, block_size=max(location.size(), 1)),
                parse_options=csv.ParseOptions(newlines_in_values=True, invalid_row_handler=refuse),
                convert_options=csv.ConvertOptions(
                    strings_can_be_null=True, column_types=dict.fromkeys(texts, pa.string())
                ),
            )
        except (pa.ArrowInvalid, UnicodeDecodeError) as error:
            if ragged:
                row = ragged[0]
                raise StorageError(
                    f"{location.uri}: row {row.number} has {row.actual_columns} values,"
                    f" the header has {row.expected_columns}"
                ) from None
            raise StorageError(f"{location.uri}: not a CSV table ({_first_words(error)})") from None
    _refuse_duplicates(location, table.schema.names)
    # Arrow reads a text that is not UTF-8 as bytes.
    if undecoded := [field.name for field in table.schema if pa.types.is_binary(field.type)]:
        raise StorageError(f"{location.uri}: the column {undecoded[0]!r} is not UTF-8")
    yield from table.to_batches(max_chunksize=batch_rows)


def _parquet_batches(location: Location, batch_rows: int) -> Iterator[pa.RecordBatch]:
    import pyarrow.parquet as parquet  # noqa: PLC0415  (loads where files are touched, never with a DAG)

    with location.open() as stream:
        with _damage_named(location):
            file = parquet.ParquetFile(stream)
        _refuse_duplicates(location, file.schema_arrow.names)
        batches = file.iter_batches(batch_size=batch_rows)
        while True:
            with _damage_named(location):
                batch = next(batches, None)
            if batch is None:
                return
            yield batch


@contextlib.contextmanager
def _damage_named(location: Location) -> Iterator[None]:
    import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)

    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise StorageError(
            f"{location.uri}: not a Parquet file, or damaged ({_first_words(error)})"
        ) from None


def _refuse_duplicates(location: Location, names: Sequence[str]) -> None:
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise StorageError(f"{location.uri}: duplicate columns {', '.join(map(repr, twice))}")


def _first_words(error: Exception) -> str:
    """Arrow's message up to the first colon or dot: after that it quotes the file's content."""
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8"
    return str(error).partition(":")[0].partition(".")[0].strip() or type(error).__name__


def read_frame(
    location: Location, *, columns: Sequence[str] | None = None, texts: Sequence[str] = ()
) -> pd.DataFrame:
    """Read a whole file as a pandas DataFrame; see :func:`read_batches`.

    Raises:
        StorageError: also when the file has a header and no rows.
    """
    import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)

    batches = list(read_batches(location, columns=columns, texts=texts))
    if not any(batch.num_rows for batch in batches):
        raise StorageError(f"{location.uri}: the file has no rows")
    frame: pd.DataFrame = pa.Table.from_batches(batches).to_pandas()
    return frame
