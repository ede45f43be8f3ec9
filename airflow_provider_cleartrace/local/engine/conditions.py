"""Conditions on single features, and the pool of them that rules are put together from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from airflow_provider_cleartrace.local.engine.coding import worth_stating
from airflow_provider_cleartrace.local.engine.figures import label_text
from airflow_provider_cleartrace.local.engine.schema import Column, Label

Operator = Literal["<=", ">", "between", "==", "is missing"]

_BINS = 8
"""Quantities are cut at octiles: fine enough to follow a bend, coarse enough for a bin to hold rows."""


@dataclass(frozen=True)
class Condition:
    """One condition on one feature.

    Attributes:
        feature: the feature's name.
        operator: "<=" and ">" compare with a number (an ISO date for a datetime); "between" is above the
            first and at most the second of two; "==" equals a level or a whole number; "is missing" has no
            value. A gap meets no condition but the last.
        value: what the operator compares with.
    """

    feature: str
    operator: Operator
    value: Label | tuple[Label, Label] | None = None

    def __str__(self) -> str:
        if isinstance(self.value, tuple):
            low, high = map(label_text, self.value)
            return f"{self.feature} is above {low} and at most {high}"
        if self.value is None:
            return f"{self.feature} is missing"
        phrase = {"<=": "is at most", ">": "is above", "==": "is"}[self.operator]
        return f"{self.feature} {phrase} {label_text(self.value)}"

    def to_json(self) -> dict[str, Any]:
        """Give the condition as a JSON object."""
        value = list(self.value) if isinstance(self.value, tuple) else self.value
        return {"feature": self.feature, "operator": self.operator, "value": value}


@dataclass(frozen=True)
class Interval:
    """The codes a condition admits: low < code <= high, or a gap.

    Attributes:
        low: exclusive bound; -inf for none.
        high: inclusive bound; inf for none.
        gap: whether the condition asks for a gap instead.
    """

    low: float
    high: float
    gap: bool = False

    def admits(self, codes: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Mark the codes (n,) that meet the condition."""
        return np.isnan(codes) if self.gap else (codes > self.low) & (codes <= self.high)


@dataclass(frozen=True, eq=False)
class ConditionPool:
    """Every condition worth trying on a set of reference rows.

    Attributes:
        conditions: c conditions.
        features: the position of each one's feature, (c,).
        met: which reference rows meet which condition, (c, m).
        intervals: what each one admits.
    """

    conditions: tuple[Condition, ...]
    features: NDArray[np.intp]
    met: NDArray[np.bool_]
    intervals: tuple[Interval, ...]

    @classmethod
    def of(cls, codes: NDArray[np.float64], columns: tuple[Column, ...]) -> ConditionPool:
        """Build the pool: bounds and windows between octiles of quantities, every level, gaps.

        Args:
            codes: reference rows as of `code_table`, (m, d).
            columns: the d features.
        """
        found = [
            (position, condition, interval, interval.admits(codes[:, position]))
            for position, column in enumerate(columns)
            for condition, interval in _candidates(column, codes[:, position])
        ]
        informative = [entry for entry in found if 0 < entry[3].sum() < len(codes)]
        met = np.array([entry[3] for entry in informative], dtype=np.bool_).reshape(
            len(informative), len(codes)
        )
        return cls(
            conditions=tuple(entry[1] for entry in informative),
            features=np.array([entry[0] for entry in informative], dtype=np.intp),
            met=met,
            intervals=tuple(entry[2] for entry in informative),
        )

    def met_by(self, codes: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Mark which conditions other rows (n, d) meet, (c, n)."""
        met = np.empty((len(self.conditions), len(codes)), dtype=np.bool_)
        for index, interval in enumerate(self.intervals):
            met[index] = interval.admits(codes[:, self.features[index]])
        return met


def _candidates(column: Column, codes: NDArray[np.float64]) -> Iterator[tuple[Condition, Interval]]:
    if np.isnan(codes).any():
        yield Condition(column.name, "is missing"), Interval(0.0, 0.0, gap=True)
    if column.is_levelled:
        for code, level in enumerate(column.categories):
            value = column.json_value(level)
            if value is not None:
                yield Condition(column.name, "==", value), Interval(code - 0.5, code + 0.5)
        return
    edges = _edges(column, codes[~np.isnan(codes)])
    values = [_stated(column, edge) for edge in edges]
    for position, low in enumerate(edges):
        yield Condition(column.name, "<=", values[position]), Interval(-np.inf, low)
        yield Condition(column.name, ">", values[position]), Interval(low, np.inf)
        for other in range(position + 1, len(edges)):
            high = edges[other]
            if column.kind == "integer" and high - low == 1:
                yield Condition(column.name, "==", values[other]), Interval(low, high)
            else:
                yield (
                    Condition(column.name, "between", (values[position], values[other])),
                    Interval(low, high),
                )


def _edges(column: Column, present: NDArray[np.float64]) -> list[float]:
    """Cut a quantity at values worth stating; rounded before rows are counted, so counts match the text."""
    if not len(present):
        return []
    distinct = np.unique(present)
    if len(distinct) > _BINS:
        distinct = np.quantile(present, np.arange(1, _BINS) / _BINS, method="inverted_cdf")
    rounded: list[float] = np.unique(worth_stating(distinct, column)).tolist()
    return rounded


def _stated(column: Column, edge: float) -> Label:
    value = column.json_value(edge)
    return edge if value is None else value
