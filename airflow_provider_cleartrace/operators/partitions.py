"""An input cut into ranges of rows, for one mapped task each."""

from __future__ import annotations

from airflow_provider_cleartrace.hooks.aws import s3_client_factory
from airflow_provider_cleartrace.storage.sources import find_source


def partitions(data: str, *, rows: int, aws_conn_id: str | None = None) -> list[str]:
    """Cut an input into ranges, to be given to ``.expand(data=...)``.

    Rows keep their numbers: those of all partitions together are those of the whole input. Parquet files are
    not read for it beyond their footers; CSV files are, here to count them, and by each task up to its range.

    Args:
        data: Path or URI of a file or folder.
        rows: Most rows of a partition.
        aws_conn_id: The connection for ``s3://``; None uses boto3's own credential chain.

    Returns:
        ``data#rows=START-STOP`` for each partition, none of them empty.

    Raises:
        StorageError: there is nothing to read, or a file is damaged.
        ValueError: ``rows`` is not positive.
    """
    if rows < 1:
        raise ValueError(f"rows must be at least 1, not {rows}")
    total = find_source(data, s3_client_factory(aws_conn_id)).count()
    return [f"{data}#rows={start}-{min(start + rows, total)}" for start in range(0, total, rows)]
