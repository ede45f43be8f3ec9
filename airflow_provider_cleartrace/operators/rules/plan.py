"""What is read of the rows that are explained by calibrated rules."""

from __future__ import annotations

from collections.abc import Sequence

from airflow_provider_cleartrace.api.models import SchemaResult
from airflow_provider_cleartrace.operators.arguments import named_columns
from airflow_provider_cleartrace.operators.columns import feature_kinds
from airflow_provider_cleartrace.operators.rows.reader import ROW, RowPlan
from airflow_provider_cleartrace.operators.rules.writer import check_identity
from airflow_provider_cleartrace.storage.kinds import Kind
from airflow_provider_cleartrace.storage.sources import Source

EXPLAINED_PART_ROWS = 1_000
"""Rows of a part of calibrated explanations: a crash costs some ten seconds with a server nearby."""


def plan_explained_rows(
    source: Source, schema: SchemaResult, id_columns: Sequence[str] | None, batch_rows: int
) -> RowPlan:
    """Plan what a task reads for calibrated explanations; a part ends with a batch.

    Raises:
        StorageError: a column is not there, or has not the type that is needed.
        ValidationError: an id column has the name of an output column.
    """
    ids = named_columns("id_columns", id_columns)
    check_identity(ids or [ROW])
    kinds: dict[str, Kind] = {name: kind or "any" for name, kind in feature_kinds(schema).items()}
    kinds |= {name: "any" for name in ids if name not in kinds}
    source.check(kinds)
    return RowPlan(
        ids=ids,
        carried=(),
        features=list(schema.feature_names),
        kinds=kinds,
        where=None,
        batch_rows=batch_rows,
        part_rows=max(1, EXPLAINED_PART_ROWS // batch_rows) * batch_rows,
        on_bad_rows=None,
    )
