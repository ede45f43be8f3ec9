"""What is asked of each row, and whether it can be answered."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real

from airflow_provider_cleartrace.explanations import filters as choosing
from airflow_provider_cleartrace.explanations.conjunctions import Conjunctions
from airflow_provider_cleartrace.explanations.errors import ExplanationError
from airflow_provider_cleartrace.explanations.models import KINDS
from airflow_provider_cleartrace.explanations.rows import Kind, Threshold
from airflow_provider_cleartrace.explanations.values import Scalar

CONFIDENCE = 0.9
"""Share of targets that the intervals of a regression are to hold, by default."""

MAX_LEVELS = 100
"""Most levels of a category that rules are made of: each takes a prediction a row, so that one such feature
costs a batch of 200 rows 20,000 predictions."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of each row.

    Attributes:
        kind: factual, alternative or fast.
        percentiles: low and high of a regression's intervals, in percent; an infinite one leaves that side
            open.
        threshold: explain P(target <= threshold), or P(a < target <= b), of a regression.
        filters: names of the alternatives to keep.
        conjunctions: how rules are joined; None: not at all.
        features_to_ignore: features that no rule is wanted of.
        focus_columns: the only features that rules are wanted of; None: all.
    """

    kind: Kind = "factual"
    percentiles: tuple[float, float] | None = None
    threshold: Threshold | None = None
    filters: tuple[str, ...] = ()
    conjunctions: Conjunctions | None = None
    features_to_ignore: tuple[str, ...] = ()
    focus_columns: tuple[str, ...] | None = None

    def check(self, feature_names: Sequence[str], classes: Sequence[Scalar] | None) -> None:
        """Refuse what cannot be answered, before anything is paid for.

        Raises:
            ExplanationError: the option is named.
        """
        if self.kind not in KINDS:
            raise ExplanationError(f"kind must be one of {', '.join(KINDS)}, not {self.kind!r}")
        choosing.check(self.filters, kind=self.kind)
        if self.conjunctions is not None and self.kind == "fast":
            raise ExplanationError("fast explanations have no conditions to join: leave conjunctions out")
        _check_threshold(self.threshold, classes)
        if self.percentiles is not None:
            _check_percentiles(self.percentiles)
            if classes is not None or self.threshold is not None:
                raise ExplanationError(
                    "percentiles and confidence are of a regression's intervals; a probability's interval"
                    " follows from the calibration alone"
                )
        for option, names in (
            ("features_to_ignore", self.features_to_ignore),
            ("focus_columns", self.focus_columns or ()),
        ):
            if unknown := [name for name in names if name not in feature_names]:
                raise ExplanationError(
                    f"{option}: {unknown[0]!r} is no feature of the model; its features:"
                    f" {', '.join(map(repr, feature_names))}"
                )
        if not self.wanted(feature_names):
            raise ExplanationError("features_to_ignore and focus_columns leave no feature to explain")

    def check_levels(self, counts: Mapping[str, int]) -> None:
        """Refuse rules about a category with so many levels that they would cost more than they tell.

        Args:
            counts: levels in the calibration data, of each category.

        Raises:
            ExplanationError: the feature is named.
        """
        if self.kind == "fast":
            return
        names = list(counts)
        if many := [names[index] for index in self.wanted(names) if counts[names[index]] > MAX_LEVELS]:
            raise ExplanationError(
                f"the category {many[0]!r} has {counts[many[0]]} levels, each of which takes a prediction of"
                f" every row; {MAX_LEVELS} are the most: group them, or name it in features_to_ignore"
            )

    @property
    def asked_percentiles(self) -> tuple[float, float]:
        """The percentiles asked for, or those of the usual confidence."""
        return self.percentiles or percentiles_of(CONFIDENCE)

    def wanted(self, feature_names: Sequence[str]) -> list[int]:
        """The positions of the features that rules are wanted of."""
        return [
            index
            for index, name in enumerate(feature_names)
            if name not in self.features_to_ignore
            and (self.focus_columns is None or name in self.focus_columns)
        ]


def percentiles_of(confidence: float) -> tuple[float, float]:
    """The percentiles that leave half of the rest out on each side.

    Raises:
        ExplanationError: not between 0 and 1.
    """
    if not _is_number(confidence) or not 0 < confidence < 1:
        raise ExplanationError(f"confidence must lie between 0 and 1, not {confidence!r}")
    tail = round((1 - confidence) / 2 * 100, 9)
    return tail, 100 - tail


def _check_threshold(threshold: Threshold | None, classes: Sequence[Scalar] | None) -> None:
    if threshold is None:
        return
    if classes is not None:
        raise ExplanationError("threshold is for regressions; this model is a classifier")
    bounds = threshold if isinstance(threshold, tuple) else (threshold,)
    are_numbers = all(_is_number(bound) and math.isfinite(bound) for bound in bounds)
    if not are_numbers or len(bounds) > 2 or list(bounds) != sorted(set(bounds)):
        raise ExplanationError(f"threshold must be a number, or two in rising order, not {threshold!r}")


def _check_percentiles(percentiles: tuple[float, float]) -> None:
    are_two = len(percentiles) == 2 and all(map(_is_number, percentiles))
    low, high = percentiles if are_two else (math.nan, math.nan)
    if not (low == -math.inf or 0 < low <= 50) or not (high == math.inf or 50 <= high < 100):
        raise ExplanationError(
            f"percentiles must be (low, high) with 0 < low <= 50 <= high < 100, not {percentiles}"
        )
    if math.isinf(low) and math.isinf(high):
        raise ExplanationError("percentiles: an interval needs at least one side")


def _is_number(value: object) -> bool:
    """Whether an argument is what its type says: a DAG's arguments come unchecked."""
    return isinstance(value, Real)
