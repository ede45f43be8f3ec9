"""A whole file as one DataFrame, for the calls that send a table in one piece."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from airflow_provider_cleartrace.storage import csv_files
from airflow_provider_cleartrace.storage.errors import StorageError
from airflow_provider_cleartrace.storage.locations import Location
from airflow_provider_cleartrace.storage.sources import single_file

if TYPE_CHECKING:
    import pandas as pd


def read_frame(
    location: Location, *, columns: Sequence[str] | None = None, texts: Sequence[str] = ()
) -> pd.DataFrame:
    """Read a whole file as a pandas DataFrame. The types of a CSV's columns follow from all of its rows.

    Args:
        location: A ``.csv``, ``.csv.gz``, ``.parquet`` or ``.pq`` file.
        columns: Columns to read, in this order; all when None.
        texts: Columns of a CSV that are texts, whatever their values look like.

    Raises:
        StorageError: no such file, an extension that is not read, an empty or damaged file, one without
            rows, a ragged row (named by its number), or a missing column.
    """
    import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)

    source = single_file(location)
    (file,) = source.files
    names = list(columns or file.columns)
    source.check(dict.fromkeys(names, "any"))
    if file.is_csv:
        table = csv_files.whole_table(location, names, texts)
    else:
        batches = [block.batch for block in source.read(names)]
        table = pa.Table.from_batches(batches) if batches else None
    if table is None or not table.num_rows:
        raise StorageError(f"{location.uri}: the file has no rows")
    frame: pd.DataFrame = table.to_pandas()
    return frame
