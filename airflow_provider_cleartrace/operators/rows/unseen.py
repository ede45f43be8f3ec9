"""Cells that a model has not met in training: categories it does not know, gaps where it had none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_cleartrace.api.models import SchemaResult

if TYPE_CHECKING:
    import pyarrow as pa

UNSEEN = "unseen_categories"
"""Entry of a manifest: cells with a category that the model does not know."""

MISSING = "unexpected_missing"
"""Entry of a manifest: cells without a value in columns that had one in every row of the training."""

NAMED = 20
"""Most columns that one warning names."""


@dataclass
class UnseenValues:
    """Counts such cells, column by column, and never keeps what they hold.

    They go to the model as they are, which has an answer to them; a sudden many of them is a fault upstream.

    Args:
        levels: The categories of the features that have them.
        complete: Features of which the schema says that no training row lacked a value.
    """

    levels: Mapping[str, Sequence[Any]]
    complete: Sequence[str]
    _unseen: Counter[str] = field(default_factory=Counter)
    _missing: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, schema: SchemaResult) -> UnseenValues:
        """What a model's schema tells; a server that tells neither has nothing counted."""
        columns = {name: schema.columns[name] for name in schema.feature_names if name in schema.columns}
        return cls(
            {name: column.categories for name, column in columns.items() if column.categories},
            [
                name
                for name, column in columns.items()
                if (column.model_extra or {}).get("missing_share") == 0
            ],
        )

    def count(self, rows: pa.RecordBatch) -> dict[str, int]:
        """Look at some rows; returns how many cells of either kind they have."""
        unseen = {name: _unseen(rows.column(name), levels) for name, levels in self.levels.items()}
        missing = {name: _missing(rows.column(name)) for name in self.complete}
        self._unseen.update(unseen)
        self._missing.update(missing)
        return {UNSEEN: sum(unseen.values()), MISSING: sum(missing.values())}

    def warn(self, log: Any) -> None:
        """Name the columns and their counts, the largest first."""
        for counts, what in (
            (self._unseen, "categories that the model does not know"),
            (self._missing, "missing values in columns that had none in training"),
        ):
            listed = [(name, count) for name, count in counts.most_common() if count]
            if listed:
                told = ", ".join(f"{name!r}: {count}" for name, count in listed[:NAMED])
                more = f" and {len(listed) - NAMED} more columns" if len(listed) > NAMED else ""
                log.warning("%s: %s%s", what, told, more)


def _unseen(column: pa.Array, levels: Sequence[Any]) -> int:
    """Cells that hold none of the levels; none where the column cannot be compared with them.

    To a model 7 is the level ``7``, and not ``007``.
    """
    import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)
    import pyarrow.compute as pc  # noqa: PLC0415

    try:
        known = pa.array(levels)
        if pa.types.is_string(known.type) and pa.types.is_integer(column.type):
            column = column.cast(pa.string())
        found = pc.is_in(column, known.cast(column.type), skip_nulls=True)
    except (pa.ArrowException, OverflowError):
        return 0
    met = int(pc.sum(found).as_py() or 0)
    return int(len(column) - column.null_count - met)


def _missing(column: pa.Array) -> int:
    """Cells without a value: null, or a NaN among numbers."""
    import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)
    import pyarrow.compute as pc  # noqa: PLC0415

    if not pa.types.is_floating(column.type):
        return int(column.null_count)
    return int(pc.sum(column.is_null(nan_is_null=True)).as_py() or 0)
