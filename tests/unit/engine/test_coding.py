"""Coding: every kind of column becomes numbers, and values are rounded to what is worth stating."""

from __future__ import annotations

import numpy as np
import pytest

from airflow_provider_cleartrace.local.engine import Column, Table
from airflow_provider_cleartrace.local.engine.coding import STRANGER, code_table, decode_levels, worth_stating


def test_levels_are_positions_gaps_are_nan_and_unknown_levels_strangers() -> None:
    town = Column("town", "category", ("Bonn", "Kiel"))
    garden = Column("garden", "boolean", ("false", "true"))
    area = Column("area", "number", minimum=0, maximum=9, mean=4, std=2)
    table = Table.from_columns(
        {
            "area": [1.5, None, 3.0, 4.0],
            "town": ["Kiel", "Ulm", None, "Bonn"],
            "garden": [True, False, None, True],
        }
    )
    codes = code_table(table, (town, garden, area))
    expected = [[1, 1, 1.5], [STRANGER, 0, np.nan], [np.nan, np.nan, 3], [0, 1, 4]]
    assert np.array_equal(codes, np.array(expected), equal_nan=True)
    assert decode_levels(np.array([1.0, 0.0]), town).tolist() == ["Kiel", "Bonn"]


@pytest.mark.parametrize(
    ("kind", "std", "value", "stated"),
    [
        ("integer", 40.0, 12.6, 13.0),
        ("number", 1000.0, 12345.678, 12350.0),
        ("number", 1000.0, 0.123456, 0.123),
        ("number", 0.05, 0.30000001, 0.3),
        ("number", 1e-6, 3.14159e-7, 3.14e-7),
        ("number", 0.0, 0.0, 0.0),
        ("number", 1e7, 1.23456e9, 1.2346e9),
        ("datetime", 200.0, 19000.4, 19000.0),
        ("datetime", 0.5, 19000.4567, 19000.457),
    ],
)
def test_values_are_rounded_to_what_a_reader_needs(
    kind: str, std: float, value: float, stated: float
) -> None:
    column = Column("x", kind, mean=value, std=std)  # type: ignore[arg-type]  # the kinds are listed above
    assert worth_stating(np.array([value]), column).tolist() == [stated]


def test_rounding_moves_a_value_by_less_than_a_hundredth_of_the_spread() -> None:
    values = np.random.default_rng(0).lognormal(3, 2, 500)
    column = Column("x", "number", mean=float(values.mean()), std=float(values.std()))
    assert np.abs(worth_stating(values, column) - values).max() <= values.std() / 100
