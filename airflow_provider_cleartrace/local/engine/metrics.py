"""Held-out figures of merit, named after the rows they were measured on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from airflow_provider_cleartrace.local.engine.schema import Task

_RELIABILITY_BINS = 10
"""Bins of equal width over [0, 1] in which a probability is compared with what happened."""
_SMALLEST_PROBABILITY = 1e-15
"""Keeps the logarithm of a certain but wrong prediction finite."""


def validation_metrics(
    task: Task, truth: NDArray[np.float64], predictions: NDArray[np.float64]
) -> dict[str, float]:
    """Measure predictions on the validation rows.

    These rows chose the tuning step and fitted the calibration, so the figures are slightly optimistic.

    Args:
        task: chooses the figures.
        truth: values, or class positions, (n,).
        predictions: what a model predicts for the rows.

    Returns:
        Regression: validation_r2, validation_rmse. Binary: validation_auc (absent if only one class occurs),
        validation_accuracy, validation_log_loss, validation_brier, validation_calibration_error.
        Multiclass: validation_accuracy, validation_log_loss, validation_calibration_error (of the predicted
        class's probability).
    """
    if task == "regression":
        rmse = float(np.sqrt(np.mean((truth - predictions) ** 2)))
        return {"validation_r2": r_squared(truth, predictions), "validation_rmse": rmse}
    positions = truth.astype(np.intp)
    probabilities = np.column_stack([1 - predictions, predictions]) if task == "binary" else predictions
    guesses = (predictions >= 0.5).astype(np.intp) if task == "binary" else predictions.argmax(axis=1)
    of_truth = np.clip(probabilities[np.arange(len(positions)), positions], _SMALLEST_PROBABILITY, 1.0)
    figures = {
        "validation_accuracy": float((guesses == positions).mean()),
        "validation_log_loss": float(-np.log(of_truth).mean()),
    }
    if task == "multiclass":
        figures["validation_calibration_error"] = calibration_error(
            predictions.max(axis=1), guesses == positions
        )
    if task == "binary":
        figures["validation_calibration_error"] = calibration_error(predictions, positions == 1)
        figures["validation_brier"] = float(np.mean((predictions - positions) ** 2))
        if 0 < positions.sum() < len(positions):
            figures["validation_auc"] = area_under_curve(positions == 1, predictions)
    return figures


def r_squared(truth: NDArray[np.float64], predictions: NDArray[np.float64]) -> float:
    """Give the coefficient of determination over all entries; 0.0 when the truth is constant."""
    spread = float(np.sum((truth - truth.mean(axis=0)) ** 2))
    return 1.0 - float(np.sum((truth - predictions) ** 2)) / spread if spread > 0 else 0.0


def calibration_error(probabilities: NDArray[np.float64], happened: NDArray[np.bool_]) -> float:
    """Give the expected calibration error (Naeini, Cooper and Hauskrecht, AAAI 2015).

    The rows are binned by probability; in each bin the mean probability misses the share of rows where it
    happened by some gap. The error is the mean gap, weighted by the bins' sizes: 0 for perfect reliability.
    """
    bins = np.minimum((probabilities * _RELIABILITY_BINS).astype(np.intp), _RELIABILITY_BINS - 1)
    misses = np.bincount(bins, probabilities - happened, minlength=_RELIABILITY_BINS)
    return float(np.abs(misses).sum() / len(probabilities))


def area_under_curve(positive: NDArray[np.bool_], scores: NDArray[np.float64]) -> float:
    """Give the area under the ROC curve, by ranks with ties shared (Mann-Whitney)."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    return float((ranks[positive].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))
