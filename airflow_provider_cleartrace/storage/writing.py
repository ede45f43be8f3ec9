"""Tables to files: Parquet, CSV or JSON Lines by the extension, streamed batch by batch, published whole."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from airflow_provider_cleartrace.storage.errors import StorageError
from airflow_provider_cleartrace.storage.locations import Location
from airflow_provider_cleartrace.storage.publishing import published

if TYPE_CHECKING:
    import pyarrow as pa

EXTENSIONS = (".parquet", ".csv", ".jsonl")


@dataclass
class TableWriter:
    """Takes the record batches of one output; ``rows`` counts them."""

    location: Location
    schema: pa.Schema
    _write: Callable[[pa.RecordBatch], None]
    rows: int = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Append rows; their schema must be the declared one."""
        with self.location.errors_named():
            self._write(batch)
        self.rows += batch.num_rows


def check_output(location: Location) -> None:
    """Refuse an output that no writer knows, before anything is computed for it."""
    if location.suffix not in EXTENSIONS:
        raise StorageError(
            f"{location.uri}: {location.suffix or 'no'} extension; {', '.join(EXTENSIONS)} can be written"
        )


@contextlib.contextmanager
def table_writer(location: Location, schema: pa.Schema) -> Iterator[TableWriter]:
    """Write a table that takes its place when the block ends well, and leaves no trace otherwise.

    Args:
        location: Where to; the extension is the format.
        schema: The columns, the same for every batch.
    """
    check_output(location)
    with published(location) as stream, contextlib.ExitStack() as stack:
        yield TableWriter(location, schema, _batch_writer(location, stream, schema, stack))


def _batch_writer(
    location: Location, stream: IO[bytes], schema: pa.Schema, stack: contextlib.ExitStack
) -> Callable[[pa.RecordBatch], None]:
    import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)

    if location.suffix == ".parquet":
        import pyarrow.parquet as parquet  # noqa: PLC0415

        writer = stack.enter_context(parquet.ParquetWriter(pa.PythonFile(stream, mode="w"), schema))
        return lambda batch: writer.write_batch(batch)
    if location.suffix == ".csv":
        import pyarrow.csv as csv  # noqa: PLC0415

        csv_writer = stack.enter_context(csv.CSVWriter(pa.PythonFile(stream, mode="w"), schema))
        return lambda batch: csv_writer.write_batch(batch)
    return lambda batch: _write_json_lines(stream, batch)


def _write_json_lines(stream: IO[bytes], batch: pa.RecordBatch) -> None:
    import pydantic_core  # noqa: PLC0415  (only this format needs it)

    for row in batch.to_pylist():
        stream.write(pydantic_core.to_json(row) + b"\n")
