"""Observed values of the target, or of another KPI, as numbers to take means of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from airflow_provider_cleartrace.local.engine.errors import InputError
from airflow_provider_cleartrace.local.engine.figures import label_text
from airflow_provider_cleartrace.local.engine.model import Model
from airflow_provider_cleartrace.local.engine.table import column_array, is_missing


def read_observed(
    model: Model, name: str, values: Sequence[Any] | NDArray[Any], n: int
) -> NDArray[np.float64] | None:
    """Read observed values of a target.

    Args:
        model: the model; its class labels are understood.
        name: what to call the values in messages.
        values: numbers, booleans or class labels; gaps allowed.
        n: how many there must be.

    Returns:
        Numbers (n,), NaN for gaps; a label of a binary model is 1 for class 1 and 0 otherwise. None for the
        labels of more than two classes, which have no mean.

    Raises:
        InputError: another number of values, or values that are neither numbers nor known classes.
    """
    if len(values) != n:
        raise InputError(f"{name} has {len(values)} values for {n} rows")
    observed = column_array(name, values)
    gaps = is_missing(observed)
    known = {label_text(label): float(position) for position, label in enumerate(model.classes)}
    cells = [None if gap else value for value, gap in zip(observed.tolist(), gaps, strict=True)]
    if known and all(value is None or label_text(value) in known for value in cells):
        if model.task == "multiclass":
            return None
        return np.array([np.nan if value is None else known[label_text(value)] for value in cells])
    if any(isinstance(value, str) for value in cells):
        raise InputError(f"{name} must be numbers" + (f" or the classes {list(known)}" if known else ""))
    return np.array([np.nan if value is None else float(value) for value in cells])
