"""Which rows of an input are wanted: conditions as data, never as code."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_cleartrace.storage.errors import StorageError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.compute as pc

OPERATORS = ("==", "!=", "<", "<=", ">", ">=", "in", "not in")

SHAPE = (
    "a filter is a list of conditions [column, operator, value] that must all hold,"
    f" with the operators {', '.join(OPERATORS)}; a list of such lists: one of them must hold"
)


@dataclass(frozen=True)
class RowFilter:
    """A disjunction of conjunctions, as in ``[["prediction", "<", 0.5]]``; a missing value meets none."""

    alternatives: tuple[tuple[tuple[str, str, Any], ...], ...]

    @classmethod
    def parse(cls, conditions: Any) -> RowFilter:
        """Read the JSON form.

        Raises:
            StorageError: it has another shape.
        """
        if _is_condition(conditions):
            conditions = [conditions]
        if not isinstance(conditions, Sequence) or isinstance(conditions, str) or not conditions:
            raise StorageError(f"filter: {SHAPE}")
        groups = [conditions] if all(map(_is_condition, conditions)) else conditions
        for group in groups:
            is_list = isinstance(group, Sequence) and not isinstance(group, str)
            if not is_list or not group or not all(map(_is_condition, group)):
                raise StorageError(f"filter: {SHAPE}")
        return cls(tuple(tuple((c[0], c[1], c[2]) for c in group) for group in groups))

    @property
    def columns(self) -> list[str]:
        """The columns it looks at."""
        return list(dict.fromkeys(column for group in self.alternatives for column, _, _ in group))

    def values(self, column: str) -> list[Any]:
        """Everything that a column is compared with."""
        found: list[Any] = []
        for group in self.alternatives:
            for name, comparison, value in group:
                if name == column:
                    found += value if comparison in {"in", "not in"} else [value]
        return found

    @property
    def text_columns(self) -> list[str]:
        """The columns that it compares with texts."""
        return [name for name in self.columns if any(isinstance(value, str) for value in self.values(name))]

    @functools.cached_property
    def expression(self) -> pc.Expression:
        """The condition as pyarrow evaluates it, on rows and on a row group's statistics."""
        groups = [functools.reduce(operator.and_, map(_expression, group)) for group in self.alternatives]
        return functools.reduce(operator.or_, groups)

    def apply(self, rows: pa.RecordBatch, what: str) -> pa.RecordBatch:
        """The rows that meet it.

        Raises:
            StorageError: a column has a type that cannot be compared so.
        """
        import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)

        try:
            kept = pa.Table.from_batches([rows]).filter(self.expression)
        except pa.ArrowException:
            types = ", ".join(f"{name!r} is {rows.schema.field(name).type}" for name in self.columns)
            raise StorageError(f"{what}: the filter compares with values of another type: {types}") from None
        batches = kept.combine_chunks().to_batches()
        return batches[0] if batches else rows.slice(0, 0)


def _expression(condition: tuple[str, str, Any]) -> pc.Expression:
    """One condition; ``!=`` and ``not in`` alone would hold for null or NaN."""
    import pyarrow.compute as pc  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)
    import pyarrow.parquet as parquet  # noqa: PLC0415

    known = ~pc.field(condition[0]).is_null(nan_is_null=True)
    return parquet.filters_to_expression([condition]) & known


def _is_condition(value: Any) -> bool:
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and len(value) == 3
        and isinstance(value[0], str)
        and isinstance(value[1], str)
        and value[1] in OPERATORS
        and isinstance(value[2], list | tuple) == (value[1] in {"in", "not in"})
    )
