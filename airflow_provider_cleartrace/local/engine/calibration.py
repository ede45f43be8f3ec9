"""From raw scores to predictions: Platt's sigmoid, a tempered softmax, or plain clipping."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_softmax, softmax

_LOG_SLOPES = (-7.0, 7.0)
"""Bounds of the logarithm of a slope: positive, so that ranking is kept, and finite if classes separate."""


class Calibration(Protocol):
    """A fixed map from raw scores (n, outputs) to predictions."""

    def predictions(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give (n,) values or probabilities of class 1, or (n, k) probabilities."""

    def to_json(self) -> dict[str, Any]:
        """Give the map as a JSON object that `calibration_from_json` reads."""


@dataclass(frozen=True)
class Identity:
    """Regression: the score is the prediction."""

    def predictions(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give the values (n,)."""
        return scores[:, 0]

    def to_json(self) -> dict[str, Any]:
        """Give the map as a JSON object."""
        return {"map": "identity"}


@dataclass(frozen=True)
class Clipped:
    """A distilled classifier: scores are estimated probabilities, brought back into [0, 1] (and to sum 1)."""

    def predictions(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give the probability of class 1 (n,), or of every class (n, k)."""
        clipped = np.clip(scores, 0.0, 1.0)
        if clipped.shape[1] == 1:
            return clipped[:, 0]
        total = clipped.sum(axis=1, keepdims=True)
        even = 1.0 / clipped.shape[1]
        return np.where(total > 0, clipped / np.where(total > 0, total, 1.0), even)

    def to_json(self) -> dict[str, Any]:
        """Give the map as a JSON object."""
        return {"map": "clipped"}


@dataclass(frozen=True)
class Platt:
    """Binary: P(class 1) = sigmoid(slope * score + intercept) with slope > 0 (Platt, 1999)."""

    slope: float
    intercept: float

    def predictions(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give the probability of class 1, (n,)."""
        return np.asarray(expit(self.slope * scores[:, 0] + self.intercept))

    def to_json(self) -> dict[str, Any]:
        """Give the map as a JSON object."""
        return {"map": "platt", "slope": self.slope, "intercept": self.intercept}


@dataclass(frozen=True)
class TemperedSoftmax:
    """Multiclass: softmax(rate * scores), rate = 1 / temperature (Guo et al., ICML 2017)."""

    rate: float

    def predictions(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give the probability of every class, (n, k)."""
        return np.asarray(softmax(self.rate * scores, axis=1))

    def to_json(self) -> dict[str, Any]:
        """Give the map as a JSON object."""
        return {"map": "tempered_softmax", "rate": self.rate}


def calibration_from_json(document: Mapping[str, Any]) -> Calibration:
    """Read the map that a `to_json` wrote."""
    if document["map"] == "platt":
        return Platt(document["slope"], document["intercept"])
    if document["map"] == "tempered_softmax":
        return TemperedSoftmax(document["rate"])
    return Clipped() if document["map"] == "clipped" else Identity()


def fit_platt(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> Platt:
    """Fit Platt's sigmoid by maximum likelihood with his smoothed targets.

    Args:
        scores: raw scores of held-out rows, (n,).
        positive: which of the rows are of class 1, (n,).
    """
    from scipy.optimize import minimize  # noqa: PLC0415  (kept out of the engine's import time)

    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    target = np.where(positive, (n_positive + 1) / (n_positive + 2), 1 / (n_negative + 2))
    # Scores of unit spread make one starting point and one set of bounds fit every scorer.
    centre, spread = float(scores.mean()), float(scores.std()) or 1.0
    z = (scores - centre) / spread

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        slope = np.exp(parameters[0])
        logit = slope * z + parameters[1]
        residual = expit(logit) - target
        value = np.mean(np.logaddexp(0, logit) - target * logit)
        return float(value), np.array([slope * np.mean(residual * z), np.mean(residual)])

    prior = np.log((n_positive + 1) / (n_negative + 1))
    best = minimize(loss, [0.0, prior], jac=True, method="L-BFGS-B", bounds=[_LOG_SLOPES, (None, None)])
    slope = float(np.exp(best.x[0])) / spread
    return Platt(slope, float(best.x[1]) - slope * centre)


def fit_tempered_softmax(scores: NDArray[np.float64], labels: NDArray[np.intp]) -> TemperedSoftmax:
    """Fit the rate by maximum likelihood with smoothed one-hot targets.

    Args:
        scores: raw scores of held-out rows, (n, k).
        labels: class positions, (n,).
    """
    from scipy.optimize import minimize_scalar  # noqa: PLC0415  (kept out of the engine's import time)

    n, k = scores.shape
    # The same prior weight as Platt's: one more row, spread over the classes.
    target = (np.eye(k)[labels] * n + 1 / k) / (n + 1)
    spread = float(scores.std()) or 1.0

    def loss(log_rate: float) -> float:
        return float(-np.mean((target * log_softmax(np.exp(log_rate) / spread * scores, axis=1)).sum(axis=1)))

    best = minimize_scalar(loss, bounds=_LOG_SLOPES, method="bounded")
    return TemperedSoftmax(float(np.exp(best.x)) / spread)
