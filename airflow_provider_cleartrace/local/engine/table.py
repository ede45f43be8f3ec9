"""A small immutable table: named columns of equal length, in one of three normal forms."""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from airflow_provider_cleartrace.local.engine.errors import InputError


def number_text(value: float) -> str:
    """Write a number as a level name: without a decimal point if it is whole, so that 1 and 1.0 are one."""
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def column_array(name: str, values: Iterable[Any]) -> NDArray[Any]:
    """Bring the values of one column into its normal form.

    Numbers become float64 with NaN for a gap. A column of booleans alone becomes an object array of True,
    False and None; next to numbers booleans count as 1 and 0. As soon as one value is a text, the column is
    an object array of texts and None, numbers written by `number_text`, booleans as "true" and "false", dates
    in ISO form. Blank texts are gaps.

    Args:
        name: the column's name, for messages.
        values: JSON values, numpy arrays (also datetime64) or Python dates.

    Raises:
        InputError: a number that is infinite or beyond the range of floats, an array that is not 1-D, or a
            value of another type.
    """
    if isinstance(values, np.ndarray):
        if values.ndim != 1:
            raise InputError(f"column {name!r} must be one-dimensional, not {values.ndim}-dimensional")
        if values.dtype.kind in "fiu":
            return _finite(name, values.astype(np.float64))
        if values.dtype.kind == "M":
            values = [None if np.isnat(v) else str(v) for v in values]
    cells = [_plain(name, value) for value in values]
    kinds = {type(cell) for cell in cells if cell is not None}
    if str in kinds:
        return _objects([_text(cell) for cell in cells])
    if kinds == {bool}:
        return _objects(cells)
    return _finite(
        name, np.array([math.nan if cell is None else float(cell) for cell in cells], dtype=np.float64)
    )


def is_missing(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Mark the gaps of a column in normal form; shape (n,)."""
    if values.dtype == np.float64:
        return np.asarray(np.isnan(values))
    return np.array([value is None for value in values], dtype=np.bool_)


def json_values(values: NDArray[Any]) -> list[Any]:
    """List a column in normal form as JSON values, gaps as None."""
    if values.dtype == np.float64:
        return [None if math.isnan(value) else value for value in values.tolist()]
    return list(values)


@dataclass(frozen=True, eq=False)
class Table:
    """Named columns of equal length; build one with `from_rows` or `from_columns`.

    Attributes:
        columns: name -> 1-D array in the normal form of `column_array`, in the caller's order. Treat as
            read-only.
    """

    columns: Mapping[str, NDArray[Any]]

    @classmethod
    def from_columns(cls, columns: Mapping[str, Iterable[Any]]) -> Table:
        """Build a table from name -> values.

        Raises:
            InputError: columns of unequal length, or a value `column_array` refuses.
        """
        arrays = {str(name): column_array(str(name), values) for name, values in columns.items()}
        lengths = {name: len(array) for name, array in arrays.items()}
        if len(set(lengths.values())) > 1:
            raise InputError(f"the columns differ in length: {lengths}")
        return cls(arrays)

    @classmethod
    def from_rows(cls, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
        """Build a table from column names and rows of JSON values.

        Raises:
            InputError: a name given twice, a row whose length differs from the names, or a value refused.
        """
        duplicates = sorted({name for name in names if list(names).count(name) > 1})
        if duplicates:
            raise InputError(f"column names must be unique; given more than once: {duplicates}")
        for position, row in enumerate(rows):
            if len(row) != len(names):
                raise InputError(f"row {position} has {len(row)} values, but there are {len(names)} columns")
        cells = zip(*rows, strict=True) if rows else ([] for _ in names)
        return cls.from_columns(dict(zip(names, cells, strict=True)))

    @property
    def names(self) -> tuple[str, ...]:
        """The column names, in the caller's order."""
        return tuple(self.columns)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()))) if self.columns else 0

    def __contains__(self, name: object) -> bool:
        return name in self.columns

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self.columns:
            raise InputError(f"there is no column {name!r}; the columns are {list(self.columns)}")
        return self.columns[name]

    def select(self, names: Iterable[str]) -> Table:
        """Keep these columns, in this order.

        Raises:
            InputError: columns that are not there, all of them named.
        """
        wanted = list(names)
        absent = [name for name in wanted if name not in self.columns]
        if absent:
            raise InputError(f"missing columns: {absent}")
        return Table({name: self.columns[name] for name in wanted})

    def take(self, index: NDArray[Any]) -> Table:
        """Keep the rows that an index array (positions or a mask) points at."""
        return Table({name: values[index] for name, values in self.columns.items()})

    def to_json(self) -> dict[str, list[Any]]:
        """Give name -> list of JSON values; `from_columns` reads it back."""
        return {name: json_values(values) for name, values in self.columns.items()}


def _plain(name: str, value: Any) -> bool | float | str | None:
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | float | np.integer | np.floating):
        try:
            number = float(value)
        except OverflowError:
            raise InputError(
                f"column {name!r} holds a whole number beyond 1e308; declare such identifiers as texts"
            ) from None
        return None if math.isnan(number) else number
    if isinstance(value, str):
        # numpy's own text type is a str too, but not for `column_array`.
        return str(value) if value.strip() else None
    if value is None:
        return None
    if isinstance(value, datetime.date):
        return value.isoformat()
    raise InputError(
        f"column {name!r} holds a value of type {type(value).__name__}; "
        "a cell must be a number, a boolean, a text, a date or null"
    )


def _text(cell: bool | float | str | None) -> str | None:
    if cell is None or isinstance(cell, str):
        return cell
    return str(cell).lower() if isinstance(cell, bool) else number_text(cell)


def _objects(cells: list[Any]) -> NDArray[Any]:
    array = np.empty(len(cells), dtype=object)
    array[:] = cells
    return array


def _finite(name: str, values: NDArray[np.float64]) -> NDArray[np.float64]:
    if np.isinf(values).any():
        raise InputError(f"column {name!r} holds an infinite number; replace it or leave the cell empty")
    return values
