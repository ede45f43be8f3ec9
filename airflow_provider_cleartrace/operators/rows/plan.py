"""What is read of the rows for a model, and how they are cut: decided before the first of them is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_cleartrace.api.errors import ValidationError
from airflow_provider_cleartrace.api.models import SchemaResult
from airflow_provider_cleartrace.operators.arguments import named_columns
from airflow_provider_cleartrace.operators.columns import feature_kinds, filter_kinds, guessed_kinds
from airflow_provider_cleartrace.operators.rows.reader import OnBadRows, RowPlan, identity_of, no_rows
from airflow_provider_cleartrace.storage.filters import RowFilter
from airflow_provider_cleartrace.storage.kinds import Kind
from airflow_provider_cleartrace.storage.sources import Source

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_CELLS = 25_000
"""Values in one request by default (1,250 rows of 20 columns): half a megabyte of JSON, a whole one back."""

BATCH_ROWS = 10_000
"""Most rows of one request by default, however narrow they are."""

LEAST_BATCH_ROWS = 50
"""Fewest rows of one request by default, however wide: a column costs as much for one row as for 50."""

PART_CELLS = 20_000_000
PART_ROWS = 100_000
"""A part is what a crash may cost: some tens of megabytes of Parquet, a minute or so of work."""

ALL = "*"
"""In ``columns``: every column of the data."""


def plan_rows(
    source: Source,
    schema: SchemaResult,
    *,
    id_columns: Sequence[str] | None,
    columns: Sequence[str] | None,
    where: RowFilter | None,
    batch_rows: int | None,
    part_rows: int | None,
    on_bad_rows: OnBadRows,
) -> RowPlan:
    """Plan what a task reads; its arguments are those of :class:`~.RowsOperator`.

    Raises:
        StorageError: a column is not there, or has not the type that is needed.
    """
    ids = named_columns("id_columns", id_columns)
    carried = named_columns("columns", columns)
    if ALL in carried:
        carried = source.files[0].columns
    carried = [name for name in carried if name not in ids]
    features = list(schema.feature_names)
    known = feature_kinds(schema)
    unknown = [name for name in features if known[name] is None]
    source.check({name: known.get(name) or "any" for name in [*ids, *carried, *features]})
    kinds: dict[str, Kind] = {name: "any" for name in [*ids, *carried]}
    if where is not None:
        kinds |= filter_kinds({name: where.values(name) for name in where.columns})
    kinds |= {name: kind for name, kind in known.items() if kind is not None}
    kinds |= guessed_kinds(source, unknown) if unknown else {}
    source.check(kinds)
    width = max(1, len(features))
    return RowPlan(
        ids=ids,
        carried=carried,
        features=features,
        kinds=kinds,
        where=where,
        batch_rows=batch_rows or min(BATCH_ROWS, max(LEAST_BATCH_ROWS, BATCH_CELLS // width)),
        part_rows=part_rows or min(PART_ROWS, max(1_000, PART_CELLS // width)),
        on_bad_rows=on_bad_rows,
    )


def no_identity(plan: RowPlan, answered: Sequence[str]) -> pa.RecordBatch:
    """What identifies no rows.

    Args:
        plan: What is read.
        answered: The columns of the model's answers.

    Raises:
        ValidationError: a column that is carried along has the name of another column of the output.
    """
    identity: Any = identity_of(plan, no_rows(plan))
    names = identity.schema.names
    if clash := [name for name in names if name in answered] or sorted(
        {name for name in names if names.count(name) > 1}
    ):
        raise ValidationError(f"the column {clash[0]!r} of the data has the name of an output column")
    return identity
