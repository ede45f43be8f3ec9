"""A made-up table with every kind of column, and a target of each task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from airflow_provider_cleartrace.local.engine import Table


@dataclass(frozen=True, eq=False)
class Labelled:
    """A table of features and one target of each task."""

    table: Table
    value: NDArray[np.float64]
    flag: NDArray[np.bool_]
    label: NDArray[Any]

    def target(self, task: str) -> NDArray[Any]:
        return {"regression": self.value, "binary": self.flag, "multiclass": self.label}[task]


def mixed_table(n: int, seed: int) -> Labelled:
    """Quantities with and without gaps, a count, a category with gaps, a boolean, dates, and a constant."""
    random = np.random.default_rng(seed)
    area = random.gamma(3.0, 30.0, n)
    income = 1000 + 300 * random.normal(size=n)
    income[random.random(n) < 0.15] = np.nan
    rooms = random.integers(1, 7, n)
    town = random.choice(["Ulm", "Bonn", "Kiel", None], n, p=[0.5, 0.25, 0.15, 0.1])
    garden = random.random(n) < 0.4
    days = random.integers(0, 2000, n)
    value = (
        0.02 * area
        + 0.001 * np.nan_to_num(income, nan=700.0)
        + 0.3 * rooms
        + np.where(town == "Bonn", 1.0, 0.0)
        + np.where(garden, 0.8, 0.0)
        + 0.1 * random.normal(size=n)
    )
    table = Table.from_columns(
        {
            "area": area,
            "income": income,
            "rooms": rooms,
            "town": list(town),
            "garden": garden,
            "listed": [str(np.datetime64("2020-01-01") + int(day)) for day in days],
            "country": [1] * n,
        }
    )
    label = np.array(["low", "mid", "high"])[np.digitize(value, np.quantile(value, [0.4, 0.7]))]
    return Labelled(table, value, value > np.median(value), label)
