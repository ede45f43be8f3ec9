"""True targets of calibration rows as the library takes them: numbers, or the positions of classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from airflow_provider_cleartrace.explanations.errors import ExplanationError
from airflow_provider_cleartrace.explanations.rows import Threshold
from airflow_provider_cleartrace.explanations.values import Scalar

LEAST_ROWS = 30
"""Fewest calibration rows: with fewer the library finds hardly a rule, and intervals mean nothing."""


def numbers_of(targets: Sequence[Any], classes: Sequence[Scalar] | None) -> NDArray[Any]:
    """(n,) values, or for a classifier the positions of their classes.

    Raises:
        ExplanationError: a value that is no number, or no class of the model.
    """
    if classes is None:
        return _quantities(targets)
    positions = {_label(label): position for position, label in enumerate(classes)}
    if unknown := {_label(each) for each in targets} - positions.keys():
        raise ExplanationError(
            f"the calibration target has {len(unknown)} values that are no classes of the model;"
            f" its classes: {', '.join(map(repr, classes))}"
        )
    return np.array([positions[_label(each)] for each in targets], dtype=int)


def _quantities(targets: Sequence[Any]) -> NDArray[Any]:
    try:
        numbers = np.array(targets, dtype=float)
    except (TypeError, ValueError):
        raise ExplanationError(
            "the calibration target has values that are no numbers, and the model is a regression"
        ) from None
    if np.isinf(numbers).any():
        raise ExplanationError("the calibration target has an infinite value")
    return numbers


def check_enough(numbers: NDArray[Any], classes: Sequence[Scalar] | None, dropped: int) -> None:
    """Refuse targets that cannot calibrate.

    Args:
        numbers: as of :func:`numbers_of`.
        classes: the classes in the model's order; None for a regression.
        dropped: rows that were left out already, for missing values.

    Raises:
        ExplanationError: too few rows, or none of a class.
    """
    least = max(LEAST_ROWS, len(classes or ()))
    if len(numbers) < least:
        told = f" ({dropped} were left out for missing values)" if dropped else ""
        raise ExplanationError(f"{len(numbers)} calibration rows are too few{told}: {least} are needed")
    present = set(numbers.tolist())
    if absent := [label for position, label in enumerate(classes or ()) if position not in present]:
        raise ExplanationError(f"no calibration row has the class {absent[0]!r}")


def within(numbers: NDArray[np.float64], threshold: Threshold) -> NDArray[np.bool_]:
    """Which targets are at most the threshold, or above the first and at most the second of two."""
    below, above = threshold if isinstance(threshold, tuple) else (-math.inf, threshold)
    return (below < numbers) & (numbers <= above)


def _label(label: Any) -> Any:
    """A class label in a form that is equal whichever library it comes from."""
    plain = label.item() if isinstance(label, np.generic) else label
    return int(plain) if isinstance(plain, float) and plain.is_integer() else plain
