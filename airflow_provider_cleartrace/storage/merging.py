"""Parts of a table become one file, in their order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow_provider_cleartrace.storage import csv_files, parquet_files
from airflow_provider_cleartrace.storage.locations import BLOCK, Location
from airflow_provider_cleartrace.storage.manifests import FileEntry
from airflow_provider_cleartrace.storage.writing import CountedBytes, TableWriter, csv_header_size


def merge(folder: Location, parts: Sequence[FileEntry], name: str, file_format: str) -> FileEntry:
    """Write the rows of all parts into one file of their folder; a single part only gets its name.

    Args:
        folder: Where the parts lie.
        parts: One at least, of the same columns.
        name: Of the file that is made.
        file_format: ``parquet``, ``jsonl`` or ``csv``.
    """
    whole, places = folder.child(name), [folder.child(part.name) for part in parts]
    if len(parts) == 1:
        places[0].move(whole)
        return FileEntry(name, parts[0].rows, parts[0].bytes, parts[0].sha256)
    with whole.create() as stream, whole.errors_named():
        sink = CountedBytes(stream)
        if file_format == "parquet":
            _merge_parquet(sink, places)
        else:
            header = csv_header_size(csv_files.header(places[0])) if file_format == "csv" else 0
            for index, place in enumerate(places):
                append_file(sink, place, skip=header if index else 0)
    return FileEntry(name, sum(part.rows for part in parts), sink.size, sink.sha256)


def append_file(sink: Any, part: Location, *, skip: int = 0) -> None:
    """Copy the bytes of a file behind others, without its first ``skip`` bytes."""
    with part.open() as stream, part.errors_named():
        stream.seek(skip)
        while block := stream.read(BLOCK):
            sink.write(block)


def _merge_parquet(sink: CountedBytes, parts: Sequence[Location]) -> None:
    writer: TableWriter | None = None
    for part in parts:
        with parquet_files.opened(part) as file:
            writer = writer or TableWriter(sink, file.schema_arrow, "parquet")
            for group in range(file.num_row_groups):
                for batch in parquet_files.group_batches(part, file, group, file.schema_arrow.names):
                    writer.write(batch)
    if writer is not None:
        writer.close()
