"""Which side of the decision a prediction is on: a class, or above or below the training median."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from airflow_provider_cleartrace.local.engine.errors import InputError
from airflow_provider_cleartrace.local.engine.figures import label_text, number
from airflow_provider_cleartrace.local.engine.model import Model

BELOW, ABOVE = 0, 1
"""The two outcomes of a regression: at most the training median prediction, and above it."""


@dataclass(frozen=True, eq=False)
class Outcomes:
    """The outcomes a model's predictions fall into; rules and scenarios speak of them.

    A classifier's outcomes are its classes, in the order of `Model.classes`. A regression has two: BELOW and
    ABOVE the median prediction of the reference rows.

    Attributes:
        model: the model.
        threshold: the median prediction of a regression, None for a classifier.
    """

    model: Model
    threshold: float | None

    @classmethod
    def of(cls, model: Model) -> Outcomes:
        """Find the outcomes of a model."""
        if model.task != "regression":
            return cls(model, None)
        return cls(model, float(np.median(model.predictions_from_scores(model.scores(model.reference)))))

    @property
    def count(self) -> int:
        """How many outcomes there are."""
        return len(self.model.classes) or 2

    def of_predictions(self, predictions: NDArray[np.float64]) -> NDArray[np.intp]:
        """Give the outcome of what `Model.predict` returned, (n,) or (n, k) -> (n,)."""
        if self.threshold is None:
            return self.model.predicted_classes(predictions)
        return (predictions > self.threshold).astype(np.intp)

    def check(self, outcome: int) -> None:
        """Refuse an outcome that does not exist.

        Raises:
            InputError: the outcome is not a position in 0 .. count - 1.
        """
        if isinstance(outcome, bool) or not isinstance(outcome, int) or not 0 <= outcome < self.count:
            meaning = "; ".join(f"{position}: {self.name(position)}" for position in range(self.count))
            raise InputError(f"desired_class must be one of {meaning}; got {outcome!r}")

    def name(self, outcome: int) -> str:
        """Name an outcome in plain words, such as "approved = yes" or "price above 182,000"."""
        target = self.model.schema.target
        if self.threshold is None:
            return f"{target} = {label_text(self.model.classes[outcome])}"
        side = "above" if outcome == ABOVE else "at most"
        return f"{target} {side} {number(self.threshold)}"

    def reported(self, predictions: NDArray[np.float64], outcome: int) -> NDArray[np.float64]:
        """Give a figure a row: the value, the probability of class 1, or of `outcome` (k > 2 classes)."""
        return predictions[:, outcome] if predictions.ndim == 2 else predictions
