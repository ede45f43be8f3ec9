"""What a model knows about its columns: kinds, levels, ranges and moments of the training table."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from airflow_provider_cleartrace.local.engine.errors import InputError
from airflow_provider_cleartrace.local.engine.table import Table, column_array, is_missing, number_text

Kind = Literal["number", "integer", "boolean", "category", "datetime"]
Task = Literal["regression", "binary", "multiclass"]
Label = bool | int | float | str

MAX_CATEGORIES = 200
"""Levels a text column may have; with more it is an identifier or free text, of which levels tell nothing."""

BOOLEAN_LEVELS = ("false", "true")

_IGNORE = "ignore"
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_DAY = datetime.timedelta(days=1)
# `fromisoformat` alone also reads "20240101" and "2024-W01", which are more often codes than dates.
_ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?)?")
_BOOLEAN_TEXTS = {"true": "true", "false": "false", "1": "true", "0": "false"}


@dataclass(frozen=True)
class Column:
    """One feature as the training table showed it.

    Attributes:
        name: the column's name.
        kind: number, integer (all training values whole), boolean, category, or datetime (days since
            1970-01-01 UTC).
        categories: the known levels of a category or boolean, as texts; empty for the other kinds.
        minimum: smallest training value (None for a category); datetimes in days.
        maximum: largest training value.
        mean: training mean over the rows that have a value (share of true for a boolean).
        std: population standard deviation over the same rows; 0.0 for a constant column.
        missing_share: share of training rows without a value.
    """

    name: str
    kind: Kind
    categories: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    mean: float | None = None
    std: float | None = None
    missing_share: float = 0.0

    @property
    def is_levelled(self) -> bool:
        """Whether the column is a set of levels (category, boolean) and not a quantity."""
        return self.kind in ("category", "boolean")

    def to_numbers(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Read a table column of this quantity as float64 (datetimes in days), NaN where there is a gap.

        Raises:
            InputError: a text that is no number (or no ISO date). The row is named, its content is not.
        """
        if values.dtype == np.float64:
            return values
        read = _days if self.kind == "datetime" else float
        numbers = np.full(len(values), np.nan)
        for row, value in enumerate(values):
            if value is None:
                continue
            try:
                numbers[row] = read(value)
            except (ValueError, OverflowError):
                wanted = "an ISO date" if self.kind == "datetime" else "a number"
                raise InputError(
                    f"column {self.name!r}, row {row}: expected {wanted}, found a text"
                ) from None
        if np.isinf(numbers).any():
            raise InputError(
                f"column {self.name!r} holds an infinite number; replace it or leave the cell empty"
            )
        return numbers

    def to_levels(self, values: NDArray[Any]) -> NDArray[Any]:
        """Read a table column of these levels as an object array of texts, None where there is a gap.

        Levels the training table did not have are kept as they are; the encoder gives them no column.

        Raises:
            InputError: a boolean column with something other than true, false, 1 or 0.
        """
        levels = np.empty(len(values), dtype=object)
        levels[:] = [_level(value) for value in values]
        if self.kind == "boolean":
            for row, level in enumerate(levels):
                if level is not None and level.lower() not in _BOOLEAN_TEXTS:
                    raise InputError(f"column {self.name!r}, row {row}: expected true, false, 1 or 0")
                levels[row] = None if level is None else _BOOLEAN_TEXTS[level.lower()]
        return levels

    def json_value(self, value: float | str | None) -> Label | None:
        """Give one value of this column as its user would write it.

        Args:
            value: a number as of `to_numbers` or a level as of `to_levels`.

        Returns:
            An int for an integer, an ISO text for a datetime, a bool for a boolean, the text of a category.
        """
        if value is None or (isinstance(value, float) and np.isnan(value)):
            return None
        if self.kind == "category":
            return str(value)
        if self.kind == "boolean":
            return value == "true"
        number = float(value)
        if self.kind == "datetime":
            moment = _EPOCH + number * _DAY
            return (
                moment.date().isoformat() if number.is_integer() else moment.replace(tzinfo=None).isoformat()
            )
        return round(number) if self.kind == "integer" else number

    def to_json(self) -> dict[str, Any]:
        """Give the column as a JSON object."""
        return {**self.__dict__, "categories": list(self.categories)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Column:
        """Read what `to_json` wrote."""
        return cls(**{**document, "categories": tuple(document["categories"])})


@dataclass(frozen=True)
class ModelSchema:
    """The features of a model, in the training table's order, and its target.

    Attributes:
        features: one Column a feature.
        target: the target's name.
        task: regression, binary or multiclass.
        classes: the class labels in the order of scores and probabilities; empty for regression.
    """

    features: tuple[Column, ...]
    target: str
    task: Task
    classes: tuple[Label, ...] = ()

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The names of the features, in order."""
        return tuple(column.name for column in self.features)

    def feature(self, name: str) -> Column:
        """Find a feature by name.

        Raises:
            InputError: no such feature; the message lists the features.
        """
        for column in self.features:
            if column.name == name:
                return column
        raise InputError(f"unknown feature {name!r}; the model's features are {list(self.feature_names)}")

    def to_json(self) -> dict[str, Any]:
        """Give the schema as a JSON object."""
        return {
            "features": [column.to_json() for column in self.features],
            "target": self.target,
            "task": self.task,
            "classes": list(self.classes),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> ModelSchema:
        """Read what `to_json` wrote."""
        return cls(
            features=tuple(Column.from_json(column) for column in document["features"]),
            target=document["target"],
            task=document["task"],
            classes=tuple(document["classes"]),
        )


def infer_schema(
    table: Table, feature_schema: Mapping[str, Mapping[str, Any]] | None = None
) -> tuple[Column, ...]:
    """Find out the kind, levels and moments of every feature column.

    Numbers are integers when every value is whole; texts are datetimes when every one is an ISO date,
    otherwise categories. A column without any value counts as the constant number 0.

    Args:
        table: the feature columns, target left out.
        feature_schema: name -> {"dtype": a kind or "ignore", "categories": levels of a category}; overrides
            what the values suggest. "ignore" drops the column.

    Raises:
        InputError: an unknown name, key or dtype; values that do not fit the dtype; a text column with more
            than MAX_CATEGORIES levels that was not declared; no column left.
    """
    wishes = {name: _checked_wish(table, name, wish) for name, wish in (feature_schema or {}).items()}
    columns = tuple(
        _column(name, table[name], wishes.get(name, {}))
        for name in table.names
        if wishes.get(name, {}).get("dtype") != _IGNORE
    )
    if not columns:
        raise InputError("there is no feature column to learn from")
    return columns


def _checked_wish(table: Table, name: str, wish: Mapping[str, Any]) -> Mapping[str, Any]:
    if name not in table:
        raise InputError(
            f"feature_schema names {name!r}, which is no feature column; these are {list(table.names)}"
        )
    if not isinstance(wish, Mapping):
        raise InputError(f'feature_schema[{name!r}] must be an object such as {{"dtype": "category"}}')
    unknown = sorted(set(wish) - {"dtype", "categories"})
    if unknown:
        raise InputError(
            f"feature_schema[{name!r}] has unknown keys {unknown}; known are 'dtype' and 'categories'"
        )
    dtype = wish.get("dtype", "category" if "categories" in wish else None)
    if dtype not in (*get_args(Kind), _IGNORE):
        raise InputError(
            f"feature_schema[{name!r}] has the dtype {dtype!r}; known are {[*get_args(Kind), _IGNORE]}"
        )
    if "categories" in wish:
        levels = wish["categories"]
        if dtype != "category":
            raise InputError(f"feature_schema[{name!r}] lists categories, but its dtype is {dtype!r}")
        if not isinstance(levels, Sequence) or isinstance(levels, str) or not levels:
            raise InputError(f"feature_schema[{name!r}]['categories'] must be a list of at least one level")
    return {**wish, "dtype": dtype}


def _column(name: str, values: NDArray[Any], wish: Mapping[str, Any]) -> Column:
    kind: Kind = wish["dtype"] if wish else _kind(values)
    column = Column(name, kind, missing_share=float(is_missing(values).mean()) if len(values) else 0.0)
    if not column.is_levelled:
        return _with_moments(column, column.to_numbers(values))
    levels = column.to_levels(values)
    if kind == "boolean":
        truth = np.array([np.nan if level is None else float(level == "true") for level in levels])
        return replace(_with_moments(column, truth), categories=BOOLEAN_LEVELS)
    known = _levels(name, wish["categories"]) if "categories" in wish else tuple(sorted(set(levels) - {None}))
    if len(known) > MAX_CATEGORIES and not wish:
        raise InputError(
            f"column {name!r} is text with {len(known)} different values, more than {MAX_CATEGORIES}: leave "
            f'it out with feature_schema={{"{name}": {{"dtype": "ignore"}}}}, or force it with "category"'
        )
    return replace(column, categories=known)


def _kind(values: NDArray[Any]) -> Kind:
    present = values[~is_missing(values)]
    if values.dtype == np.float64:
        return "integer" if len(present) and (present == np.round(present)).all() else "number"
    if not len(present):
        return "number"
    if isinstance(present[0], bool):
        return "boolean"
    return "datetime" if all(_ISO_DATE.fullmatch(value) for value in present) else "category"


def _with_moments(column: Column, numbers: NDArray[np.float64]) -> Column:
    present = numbers[~np.isnan(numbers)]
    if not len(present):
        return replace(column, minimum=0.0, maximum=0.0, mean=0.0, std=0.0)
    if column.kind == "integer" and not (present == np.round(present)).all():
        raise InputError(
            f"column {column.name!r} is declared integer, but holds fractions; use the dtype 'number'"
        )
    low, high = float(present.min()), float(present.max())
    # Round-off must not give a constant column a spread.
    with np.errstate(over="ignore", invalid="ignore"):
        mean, std = float(present.mean()), float(present.std()) if high > low else 0.0
    if not np.isfinite([mean, std]).all():
        raise InputError(f"column {column.name!r} holds numbers too large to compute with; rescale it")
    return replace(column, minimum=low, maximum=high, mean=mean, std=std)


def _levels(name: str, levels: Sequence[Any]) -> tuple[str, ...]:
    texts = [_level(value) for value in column_array(name, levels)]
    if None in texts or len(set(texts)) != len(texts):
        raise InputError(f"feature_schema[{name!r}]['categories'] must hold distinct levels and no null")
    return tuple(text for text in texts if text is not None)


def _level(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    return None if np.isnan(value) else number_text(value)


def _days(text: str) -> float:
    moment = datetime.datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return (moment - _EPOCH) / _DAY
