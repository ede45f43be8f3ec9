"""Which column of a result lies where: what row tasks write, and what reports and comparisons look for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from airflow_provider_cleartrace.storage.errors import StorageError

if TYPE_CHECKING:
    import pyarrow as pa

PREDICTION, PROBABILITY, DRIVER = "prediction", "probability_", "driver_"
FEATURE, LONG_DRIVER, PERSONA, RULES = "feature", "driver", "persona", "rules"
_REASON = re.compile(r"reason_\d+_code")


class Readable(Protocol):
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
    """The columns of predictions or explanations.

    Attributes:
        predictions: ``prediction``, or one ``probability_<class>`` for each class.
        features: those whose drivers are told; none of predictions alone.
        long: one line for each row and feature, those of a row together and in the order of ``features``.
        persona: whether each row has one.
        rules: whether each row has local rules.
        reasons: how many reasons a row may have.
    """

    predictions: tuple[str, ...]
    features: tuple[str, ...] = ()
    long: bool = False
    persona: bool = False
    rules: bool = False
    reasons: int = 0

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes' labels, where each has a probability."""
        if self.predictions == (PREDICTION,):
            return ()
        return tuple(name.removeprefix(PROBABILITY) for name in self.predictions)

    @property
    def drivers(self) -> list[str]:
        """The columns of the drivers, in the order of ``features``; of the long layout the only one."""
        return [LONG_DRIVER] if self.long else [f"{DRIVER}{name}" for name in self.features]

    def begins(self, batch: pa.RecordBatch) -> Any:
        """Which lines of the long layout begin a row: those of the first feature, as an Arrow mask."""
        import pyarrow.compute as pc  # noqa: PLC0415  (loads where files are touched, never with a DAG)

        return pc.equal(batch.column(FEATURE), self.features[0])


def layout_of(table: Readable) -> Layout:
    """Find out what a result holds. What stands before its predictions was carried along.

    Raises:
        StorageError: it has no rows, or no predictions.
    """
    names = table.columns
    begin, predictions = _predictions(names)
    if not predictions:
        raise StorageError(
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
        reasons=sum(1 for name in answers if _REASON.fullmatch(name)),
    )


def _predictions(names: Sequence[str]) -> tuple[int, tuple[str, ...]]:
    """The place of the first prediction, and all of them."""
    if PREDICTION in names:
        return names.index(PREDICTION), (PREDICTION,)
    found = [place for place, name in enumerate(names) if name.startswith(PROBABILITY)]
    return (found[0], tuple(names[place] for place in found)) if found else (0, ())


def _long_features(table: Readable) -> tuple[str, ...]:
    """The features of the first row, before the first of them comes again."""
    features: dict[str, None] = {}
    for batch in table.batches([FEATURE]):
        for name in batch.column(0).to_pylist():
            if name in features:
                return tuple(features)
            features[str(name)] = None
    return tuple(features)
