"""What the columns of an explained output are, told by their names and places alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from airflow_provider_cleartrace.comparison.errors import ComparisonError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

PREDICTION, PROBABILITY, DRIVER = "prediction", "probability_", "driver_"
FEATURE, LONG_DRIVER, PERSONA, RULES = "feature", "driver", "persona", "rules"


class Table(Protocol):
    """Rows that can be read again and again, in batches."""

    @property
    def uri(self) -> str:
        """Its name in messages."""

    @property
    def columns(self) -> list[str]:
        """The names of its columns, in order."""

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Some columns of all rows."""


@dataclass(frozen=True)
class Layout:
    """The columns of an output.

    Attributes:
        predictions: ``prediction``, or one ``probability_<class>`` for each class.
        features: those whose drivers are told; none of predictions alone.
        long: one entry for each row and feature, rather than one a row.
        persona: whether each row has one.
        rules: whether each row has local rules.
    """

    predictions: tuple[str, ...]
    features: tuple[str, ...] = ()
    long: bool = False
    persona: bool = False
    rules: bool = False


def layout_of(table: Table) -> Layout:
    """Find out what an output holds. What stands before its predictions was carried along.

    Raises:
        ComparisonError: it has no rows, or no predictions.
    """
    names = table.columns
    begin, predictions = _predictions(names)
    if not predictions:
        raise ComparisonError(
            f"{table.uri}: no column {PREDICTION!r} or '{PROBABILITY}<class>': not what a Predict or Explain"
            " task wrote, or a file without rows"
        )
    answers = names[begin + len(predictions) :]
    long = FEATURE in answers and LONG_DRIVER in answers
    wide = tuple(name.removeprefix(DRIVER) for name in answers if name.startswith(DRIVER))
    return Layout(
        predictions=predictions,
        features=_long_features(table) if long else wide,
        long=long,
        persona=PERSONA in answers,
        rules=RULES in answers and not long,
    )


def _predictions(names: Sequence[str]) -> tuple[int, tuple[str, ...]]:
    """The place of the first prediction, and all of them."""
    if PREDICTION in names:
        return names.index(PREDICTION), (PREDICTION,)
    found = [place for place, name in enumerate(names) if name.startswith(PROBABILITY)]
    return (found[0], tuple(names[place] for place in found)) if found else (0, ())


def _long_features(table: Table) -> tuple[str, ...]:
    """The features of the first row, before the first of them comes again."""
    features: dict[str, None] = {}
    for batch in table.batches([FEATURE]):
        for name in batch.column(0).to_pylist():
            if name in features:
                return tuple(features)
            features[str(name)] = None
    return tuple(features)


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


def numbers(batch: pa.RecordBatch, columns: Sequence[str], uri: str) -> NDArray[np.float64]:
    """Columns as an (n, k) array of doubles.

    Raises:
        ComparisonError: a column holds something else, or a value is missing or infinite.
    """
    import numpy as np  # noqa: PLC0415  (loads where rows are touched, never with a DAG)
    import pyarrow as pa  # noqa: PLC0415

    values = np.empty((batch.num_rows, len(columns)))
    for place, name in enumerate(columns):
        try:
            column: Any = batch.column(name).cast(pa.float64())
        except pa.ArrowException:
            raise ComparisonError(f"{uri}: the column {name!r} holds something that is no number") from None
        values[:, place] = column.to_numpy(zero_copy_only=False)
        if not np.isfinite(values[:, place]).all():
            raise ComparisonError(f"{uri}: the column {name!r} has missing or infinite values")
    return values
