"""What two sides must have in common to be compared: classes, features, and numbers in every row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from airflow_provider_cleartrace.comparison.errors import ComparisonError
from airflow_provider_cleartrace.storage.layouts import Layout
from airflow_provider_cleartrace.storage.tables import numbers

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray


def check_alike(reference: tuple[str, Layout], current: tuple[str, Layout]) -> None:
    """Refuse outputs whose predictions or drivers are about different things.

    Args:
        reference: the name and the layout of the one.
        current: and of the other.

    Raises:
        ComparisonError: they predict other classes, or tell drivers of other features.
    """
    (_, one), (name, other) = reference, current
    if set(one.predictions) != set(other.predictions):
        raise ComparisonError(
            f"{name}: predicts {_listed(other.predictions)}, the reference {_listed(one.predictions)}:"
            " compare models of the same target and classes"
        )
    if one.features and other.features:
        check_features(one.features, other.features, name)


def check_features(reference: Sequence[str], current: Sequence[str], name: str) -> None:
    """Refuse drivers of different features.

    Raises:
        ComparisonError: names what is missing and what is new.
    """
    missing = [feature for feature in reference if feature not in set(current)]
    extra = [feature for feature in current if feature not in set(reference)]
    told = [
        f"{words} {_listed(features)}"
        for words, features in (("it lacks", missing), ("the reference lacks", extra))
        if features
    ]
    if told:
        raise ComparisonError(f"{name}: drivers of other features than the reference's: {'; '.join(told)}")


_LISTED = 5


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(map(repr, names[:_LISTED])) + more


def known_numbers(batch: pa.RecordBatch, columns: Sequence[str], uri: str) -> NDArray[np.float64]:
    """Columns as an (n, k) array of doubles.

    Raises:
        ComparisonError: a value is missing or infinite.
        StorageError: a column holds something else.
    """
    import numpy as np  # noqa: PLC0415  (loads where rows are touched, never with a DAG)

    values: NDArray[np.float64] = numbers(batch, columns, uri)
    for place, name in enumerate(columns):
        if np.isnan(values[:, place]).any():
            raise ComparisonError(f"{uri}: the column {name!r} has missing or infinite values")
    return values
