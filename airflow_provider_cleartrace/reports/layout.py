"""What the columns of a file of predictions or explanations are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from airflow_provider_cleartrace.reports.errors import ReportError
from airflow_provider_cleartrace.storage.tables import Table

PREDICTION, PROBABILITY, DRIVER, PERSONA = "prediction", "probability_", "driver_", "persona"
FEATURE, LONG_DRIVER = "feature", "driver"
_REASON = re.compile(r"reason_(\d+)_code")


@dataclass(frozen=True)
class Layout:
    """The columns of a table of predictions or explanations.

    Attributes:
        ids: columns that identify a row.
        answers: ``prediction``, or a ``probability_<class>`` for each class.
        drivers: feature to the column of its drivers; empty in the long layout and for predictions alone.
        long: one line for each row and feature, those of a row together and in the same order of features.
        reasons: how many reasons a row may have.
        persona: whether rows have one.
    """

    ids: tuple[str, ...]
    answers: tuple[str, ...]
    drivers: dict[str, str]
    long: bool
    reasons: int
    persona: bool

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes' labels, where each has a probability."""
        labels = tuple(name.removeprefix(PROBABILITY) for name in self.answers)
        return () if self.answers == (PREDICTION,) else labels

    @property
    def has_drivers(self) -> bool:
        """Whether rows are explained."""
        return self.long or bool(self.drivers)


def layout_of(table: Table, features: Sequence[str], id_columns: Sequence[str]) -> Layout:
    """Find out what a table holds.

    Args:
        table: what a Predict or Explain task wrote.
        features: the model's features.
        id_columns: columns that identify a row; by default the first.

    Raises:
        ReportError: it has no predictions, or lacks an id column or some drivers.
    """
    columns = table.columns
    answers = (
        [PREDICTION] if PREDICTION in columns else [name for name in columns if name.startswith(PROBABILITY)]
    )
    if not answers:
        raise ReportError(f"{table.uri}: no column 'prediction' or 'probability_<class>'")
    ids = list(id_columns) or [name for name in columns[:1] if name not in answers]
    if missing := [name for name in ids if name not in columns]:
        raise ReportError(f"{table.uri}: no id column {', '.join(map(repr, missing))}")
    if not ids:
        raise ReportError(f"{table.uri}: no column identifies a row; name one in id_columns")
    drivers = {name: f"{DRIVER}{name}" for name in features if f"{DRIVER}{name}" in columns}
    long = not drivers and FEATURE in columns and LONG_DRIVER in columns
    if drivers and len(drivers) < len(features):
        lost = next(name for name in features if name not in drivers)
        raise ReportError(f"{table.uri}: no driver of the feature {lost!r}: explanations of another model?")
    return Layout(
        ids=tuple(ids),
        answers=tuple(answers),
        drivers=drivers,
        long=long,
        reasons=sum(1 for name in columns if _REASON.fullmatch(name)),
        persona=PERSONA in columns and PERSONA not in ids,
    )
