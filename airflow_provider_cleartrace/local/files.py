"""Uploaded files and stored rows as engine tables: CSV, Parquet and, where allowed, pickled frames."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from airflow_provider_cleartrace.local.datasets import SizeLimits
from airflow_provider_cleartrace.local.engine.errors import InputError
from airflow_provider_cleartrace.local.engine.table import Table, json_values

if TYPE_CHECKING:
    import pyarrow as pa

_INDEX_COLUMN = "__index_level_"
"""How pandas calls an unnamed index that it writes into a Parquet file."""


def column_names(file: IO[bytes], file_format: str) -> list[str] | None:
    """Read the columns of a file without reading its rows; None for a pickle, which cannot be looked into.

    Raises:
        InputError: an empty file, one of another format, or columns that are unnamed or named twice.
    """
    if file_format == "csv":
        return _csv_header(file)
    if file_format == "parquet":
        return _parquet_header(file)
    return None


def read_file(path: Path, file_format: str, limits: SizeLimits) -> Table:
    """Read a whole file.

    Raises:
        InputError: the file is empty, damaged, ragged (the row is named), too large, or has a column of a
            type that no model learns from.
    """
    if file_format == "csv":
        with path.open("rb") as file:
            _csv_header(file)
        arrow = _read_csv(path)
    elif file_format == "parquet":
        with path.open("rb") as file:
            _parquet_header(file)
        arrow = _read_parquet(path)
    else:
        arrow = _read_pickle(path)
    limits.check(arrow.num_rows, arrow.num_columns)
    return table_from_arrow(arrow)


def save_table(table: Table, path: Path) -> None:
    """Write a table as Parquet; `load_table` reads it back the same."""
    import pyarrow as pa  # noqa: PLC0415  (loads where files are read, not with the server)
    import pyarrow.parquet as pq  # noqa: PLC0415

    pq.write_table(pa.table({name: json_values(table[name]) for name in table.names}), path)


def load_table(path: Path) -> Table:
    """Read what `save_table` wrote."""
    return table_from_arrow(_read_parquet(path))


def table_from_arrow(arrow: pa.Table) -> Table:
    """Turn Arrow columns into an engine table; dates and times become ISO texts, times in UTC.

    Raises:
        InputError: a column of another type, by name.
    """
    kept = [name for name in arrow.column_names if not name.startswith(_INDEX_COLUMN)]
    return Table.from_columns({name: _column(name, arrow.column(name)) for name in kept})


def _column(name: str, column: pa.ChunkedArray) -> Any:
    import pyarrow as pa  # noqa: PLC0415  (loads where files are read, not with the server)
    import pyarrow.compute as pc  # noqa: PLC0415

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_null(kind)
    ):
        return column.cast(pa.float64(), safe=False).to_numpy()
    if pa.types.is_boolean(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return column.to_pylist()
    if pa.types.is_date(kind):
        return pc.strftime(column, format="%Y-%m-%d").to_pylist()
    if pa.types.is_timestamp(kind):
        return pc.strftime(
            column.cast(pa.timestamp("us"), safe=False), format="%Y-%m-%dT%H:%M:%S"
        ).to_pylist()
    raise InputError(
        f"column {name!r} has the type {kind}; a model learns from numbers, booleans, texts and dates"
    )


def _check_names(names: Sequence[str]) -> list[str]:
    for position, name in enumerate(names):
        if not name.strip():
            raise InputError(
                f"column {position + 1} has no name (an index that was written along?); name or drop it"
            )
    duplicates = sorted({name for name in names if names.count(name) > 1})
    if duplicates:
        raise InputError(f"column names must be unique; given more than once: {duplicates}")
    return list(names)


def _csv_header(file: IO[bytes]) -> list[str]:
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    try:
        reader = csv.reader(text)
        header = next(reader, None)
        first = next(reader, None)
    except (UnicodeDecodeError, csv.Error):
        raise InputError("the file is no CSV in UTF-8") from None
    finally:
        text.detach()
    if header is None:
        raise InputError("the CSV file is empty")
    if first is None:
        raise InputError("the CSV file is empty: it holds a header and no rows")
    return _check_names(header)


def _parquet_header(file: IO[bytes]) -> list[str]:
    import pyarrow as pa  # noqa: PLC0415  (loads where files are read, not with the server)
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        parquet = pq.ParquetFile(file)
        rows, names = parquet.metadata.num_rows, parquet.schema_arrow.names
    except (pa.ArrowException, OSError, UnicodeDecodeError):
        raise InputError("the file is no readable Parquet") from None
    if rows == 0:
        raise InputError("the Parquet file is empty: it holds no rows")
    return _check_names([name for name in names if not name.startswith(_INDEX_COLUMN)])


def _read_csv(path: Path) -> pa.Table:
    import pyarrow as pa  # noqa: PLC0415  (loads where files are read, not with the server)
    from pyarrow import csv as arrow_csv  # noqa: PLC0415

    ragged: list[Any] = []

    def stop(row: Any) -> str:
        ragged.append(row)
        return "error"

    try:
        return arrow_csv.read_csv(
            path,
            # One block: types are then inferred from every row, not from the first megabyte. One thread:
            # Arrow counts rows, and so can name the ragged one, only then.
            read_options=arrow_csv.ReadOptions(block_size=path.stat().st_size + 1, use_threads=False),
            parse_options=arrow_csv.ParseOptions(newlines_in_values=True, invalid_row_handler=stop),
            convert_options=arrow_csv.ConvertOptions(
                strings_can_be_null=True, quoted_strings_can_be_null=True
            ),
        )
    except pa.ArrowException:
        if ragged:
            row = ragged[0]
            raise InputError(
                f"the CSV is ragged: row {row.number} (the header is row 1) has {row.actual_columns} values, "
                f"but there are {row.expected_columns} columns"
            ) from None
        raise InputError("the file is no CSV in UTF-8") from None


def _read_parquet(path: Path) -> pa.Table:
    import pyarrow as pa  # noqa: PLC0415  (loads where files are read, not with the server)
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        return pq.ParquetFile(path).read()
    except (pa.ArrowException, OSError, UnicodeDecodeError):
        raise InputError("the Parquet file is damaged") from None


def _read_pickle(path: Path) -> pa.Table:
    import pandas as pd  # noqa: PLC0415  (loads for pickled frames alone)
    import pyarrow as pa  # noqa: PLC0415

    try:
        frame = pd.read_pickle(path)  # noqa: S301  (only on a server started with --allow-pickle)
    except Exception as error:
        raise InputError(f"the pickle cannot be read ({type(error).__name__})") from None
    if not isinstance(frame, pd.DataFrame):
        raise InputError(f"the pickle holds a {type(frame).__name__}; a pandas DataFrame is needed")
    _check_names([str(name) for name in frame.columns])
    try:
        return pa.Table.from_pandas(frame, preserve_index=False)
    except pa.ArrowException:
        raise InputError("the pickled frame holds columns of mixed types") from None
