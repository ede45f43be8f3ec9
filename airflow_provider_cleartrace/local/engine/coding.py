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
"""How fine a quantity is worth stating: at least this many rounded values per training standard deviation."""
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


def decimals(column: Column) -> int:
    """Give the number of decimals a value of this quantity is worth stating with (negative: tens, hundreds).

    The step is the power of ten at or below a hundredth of the training standard deviation, so that rounding
    loses nothing that the model could care about. Integers have none.
    """
    if column.kind == "integer":
        return 0
    sd = column.std or abs(column.mean or 0.0) or 1.0
    places = -math.floor(math.log10(sd / _STEPS_PER_SD))
    return min(places, 0) if column.kind == "datetime" and sd >= _DAY_SD else places
