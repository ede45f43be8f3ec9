"""A table becomes the numbers that the calibration library computes with, and numbers become values again."""

from __future__ import annotations

import abc
import datetime as dt
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from airflow_provider_cleartrace.explanations.errors import ExplanationError
from airflow_provider_cleartrace.explanations.values import Scalar

Matrix = NDArray[np.float64]

MISSING = "missing"
"""How rules name the level of rows without one."""

_EPOCH = dt.datetime(1970, 1, 1)


class Column(abc.ABC):
    """How one feature is encoded."""

    is_levelled = False

    @abc.abstractmethod
    def encode(self, values: pd.Series[Any]) -> Matrix:
        """The values as numbers; NaN where a quantity is missing."""

    @abc.abstractmethod
    def decode(self, number: float) -> Scalar:
        """The value that a number stands for."""

    def is_placed(self, numbers: Matrix) -> NDArray[np.bool_]:
        """Whether the calibration data has a place for each number."""
        return ~np.isnan(numbers)

    def text(self, number: float) -> str:
        """The value for people: quantities with two decimals, as the library shows them."""
        return str(np.around(number, decimals=2))

    def boundary(self, text: str) -> tuple[Scalar, str]:
        """The value, and its text, at which a condition of the library divides the feature."""
        return self.decode(float(text)), text


class Quantity(Column):
    """A number, which the library sees as it is."""

    def __init__(self, name: str) -> None:
        self._name = name

    def encode(self, values: pd.Series[Any]) -> Matrix:
        """Numbers, NaN where one is missing."""
        try:
            numbers = values.to_numpy(dtype=float, na_value=np.nan)
        except (TypeError, ValueError):
            raise ExplanationError(
                f"the column {self._name!r} has values that are no numbers, which it had in calibration"
            ) from None
        if np.isinf(numbers).any():
            raise ExplanationError(f"the column {self._name!r} has an infinite value")
        return numbers

    def decode(self, number: float) -> Scalar:
        """The number; None for NaN."""
        return None if math.isnan(number) else float(number)


class Moment(Column):
    """A date or time, which the library sees as days since 1970."""

    def __init__(self, name: str) -> None:
        self._name = name

    def encode(self, values: pd.Series[Any]) -> Matrix:
        """Days, NaN where there is no date."""
        try:
            moments = pd.to_datetime(values, utc=True, format="ISO8601")
        except (TypeError, ValueError):
            raise ExplanationError(f"the column {self._name!r} has values that are no ISO dates") from None
        days = (moments - pd.Timestamp(_EPOCH, tz="UTC")) / pd.Timedelta(days=1)
        return np.asarray(days, dtype=float)

    def decode(self, number: float) -> Scalar:
        """The date in ISO 8601, with the time where there is one."""
        if math.isnan(number):
            return None
        moment = _EPOCH + dt.timedelta(seconds=round(number * 86_400))
        midnight = moment.time() == dt.time()
        return moment.date().isoformat() if midnight else moment.isoformat()

    def text(self, number: float) -> str:
        """The date."""
        return str(self.decode(number))

    def boundary(self, text: str) -> tuple[Scalar, str]:
        """The date at which a condition divides the feature."""
        value = self.decode(float(text))
        return value, str(value)


class Levels(Column):
    """A category. The levels of the calibration data come first; others get numbers as they appear.

    A missing value is a level of its own.
    """

    is_levelled = True

    def __init__(self, values: pd.Series[Any], order: Sequence[Scalar]) -> None:
        seen = dict.fromkeys(map(_scalar, values.tolist()))
        ordered = [level for level in order if level in seen]
        self.levels: list[Scalar] = [*ordered, *(level for level in seen if level not in ordered)]
        self.known = len(self.levels)
        self._codes = {level: code for code, level in enumerate(self.levels)}

    def encode(self, values: pd.Series[Any]) -> Matrix:
        """The number of each value's level."""
        return np.array([self._code(_scalar(value)) for value in values.tolist()], dtype=float)

    def _code(self, level: Scalar) -> int:
        if level not in self._codes:
            self._codes[level] = len(self.levels)
            self.levels.append(level)
        return self._codes[level]

    def decode(self, number: float) -> Scalar:
        """The level."""
        return self.levels[int(number)]

    def is_placed(self, numbers: Matrix) -> NDArray[np.bool_]:
        """Whether each level occurs in the calibration data."""
        return np.asarray(numbers < self.known)

    def text(self, number: float) -> str:
        """The level's name."""
        level = self.decode(number)
        return MISSING if level is None else str(level)

    def boundary(self, text: str) -> tuple[Scalar, str]:
        """The level that a condition asks for."""
        return self.decode(float(text)), self.text(float(text))


def _scalar(value: Any) -> Scalar:
    """A cell as a plain value; None where it is missing."""
    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, dt.date):
        return value.isoformat()
    raise ExplanationError(f"a value of type {type(value).__name__} can be no level of a category")


@dataclass(frozen=True)
class Encoder:
    """How the features of a table are encoded, learnt from the calibration data."""

    names: tuple[str, ...]
    columns: tuple[Column, ...] = field(repr=False)

    @classmethod
    def learn(
        cls, frame: pd.DataFrame, names: Sequence[str], categories: Mapping[str, Sequence[Scalar]]
    ) -> Encoder:
        """Find out what the columns are.

        Args:
            frame: the calibration data.
            names: the model's features, in its order.
            categories: features that the model knows as categories, with their levels. Columns of texts and
                of truth values are categories as well, and columns of dates are quantities.

        Raises:
            ExplanationError: a feature is not among the columns.
        """
        if missing := [name for name in names if name not in frame.columns]:
            raise ExplanationError(
                f"the calibration data lacks the column {missing[0]!r}, a feature of the model"
            )
        return cls(tuple(names), tuple(_column(frame[name], name, categories) for name in names))

    def encode(self, frame: pd.DataFrame) -> Matrix:
        """Rows as numbers: (n, d) in the order of ``names``."""
        if missing := [name for name in self.names if name not in frame.columns]:
            raise ExplanationError(f"the rows have no column {missing[0]!r}, a feature of the model")
        encoded = [column.encode(frame[name]) for name, column in zip(self.names, self.columns, strict=True)]
        # A negative zero is a zero: the same row must have the same bytes.
        return np.column_stack(encoded) + 0.0

    def frame(self, rows: Matrix) -> pd.DataFrame:
        """Numbers as the table that the model is asked with."""
        return pd.DataFrame(
            {
                name: rows[:, index]
                if isinstance(column, Quantity)
                else pd.Series([column.decode(number) for number in rows[:, index].tolist()], dtype=object)
                for index, (name, column) in enumerate(zip(self.names, self.columns, strict=True))
            }
        )

    def decode(self, row: Matrix) -> tuple[Scalar, ...]:
        """One row of numbers as values."""
        return tuple(column.decode(number) for column, number in zip(self.columns, row.tolist(), strict=True))

    def is_placed(self, rows: Matrix) -> NDArray[np.bool_]:
        """(n, d): whether the calibration data has a place for each value."""
        return np.column_stack([column.is_placed(rows[:, i]) for i, column in enumerate(self.columns)])

    @property
    def level_counts(self) -> dict[str, int]:
        """How many levels of each category the calibration data has."""
        return {
            name: column.known
            for name, column in zip(self.names, self.columns, strict=True)
            if isinstance(column, Levels)
        }

    @property
    def levelled(self) -> list[int]:
        """The positions of the categories."""
        return [index for index, column in enumerate(self.columns) if column.is_levelled]


def _column(values: pd.Series[Any], name: str, categories: Mapping[str, Sequence[Scalar]]) -> Column:
    if name in categories:
        return Levels(values, categories[name])
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        return Moment(name)
    if pd.api.types.is_numeric_dtype(values.dtype) and not pd.api.types.is_bool_dtype(values.dtype):
        return Quantity(name)
    if values.map(lambda value: isinstance(value, dt.date)).all():
        return Moment(name)
    return Levels(values, ())
