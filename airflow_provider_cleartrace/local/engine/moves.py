"""The moves a scenario may make from one row: spans of quantities, and lists of levels or values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from airflow_provider_cleartrace.local.engine.coding import worth_stating
from airflow_provider_cleartrace.local.engine.constraints import Constraint
from airflow_provider_cleartrace.local.engine.schema import Column

_FREE = Constraint()


def sd_unit(column: Column) -> float:
    """Give the unit of distance of a quantity: its training standard deviation, or 1 for a constant one."""
    return column.std or 1.0


@dataclass(frozen=True)
class Span:
    """A quantity that may take any value of a range.

    Attributes:
        column: the feature.
        start: the row's own value.
        low: smallest new value.
        high: largest new value.
    """

    column: Column
    start: float
    low: float
    high: float

    @property
    def headings(self) -> tuple[float, ...]:
        """The directions with room: -1, 1 or both."""
        return tuple(
            heading
            for heading, room in ((-1.0, self.low < self.start), (1.0, self.high > self.start))
            if room
        )

    def settle(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Bring values to ones worth stating, inside the range."""
        settled: NDArray[np.float64] = np.clip(worth_stating(values, self.column), self.low, self.high)
        return settled

    def step(self, values: NDArray[np.float64], signed_steps: NDArray[np.float64]) -> NDArray[np.float64]:
        """Move values by steps in standard deviations; an integer moves by one at least."""
        moved = values + signed_steps * sd_unit(self.column)
        if self.column.kind == "integer":
            moved = np.where(np.abs(moved - values) < 1, values + np.sign(signed_steps), moved)
        return self.settle(moved)


@dataclass(frozen=True, eq=False)
class Choice:
    """A feature that may take one of a few values: levels, or allowed numbers.

    Attributes:
        column: the feature.
        start: the row's own code.
        options: the other codes it may take, (k,), k >= 1.
    """

    column: Column
    start: float
    options: NDArray[np.float64]


Move = Span | Choice


def moves_from(
    row: NDArray[np.float64], columns: tuple[Column, ...], constraints: Mapping[str, Constraint]
) -> dict[int, Move]:
    """Find what may change about one row.

    A gap stays a gap: there is no value to change from, and neither a direction nor a distance is defined.

    Args:
        row: codes of the row, (d,).
        columns: the features.
        constraints: by feature name.

    Returns:
        Feature position -> move, only for features with somewhere to go.
    """
    moves: dict[int, Move] = {}
    for position, column in enumerate(columns):
        constraint = constraints.get(column.name, _FREE)
        start = float(row[position])
        if constraint.immutable or math.isnan(start):
            continue
        move = (
            _span(column, constraint, start)
            if not column.is_levelled and constraint.allowed_values is None
            else _choice(column, constraint, start)
        )
        if move is not None:
            moves[position] = move
    return moves


def _span(column: Column, constraint: Constraint, start: float) -> Span | None:
    low, high = _bounds(column, constraint, start, (column.minimum or 0.0, column.maximum or 0.0))
    if column.kind == "integer":
        low, high = math.ceil(low), math.floor(high)
    return None if low > high or low == high == start else Span(column, start, low, high)


def _choice(column: Column, constraint: Constraint, start: float) -> Choice | None:
    options = np.arange(len(column.categories), dtype=np.float64)
    if constraint.allowed_values is not None:
        options = np.array(constraint.allowed_values)
    if not column.is_levelled:
        low, high = _bounds(column, constraint, start, (-math.inf, math.inf))
        options = options[(options >= low) & (options <= high)]
    options = options[options != start]
    return Choice(column, start, options) if len(options) else None


def _bounds(
    column: Column, constraint: Constraint, start: float, default: tuple[float, float]
) -> tuple[float, float]:
    low, high = constraint.value_range or default
    if constraint.monotonic == "increase":
        low = max(low, start)
    elif constraint.monotonic == "decrease":
        high = min(high, start)
    return low, high


def distance(
    rows: NDArray[np.float64], origin: NDArray[np.float64], columns: tuple[Column, ...]
) -> NDArray[np.float64]:
    """Measure how far rows are from an origin.

    Args:
        rows: codes, (n, d).
        origin: codes, (d,), with the same gaps.
        columns: the features.

    Returns:
        (n, d): a quantity's change in training standard deviations; 1 for another level, 0 for an equal one.
    """
    apart = np.zeros(rows.shape)
    for position, column in enumerate(columns):
        if column.is_levelled:
            apart[:, position] = (rows[:, position] != origin[position]) & ~np.isnan(origin[position])
        elif not math.isnan(origin[position]):
            apart[:, position] = np.abs(rows[:, position] - origin[position]) / sd_unit(column)
    return apart
