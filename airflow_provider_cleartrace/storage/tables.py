"""Result files as record batches: Parquet and CSV as the storage reads them, and JSON Lines."""

from __future__ import annotations

import functools
import io
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from airflow_provider_cleartrace.storage.errors import StorageError
from airflow_provider_cleartrace.storage.listing import listed
from airflow_provider_cleartrace.storage.locations import Location, locate
from airflow_provider_cleartrace.storage.manifests import SUCCESS, Manifest, manifest_place
from airflow_provider_cleartrace.storage.s3 import S3ClientFactory
from airflow_provider_cleartrace.storage.sources import Source, find_source, split_range

if TYPE_CHECKING:
    import pyarrow as pa

JSON_LINES = ".jsonl"

BATCH_LINES = 2_000
"""JSON lines held at a time."""


@dataclass(frozen=True)
class Table:
    """A file, or a folder of parts, that is read in batches and never held as a whole."""

    uri: str
    s3: S3ClientFactory

    @functools.cached_property
    def _lines(self) -> tuple[Location, ...]:
        """The JSON Lines files; none where the storage reads the input itself."""
        root = locate(self.uri, self.s3)
        if root.suffix == JSON_LINES and not root.named_as_folder:
            return (root,)
        if not root.is_folder():
            return ()
        return tuple(root.child(name) for name in listed(root, JSON_LINES))

    @functools.cached_property
    def _source(self) -> Source:
        return find_source(self.uri, self.s3)

    @functools.cached_property
    def columns(self) -> list[str]:
        """The names of the columns, in the file's order."""
        if self._lines:
            return next((list(row) for row in json_lines(self._lines[0])), [])
        return list(self._source.files[0].columns)

    @functools.cached_property
    def made_by(self) -> Mapping[str, Any]:
        """What its manifest says of the task that wrote it; nothing where it has none."""
        root = locate(split_range(self.uri)[0], self.s3)
        place = root.child(SUCCESS) if root.is_folder() else manifest_place(root)
        manifest = Manifest.read(place)
        return {} if manifest is None else manifest.made_by

    @functools.cached_property
    def id_columns(self) -> list[str]:
        """The columns that name a row, as its manifest says; else the first, as rows are written."""
        told = self.made_by.get("id_columns") or []
        return list(told) if told and set(told) <= set(self.columns) else self.columns[:1]

    @property
    def fingerprint(self) -> str:
        """The identity of the content."""
        if not self._lines:
            return self._source.fingerprint
        return ",".join(location.fingerprint() for location in self._lines)

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """The rows in order; values of a CSV are texts.

        Raises:
            StorageError: a damaged file, or a column that is not there.
        """
        import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)

        if missing := [name for name in columns if name not in self.columns]:
            raise StorageError(f"{self.uri}: no column {', '.join(map(repr, missing))}")
        if not self._lines:
            for block in self._source.read(list(columns)):
                yield block.batch
            return
        rows = itertools.chain.from_iterable(map(json_lines, self._lines))
        while chunk := list(itertools.islice(rows, BATCH_LINES)):
            try:
                arrays = [pa.array([row.get(name) for row in chunk]) for name in columns]
            except pa.ArrowException:
                raise StorageError(f"{self.uri}: a column has values of different types") from None
            yield pa.RecordBatch.from_arrays(arrays, names=list(columns))


def json_lines(location: Location) -> Iterator[dict[str, Any]]:
    """The objects of a JSON Lines file.

    Raises:
        StorageError: a line is no JSON object; its number is named.
    """
    with location.open() as stream, location.errors_named():
        lines: Any = io.BufferedReader(cast(io.RawIOBase, stream))  # pyarrow's own cannot be iterated
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if not isinstance(row, dict):
                raise StorageError(f"{location.uri}: line {number} is no JSON object")
            yield row


def numbers(batch: pa.RecordBatch, columns: Sequence[str], uri: str) -> Any:
    """Columns as an (n, k) array of doubles; what is missing or infinite is NaN.

    Raises:
        StorageError: a column holds something else.
    """
    import numpy as np  # noqa: PLC0415  (loads where rows are touched, never with a DAG)
    import pyarrow as pa  # noqa: PLC0415

    values = np.empty((batch.num_rows, len(columns)))
    for index, name in enumerate(columns):
        try:
            column = batch.column(name).cast(pa.float64())
        except pa.ArrowException:
            raise StorageError(f"{uri}: column {name!r} is not all numbers") from None
        values[:, index] = column.to_numpy(zero_copy_only=False)
    values[~np.isfinite(values)] = np.nan
    return values


def identities(batch: pa.RecordBatch, columns: Sequence[str]) -> list[str]:
    """What identifies each row, as one text."""
    parts = [batch.column(name).to_pylist() for name in columns]
    return [" / ".join(map(str, values)) for values in zip(*parts, strict=True)]
