"""Rows from a request body as engine tables, under the server's limits on their size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_cleartrace.local.engine.errors import InputError
from airflow_provider_cleartrace.local.engine.table import Table

TARGET_OF_ARRAYS = "target"
"""What the target is called when it comes as values and not as a column."""


@dataclass(frozen=True, slots=True)
class SizeLimits:
    """The largest table that is worked with."""

    rows: int
    columns: int

    def check(self, rows: int, columns: int) -> None:
        """Refuse a table that is empty or too large.

        Raises:
            InputError: which of the two it is, with the limit.
        """
        if rows == 0:
            raise InputError("the data is empty: it holds no rows")
        if columns == 0:
            raise InputError("the data is empty: it holds no columns")
        if rows > self.rows:
            raise InputError(f"the data has {rows} rows; this server takes up to {self.rows}")
        if columns > self.columns:
            raise InputError(f"the data has {columns} columns; this server takes up to {self.columns}")


def read_rows(
    rows: Sequence[Any], names: Sequence[str] | None, limits: SizeLimits, *, gaps_allowed: bool = False
) -> Table:
    """Build a table from records (one object a row) or a 2-D array (one list a row).

    Args:
        rows: the ``data``, ``samples`` or ``queries`` of a body.
        names: the columns of a 2-D array; None: ``feature_0``, ``feature_1``, ... For records: those to read.
        limits: the largest table taken.
        gaps_allowed: whether a record may leave a column out, which then counts as missing.

    Raises:
        InputError: no rows, too many, ragged ones, or a value that no table holds.
    """
    if not rows:
        raise InputError("the data is empty: it holds no rows")
    kind = type(rows[0])
    for position, row in enumerate(rows):
        if not isinstance(row, kind) or not isinstance(row, Mapping | list):
            raise InputError(
                f"row {position}: rows must be all objects or all lists, not a mixture or single values"
            )
    if issubclass(kind, Mapping):
        return _read_records(rows, names, limits, gaps_allowed=gaps_allowed)
    width = len(rows[0])
    limits.check(len(rows), width)
    if names is None:
        names = [f"feature_{position}" for position in range(width)]
    elif len(names) != width and len(rows[0]) == len(rows[-1]):
        raise InputError(f"the rows have {width} values, but {len(names)} column names were given")
    return Table.from_rows(names, rows)


def _read_records(
    rows: Sequence[Mapping[str, Any]], names: Sequence[str] | None, limits: SizeLimits, *, gaps_allowed: bool
) -> Table:
    columns = list(names) if names is not None else list(dict.fromkeys(key for row in rows for key in row))
    limits.check(len(rows), len(columns))
    if not gaps_allowed:
        for position, row in enumerate(rows):
            absent = [name for name in columns if name not in row]
            if absent:
                raise InputError(
                    f"row {position} lacks the columns {absent}; write null where a value is missing"
                )
    return Table.from_columns({name: [row.get(name) for row in rows] for name in columns})


def rows_for_model(
    rows: Sequence[Any],
    names: Sequence[str] | None,
    features: Sequence[str],
    limits: SizeLimits,
    *,
    absent_allowed: bool = False,
    extra_allowed: bool = False,
) -> Table:
    """Build the table of a model's features from the rows of a request.

    Args:
        rows: records or a 2-D array.
        names: the columns of a 2-D array; None: the features, in the model's order.
        features: the model's features, in order.
        limits: the largest table taken.
        absent_allowed: whether a feature may be left out, which then counts as missing in every row.
        extra_allowed: whether columns that are no features are ignored.

    Raises:
        InputError: missing or unknown columns, all named, or rows of the wrong width.
    """
    positional = names is None and bool(rows) and isinstance(rows[0], list)
    if positional and len(rows[0]) != len(features):
        raise InputError(
            f"the rows have {len(rows[0])} values, but the model has {len(features)} features; "
            "name the columns in feature_names"
        )
    table = read_rows(rows, features if positional else names, limits, gaps_allowed=absent_allowed)
    missing = [name for name in features if name not in table]
    unknown = [name for name in table.names if name not in set(features)]
    if unknown and not extra_allowed:
        raise InputError(f"unknown columns: {unknown}; the model's features are {list(features)}")
    if missing and not absent_allowed:
        raise InputError(f"missing columns: {missing}")
    gaps = {name: [None] * len(table) for name in missing}
    return Table({**table.columns, **Table.from_columns(gaps).columns}).select(features)


@dataclass(frozen=True, eq=False, slots=True)
class TrainingData:
    """What a model is trained on: features, and the target's values where there are any."""

    features: Table
    target_name: str
    target: Any
    """A 1-D array in the engine's normal form, or None."""


def training_data(
    table: Table, target: str | Sequence[Any] | None, feature_fields: Sequence[str] | None
) -> TrainingData:
    """Split a table into features and target.

    Args:
        table: all columns.
        target: the target's column, or its values (one a row), or None where there is none.
        feature_fields: the columns to learn from; None: all but the target.

    Raises:
        InputError: the target or a feature is not there, the target is a feature, or the lengths differ.
    """
    by_name = target if isinstance(target, str) else None
    if by_name is not None and by_name not in table:
        raise InputError(
            f"the target {by_name!r} is not a column of the data; the columns are {list(table.names)}"
        )
    if feature_fields is not None:
        unknown = [name for name in feature_fields if name not in table]
        if unknown:
            raise InputError(
                f"feature_fields: unknown columns {unknown}; the columns are {list(table.names)}"
            )
        if by_name in feature_fields:
            raise InputError(f"feature_fields: the target {by_name!r} cannot be a feature")
    features = table.select(feature_fields or [name for name in table.names if name != by_name])
    if not features.names:
        raise InputError("there is no feature column: the target is the only column of the data")
    if by_name is not None:
        return TrainingData(features, by_name, table[by_name])
    if target is None:
        return TrainingData(features, TARGET_OF_ARRAYS, None)
    if len(target) != len(table):
        raise InputError(f"the target has {len(target)} values, but the data has {len(table)} rows")
    name = TARGET_OF_ARRAYS
    while name in table:
        name += "_"
    return TrainingData(features, name, Table.from_columns({name: target})[name])
