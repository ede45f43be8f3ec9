"""A file of predictions or explanations: what its columns are, and which of them name a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_cleartrace.reports.errors import ReportError
from airflow_provider_cleartrace.storage.layouts import Layout, layout_of
from airflow_provider_cleartrace.storage.s3 import S3ClientFactory
from airflow_provider_cleartrace.storage.tables import Table, identities

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Result:
    """What a Predict or Explain task wrote; ``ids`` are the columns that name a row."""

    table: Table
    layout: Layout
    ids: tuple[str, ...]

    @classmethod
    def of(cls, uri: str, s3: S3ClientFactory, id_columns: Sequence[str]) -> Result:
        """Look at the columns of a file.

        Args:
            uri: The file or folder.
            s3: For objects.
            id_columns: The columns that name a row; by default those that its manifest tells.

        Raises:
            ReportError: an id column is not there, or nothing identifies a row.
            StorageError: it has no predictions.
        """
        table = Table(uri, s3)
        layout = layout_of(table)
        ids = id_columns_of(table, id_columns)
        if set(ids) & set(layout.predictions):
            raise ReportError(f"{uri}: no column identifies a row; name one in id_columns")
        return cls(table, layout, ids)

    def identities(self, rows: pa.RecordBatch) -> list[str]:
        """What names each row of a batch, as one text."""
        return identities(rows, self.ids)


def id_columns_of(table: Table, named: Sequence[str]) -> tuple[str, ...]:
    """The columns that name a row: those that somebody named, or those that the table's manifest tells.

    Raises:
        ReportError: a column is not there.
    """
    if missing := [name for name in named if name not in table.columns]:
        raise ReportError(f"{table.uri}: no id column {', '.join(map(repr, missing))}")
    return tuple(named or table.id_columns)
