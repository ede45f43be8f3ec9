"""Record batches to Parquet, CSV or JSON Lines, as they come."""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any

from airflow_provider_cleartrace.storage.csv_cells import csv_batch, csv_schema
from airflow_provider_cleartrace.storage.errors import StorageError
from airflow_provider_cleartrace.storage.locations import Location
from airflow_provider_cleartrace.storage.publishing import published

if TYPE_CHECKING:
    import pyarrow as pa

FORMATS = ("parquet", "jsonl", "csv")

ROW_GROUP_BYTES = 4 * 1024 * 1024
"""Bytes of rows gathered for a row group: enough to compress well, few enough to hold."""

ROW_GROUP_ROWS = 1_000
"""Fewest rows of a row group: with fewer the footer, which is held until the end, outgrows wide rows."""


def format_of_output(location: Location) -> str:
    """The format that an output file's extension names.

    Raises:
        StorageError: it names none.
    """
    known = location.suffix.removeprefix(".")
    if known not in FORMATS:
        extensions = ", ".join(f".{name}" for name in FORMATS)
        raise StorageError(
            f"{location.uri}: {location.suffix or 'no'} extension; {extensions} can be written"
            " (a folder of parts ends in a slash)"
        )
    return known


class CountedBytes(io.RawIOBase):
    """A stream that knows the size and the SHA-256 of what was written through it."""

    def __init__(self, target: IO[bytes]) -> None:
        self._target = target
        self._digest = hashlib.sha256()
        self.size = 0

    def writable(self) -> bool:
        """It only writes."""
        return True

    def write(self, data: Any) -> int:
        """Hand bytes on."""
        view = memoryview(data).cast("B")
        self._target.write(view)
        self._digest.update(view)
        self.size += len(view)
        return len(view)

    def tell(self) -> int:
        """Bytes written."""
        return self.size

    @property
    def sha256(self) -> str:
        """Hex digest of everything so far."""
        return self._digest.hexdigest()


class TableWriter:
    """Takes the record batches of one file, which all have its schema; ``rows`` counts them."""

    def __init__(self, stream: IO[bytes] | CountedBytes, schema: pa.Schema, file_format: str) -> None:
        self.schema = schema
        self.rows = 0
        self._stream = stream
        self._format = file_format
        self._pending: list[pa.RecordBatch] = []
        self._pending_bytes = 0
        self._pending_rows = 0
        self._writer = self._open()

    def _open(self) -> Any:
        import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)
        import pyarrow.csv as csv  # noqa: PLC0415
        import pyarrow.parquet as parquet  # noqa: PLC0415

        sink = pa.PythonFile(self._stream, mode="w")
        if self._format == "parquet":
            # A dictionary of numbers that hardly ever repeat only costs.
            texts = [field.name for field in self.schema if pa.types.is_string(field.type)]
            return parquet.ParquetWriter(sink, self.schema, use_dictionary=texts)
        if self._format == "csv":
            return csv.CSVWriter(sink, csv_schema(self.schema))
        return None

    def write(self, batch: pa.RecordBatch) -> None:
        """Append rows.

        Raises:
            StorageError: their columns are not those of the file.
        """
        if not batch.schema.equals(self.schema):
            raise StorageError("rows of other columns than the rows before them")
        self.rows += batch.num_rows
        if self._format == "jsonl":
            self._stream.write(json_lines(batch))
        elif self._format == "csv":
            self._writer.write_batch(csv_batch(batch))
        else:
            self._pending.append(batch)
            self._pending_bytes += batch.nbytes
            self._pending_rows += batch.num_rows
            if self._pending_bytes >= ROW_GROUP_BYTES and self._pending_rows >= ROW_GROUP_ROWS:
                self._write_row_group()

    def _write_row_group(self) -> None:
        import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)

        if self._pending:
            table = pa.Table.from_batches(self._pending, self.schema)
            self._writer.write_table(table, row_group_size=max(1, table.num_rows))
            self._pending, self._pending_bytes, self._pending_rows = [], 0, 0
            pa.default_memory_pool().release_unused()  # some megabytes, kept for the next row group else

    def close(self) -> None:
        """Write what is left; the stream stays open."""
        if self._format == "parquet":
            self._write_row_group()
        if self._writer is not None:
            self._writer.close()

    def abandon(self) -> None:
        """Close after a failure, so that nothing writes to the stream any more."""
        self._pending = []
        with contextlib.suppress(Exception):  # the failure itself is the better error
            self.close()


@contextlib.contextmanager
def table_writer(location: Location, schema: pa.Schema) -> Iterator[TableWriter]:
    """Write one file that takes its place when the block ends well, and leaves no trace otherwise.

    Args:
        location: Where to; the extension is the format.
        schema: The columns, the same for every batch.
    """
    file_format = format_of_output(location)
    with published(location) as stream, location.errors_named():
        writer = TableWriter(stream, schema, file_format)
        try:
            yield writer
        except BaseException:
            writer.abandon()
            raise
        writer.close()


def csv_header_size(names: Sequence[str]) -> int:
    """Bytes of the header line that this module writes for a CSV with these columns."""
    import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)

    sink = io.BytesIO()
    TableWriter(sink, pa.schema([pa.field(name, pa.string()) for name in names]), "csv").close()
    return len(sink.getvalue())


def json_lines(batch: pa.RecordBatch) -> bytes:
    """One JSON object a row and line; a number that is not finite is null, as JSON has no name for it."""
    import pydantic_core  # noqa: PLC0415  (only this format needs it)

    return b"".join(pydantic_core.to_json(row, inf_nan_mode="null") + b"\n" for row in batch.to_pylist())
