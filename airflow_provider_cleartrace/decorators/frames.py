"""DataFrames as files to upload."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from airflow_provider_cleartrace.api.errors import ValidationError


def write_frame(frame: Any, path: Path) -> None:
    """Write a pandas DataFrame as Parquet; equal frames become equal bytes.

    The index is left out, as it is when the client is given a DataFrame.

    Raises:
        ValidationError: no rows, or a column that has no one type.
    """
    import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)
    from pyarrow import parquet  # noqa: PLC0415  (as above)

    if not len(frame):
        raise ValidationError("the DataFrame has no rows")
    names = [str(name) for name in frame.columns]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValidationError(f"the DataFrame has more than one column {', '.join(map(repr, twice))}")
    columns = []
    for position, name in enumerate(names):
        try:
            columns.append(pa.Array.from_pandas(frame.iloc[:, position]))
        except (pa.ArrowException, OverflowError, TypeError, ValueError):
            raise ValidationError(
                f"column {name!r} of the DataFrame holds values of no one type that Parquet has"
            ) from None  # pyarrow's message quotes a value
    # Built from names alone: pandas' notes on its own versions would change the bytes with them.
    parquet.write_table(pa.table(columns, names=names), path)
