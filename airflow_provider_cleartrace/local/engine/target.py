"""Reading the target: what task it asks for, its class labels, and which rows can be used."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from airflow_provider_cleartrace.local.engine.errors import InputError
from airflow_provider_cleartrace.local.engine.schema import Label, Task
from airflow_provider_cleartrace.local.engine.table import column_array, is_missing

TaskFamily = Literal["regression", "classification"]

MIN_ROWS = 10
"""Fewer rows cannot be split into training and validation rows."""
MAX_CLASSES = 50
"""More classes are, as a rule, an identifier or a number that was meant for regression."""
FEW_VALUES = 10
"""An integer target with no more distinct values than this gets a note: it may have been meant as classes."""


@dataclass(frozen=True, eq=False)
class Target:
    """A target that training can use.

    Attributes:
        task: regression, binary or multiclass.
        classes: the labels in order, as given (booleans, integers, numbers or texts); empty for regression.
        values: (n,), for the kept rows: the values, or class positions as floats.
        kept: (rows given,), mask of the rows that have a target.
        notes: what the caller should know.
    """

    task: Task
    classes: tuple[Label, ...]
    values: NDArray[np.float64]
    kept: NDArray[np.bool_]
    notes: tuple[str, ...]


def read_target(name: str, values: Iterable[Any], wanted: TaskFamily | None) -> Target:
    """Infer the task of a target and bring its values into shape.

    Texts, booleans and the numbers {0, 1} are classes. Every other numeric target is a regression, however
    few values it has, unless classification is asked for: a count or a rating is never turned into classes
    silently.

    Args:
        name: the target's name, for messages.
        values: one value a row; gaps drop the row.
        wanted: the task family asked for, None to infer it.

    Raises:
        InputError: no values, too few of them, only one distinct value, more than MAX_CLASSES classes, or a
            text target for a regression.
    """
    array = column_array(name, values)
    kept = ~is_missing(array)
    present = array[kept]
    if len(array) == 0:
        raise InputError("the table has no rows")
    if len(present) == 0:
        raise InputError(f"the target {name!r} has no values")
    if len(present) < MIN_ROWS:
        raise InputError(
            f"the target {name!r} has {len(present)} values; training needs at least {MIN_ROWS} rows"
        )
    notes = [f"{int((~kept).sum())} rows without a target value were left out."] if not kept.all() else []
    distinct = sorted(set(present.tolist()))
    if len(distinct) == 1:
        raise InputError(f"the target {name!r} has the same value in every row; there is nothing to learn")
    numeric = array.dtype == np.float64
    if wanted == "regression" or (wanted is None and numeric and distinct != [0.0, 1.0]):
        if isinstance(distinct[0], str):
            raise InputError(
                f"the target {name!r} holds texts, which a regression cannot predict; use classification"
            )
        if wanted is None and len(distinct) <= FEW_VALUES and all(float(v).is_integer() for v in distinct):
            notes.append(
                f"The target {name!r} was read as a number, though it has only {len(distinct)} distinct "
                'values; ask for task="classification" if they are classes.'
            )
        numbers = present.astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            if not np.isfinite(numbers.std()):
                raise InputError(f"the target {name!r} holds numbers too large to compute with; rescale it")
        return Target("regression", (), numbers, kept, tuple(notes))
    if len(distinct) > MAX_CLASSES:
        raise InputError(f"the target {name!r} has {len(distinct)} classes, more than {MAX_CLASSES}")
    labels = tuple(int(v) if numeric and float(v).is_integer() else v for v in distinct)
    positions = {value: float(position) for position, value in enumerate(distinct)}
    coded = np.array([positions[value] for value in present.tolist()])
    return Target("binary" if len(labels) == 2 else "multiclass", labels, coded, kept, tuple(notes))
