"""Tables as one matrix in the features' own units: what rules, scenarios and segments compute on."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from airflow_provider_cleartrace.local.engine.schema import Column
from airflow_provider_cleartrace.local.engine.table import Table

STRANGER = -1.0
"""The code of a level that the training table did not have."""

_STEPS_PER_SD = 100
"""Rounded values per training standard deviation, at least."""
_DIGITS = 3
"""Significant digits kept in any case: in a skewed column the standard deviation hides small values."""
_DAY_SD = 3.0
"""Days of spread from which a date is stated as a whole day."""


def code_table(table: Table, features: Sequence[Column]) -> NDArray[np.float64]:
    """Code the features of a table as one matrix.

    Args:
        table: n rows with at least the features' columns.
        features: d columns of a model.

    Returns:
        (n, d): quantities as numbers (datetimes in days), levels as their position in `categories`, STRANGER
        for a level that is not there, NaN for a gap.

    Raises:
        InputError: a column is absent, or a cell is of the wrong type.
    """
    codes = np.full((len(table), len(features)), np.nan)
    for position, column in enumerate(features):
        values = table[column.name]
        if not column.is_levelled:
            codes[:, position] = column.to_numbers(values)
            continue
        known = {level: float(code) for code, level in enumerate(column.categories)}
        codes[:, position] = [
            math.nan if level is None else known.get(level, STRANGER) for level in column.to_levels(values)
        ]
    return codes


def decode_levels(codes: NDArray[np.float64], column: Column) -> NDArray[np.object_]:
    """Turn codes (n,) of known levels back into texts."""
    levels = np.empty(len(column.categories), dtype=object)
    levels[:] = column.categories
    return levels[codes.astype(np.intp)]


def worth_stating(values: NDArray[np.float64], column: Column) -> NDArray[np.float64]:
    """Round values (...) of a quantity to what is worth stating; texts and counts then use the same value.

    Integers are whole, and dates whole days unless all dates lie within days. Other values keep three
    significant digits, and more where a hundredth of the training standard deviation would be lost.
    """
    if column.kind == "integer":
        return np.round(values)
    sd = column.std or abs(column.mean or 0.0) or 1.0
    places = np.full(np.shape(values), -np.floor(np.log10(sd / _STEPS_PER_SD)))
    if column.kind == "datetime":
        places = np.minimum(places, 0) if sd >= _DAY_SD else places
    else:
        sizes = np.abs(np.where(values == 0, 1.0, values))
        places = np.maximum(places, _DIGITS - 1 - np.floor(np.log10(sizes)))
    # Powers of ten are exact only upwards from 1: scaling by 0.01 would leave 0.30000000000000004.
    up, down = 10.0 ** np.maximum(places, 0), 10.0 ** np.maximum(-places, 0)
    return np.asarray(np.round(values * up / down) * down / up)
