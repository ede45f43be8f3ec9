"""A whole file as one DataFrame, for the calls that send a table in one piece."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from airflow_provider_cleartrace.storage import csv_files
from airflow_provider_cleartrace.storage.errors import StorageError
from airflow_provider_cleartrace.storage.filters import RowFilter
from airflow_provider_cleartrace.storage.locations import Location
from airflow_provider_cleartrace.storage.sources import single_file

if TYPE_CHECKING:
    import pandas as pd


def read_frame(
    location: Location,
    *,
    columns: Sequence[str] | None = None,
    texts: Sequence[str] = (),
    where: RowFilter | None = None,
) -> pd.DataFrame:
    """Read a whole file as a pandas DataFrame. The types of a CSV's columns follow from all of its rows.

    Args:
        location: A ``.csv``, ``.csv.gz``, ``.parquet`` or ``.pq`` file.
        columns: Columns to read, in this order; all when None.
        texts: Columns of a CSV that are texts, whatever their values look like.
        where: Which rows are wanted; it may look at columns that are not read otherwise.

    Raises:
        StorageError: no such file, an extension that is not read, an empty or damaged file, one without
            rows that are wanted, a ragged row (named by its number), or a missing column.
    """
    import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)

    source = single_file(location)
    (file,) = source.files
    names = list(columns or file.columns)
    looked_at = list(dict.fromkeys([*names, *(where.columns if where else ())]))
    source.check(dict.fromkeys(looked_at, "any"))
    if file.is_csv:
        compared = where.text_columns if where else ()
        table = csv_files.whole_table(location, looked_at, [*texts, *compared])
    else:
        batches = [block.batch for block in source.read(looked_at)]
        table = pa.Table.from_batches(batches) if batches else None
    if table is None or not table.num_rows:
        raise StorageError(f"{location.uri}: the file has no rows")
    if where is not None:
        table = pa.Table.from_batches([where.apply(rows, location.uri) for rows in table.to_batches()])
        if not table.num_rows:
            raise StorageError(f"{location.uri}: no row is wanted by the filter")
    frame: pd.DataFrame = table.select(names).to_pandas()
    return frame
