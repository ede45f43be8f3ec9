"""The rows that are explained together, and what their explanations share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from airflow_provider_cleartrace.explanations import filters
from airflow_provider_cleartrace.explanations.values import Scalar

Kind = Literal["factual", "alternative", "fast"]

Threshold = float | tuple[float, float]
"""Probabilistic regression explains P(y <= t), or P(a < y <= b)."""


@dataclass(frozen=True)
class ExplainedRows:
    """Rows and what is asked of them.

    Attributes:
        kind: factual, alternative or fast.
        mode: what the model is.
        feature_names: the features, in the model's order.
        x_test: the rows, decoded.
        y_minmax: smallest and largest calibration target; class indexes for a classifier.
        low_high_percentiles: of a plain regression's intervals; None otherwise.
        y_threshold: of a probabilistic regression.
        focus_columns: indexes of the features that rules were asked for; None: all.
    """

    kind: Kind
    mode: Literal["classification", "regression"]
    feature_names: tuple[str, ...]
    x_test: tuple[tuple[Scalar, ...], ...] = field(repr=False)
    y_minmax: tuple[float, float]
    low_high_percentiles: tuple[float, float] | None
    y_threshold: Threshold | None
    focus_columns: tuple[int, ...] | None

    @property
    def is_probabilistic(self) -> bool:
        """Whether what is explained is a probability."""
        return self.mode == "classification" or self.y_threshold is not None

    @property
    def boundary(self) -> float | None:
        """The probability at which the decision changes; None for a quantity."""
        return filters.DECISION_BOUNDARY if self.is_probabilistic else None
