"""An input cut into ranges of rows for one mapped task each, and their outputs made one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from airflow_provider_cleartrace.hooks.aws import s3_client_factory
from airflow_provider_cleartrace.operators.arguments import named_columns
from airflow_provider_cleartrace.operators.manifest import manifest
from airflow_provider_cleartrace.operators.rows.reader import RowPlan, RowReader
from airflow_provider_cleartrace.storage.combining import PartitionOutput, combine
from airflow_provider_cleartrace.storage.errors import StorageError
from airflow_provider_cleartrace.storage.kinds import Kind
from airflow_provider_cleartrace.storage.locations import locate
from airflow_provider_cleartrace.storage.sources import Source, find_source, split_range


def partitions(
    data: str, *, rows: int, id_columns: Sequence[str] | None = None, aws_conn_id: str | None = None
) -> list[str]:
    """Cut an input into ranges, to be given to ``.expand(data=...)``.

    Rows keep their numbers: those of all partitions together are those of the whole input. Parquet files are
    not read for it beyond their footers; CSV files are, here to count them, and by each task up to its range.

    Args:
        data: Path or URI of a file or folder, or a range of its rows.
        rows: Most rows of a partition.
        id_columns: Columns that identify a row in the whole input: they are read here, since a task sees an
            identity that comes twice in its own range alone.
        aws_conn_id: The connection for ``s3://``; None uses boto3's own credential chain.

    Returns:
        ``data#rows=START-STOP`` for each partition, none of them empty.

    Raises:
        StorageError: there is nothing to read, or a file is damaged.
        BadRowError: a row has the identity of a row before.
        ValueError: ``rows`` is not positive.
    """
    if rows < 1:
        raise ValueError(f"rows must be at least 1, not {rows}")
    source = find_source(data, s3_client_factory(aws_conn_id))
    uri, total = split_range(data)[0], source.count()
    stop = total if source.stop is None else min(total, source.stop)
    if id_columns:
        _check_identities(source, named_columns("id_columns", id_columns), rows)
    return [f"{uri}#rows={start}-{min(start + rows, stop)}" for start in range(source.start, stop, rows)]


def _check_identities(source: Source, ids: Sequence[str], rows: int) -> None:
    """Read the identities alone, as a task does of parts that are finished."""
    kinds: dict[str, Kind] = dict.fromkeys(ids, "any")
    source.check(kinds)
    plan = RowPlan(
        ids=ids,
        carried=(),
        features=(),
        kinds=kinds,
        where=None,
        batch_rows=rows,
        part_rows=rows,
        on_bad_rows=None,
    )
    for _ in RowReader(source, plan, is_done=lambda _: True):
        pass


def publish_partitions(
    output_uri: str,
    *,
    cut: Sequence[str],
    made: Iterable[Mapping[str, Any]],
    aws_conn_id: str | None = None,
) -> dict[str, Any]:
    """Publish one ``_SUCCESS`` manifest for the outputs of all partitions, once all of them are there.

    From then on ``output_uri`` is one output: as ``data`` of another task it is read in the order of ``cut``.

    Args:
        output_uri: The folder below which each partition has a folder of its own.
        cut: The partitions that must be there: what was given to ``.expand(data=...)``.
        made: What the mapped tasks returned.
        aws_conn_id: The connection for ``s3://``; None uses boto3's own credential chain.

    Returns:
        A manifest with ``rows`` and the other counts summed up, ``partitions``, ``files`` and ``bytes``.

    Raises:
        StorageError: a partition has no output or two, or one that is not what its task made; then nothing
            is published.
    """
    client = s3_client_factory(aws_conn_id)
    by_data: dict[str, Mapping[str, Any]] = {}
    for told in filter(None, made):  # a task that was skipped returned nothing
        if by_data.setdefault(told["data"], told) is not told:
            raise StorageError(f"{output_uri}: two tasks had the partition {told['data']}")
    if not cut:
        raise StorageError(f"{output_uri}: there are no partitions")
    if missing := [data for data in cut if data not in by_data]:
        raise StorageError(
            f"{output_uri}: {len(missing)} of {len(cut)} partitions have no output, such as {missing[0]}"
        )
    if strange := [data for data in by_data if data not in set(cut)]:
        raise StorageError(f"{output_uri}: {strange[0]} is none of the {len(cut)} partitions")
    outputs = [
        PartitionOutput(data, locate(by_data[data]["output_uri"], client), by_data[data]["fingerprint"])
        for data in cut
    ]
    root = locate(output_uri, client)
    published = combine(root, outputs)
    counts = published.counts
    own = {"rows_in", "rows_out", "rows_filtered", "rows_rejected"}
    return manifest(
        model_id=published.made_by["model_id"],
        output_uri=root.uri,
        partitions=len(outputs),
        rows=counts["rows_in"],
        rows_filtered=counts.get("rows_filtered", 0),
        rows_rejected=counts["rows_rejected"],
        rows_written=sum(file.rows for file in published.files),
        files=len(published.files),
        bytes=sum(file.bytes for file in published.files),
        fingerprint=published.fingerprint,
        **{name: count for name, count in counts.items() if name not in own},
    )
