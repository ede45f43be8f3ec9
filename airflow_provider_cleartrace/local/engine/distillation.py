"""Distillation: from a table and a teacher's predictions to a student."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from airflow_provider_cleartrace.local.engine.calibration import Calibration, Clipped, Identity
from airflow_provider_cleartrace.local.engine.errors import InputError
from airflow_provider_cleartrace.local.engine.fit_config import FitConfig
from airflow_provider_cleartrace.local.engine.metrics import r_squared, validation_metrics
from airflow_provider_cleartrace.local.engine.model import Model
from airflow_provider_cleartrace.local.engine.schema import ModelSchema, Task, infer_schema
from airflow_provider_cleartrace.local.engine.table import Table
from airflow_provider_cleartrace.local.engine.target import MIN_ROWS, TaskFamily, read_target
from airflow_provider_cleartrace.local.engine.training import (
    FeatureSchema,
    approximation_notes,
    build_model,
    check_length,
    row_counts,
    tune_kernel,
)
from airflow_provider_cleartrace.local.engine.tuning import Progress, silent, split_rows

_TEACHER = "prediction"
"""The target's name in a student's schema."""
_SUM_TOLERANCE = 1e-3
"""How far a teacher's class probabilities may miss the sum 1, for services that round."""


def distill(
    table: Table,
    teacher: NDArray[Any],
    *,
    labels: Iterable[Any] | None = None,
    config: FitConfig | None = None,
    feature_schema: FeatureSchema | None = None,
    progress: Progress | None = None,
) -> Model:
    """Train a kernel machine that imitates a teacher's predictions on unlabelled rows.

    Teacher values of shape (n,) that all lie in [0, 1] are probabilities of class 1: the student is binary,
    regresses on the probability and predicts probabilities. Other values make a regression student; so do all
    values when `config.task` is "regression". Shape (n, k) with rows that sum to 1 makes a multiclass
    student.

    Args:
        table: the feature columns the teacher saw, n rows.
        teacher: its predictions.
        labels: true target values, one a row, gaps allowed. They only give the metrics and never change the
            student.
        config: see FitConfig; None: its defaults. A student is always of the type "xrfm".
        feature_schema: see `infer_schema`.
        progress: called with a share in (0, 1] and a message as the training goes on.

    Returns:
        A model whose `fidelity` holds, on held-out rows, "r2" of the student's raw scores against the teacher
        and, for classes, "agreement": the share of rows with the same predicted class.

    Raises:
        InputError: teacher predictions of the wrong shape, with gaps, or constant; labels that do not fit; a
            table or an option the caller can mend.
    """
    config = config or FitConfig()
    progress = progress or silent
    if config.base_model_type != "xrfm":
        raise InputError("a distilled student is always of base_model_type 'xrfm'")
    task, outputs = _read_teacher(teacher, len(table), config.task)
    features = infer_schema(table, feature_schema)
    split = split_rows(None, len(table), config.validation_fraction, config.random_state)
    tuned = tune_kernel(table, features, outputs, split, config, progress)
    progress(0.95, "measuring the fidelity on held-out rows")
    held_out = table.take(split.validation)
    scores = tuned.predictor.scores(tuned.encoder.encode(held_out))
    calibration: Calibration = Identity() if task == "regression" else Clipped()
    predictions = calibration.predictions(scores)
    fidelity = {"r2": r_squared(outputs[split.validation], scores)}
    if task != "regression":
        fidelity["agreement"] = _agreement(predictions, calibration.predictions(outputs[split.validation]))
    classes = () if task == "regression" else tuple(range(max(2, outputs.shape[1])))
    metrics: dict[str, float] = {}
    if labels is not None:
        truth = _read_labels(list(labels), len(table), task, len(classes))[split.validation]
        known = ~np.isnan(truth)
        if known.any():
            metrics = validation_metrics(task, truth[known], predictions[known])
    return build_model(
        ModelSchema(features, _TEACHER, task, classes),
        tuned,
        calibration,
        table,
        metrics={**metrics, **row_counts(split, 0)},
        notes=approximation_notes(tuned, split),
        config=config,
        fidelity=fidelity,
        progress=progress,
    )


def _read_teacher(
    teacher: NDArray[Any], n: int, wanted: TaskFamily | None
) -> tuple[Task, NDArray[np.float64]]:
    """Check a teacher's predictions and give the student's task and targets (n, outputs)."""
    try:
        predictions = np.asarray(teacher, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise InputError("the teacher's predictions must be numbers, one or k for each row") from None
    if predictions.ndim not in (1, 2):
        raise InputError(
            f"the teacher's predictions must be (n,) or (n, k), not {predictions.ndim}-dimensional"
        )
    check_length("the teacher's predictions", len(predictions), n)
    if n < MIN_ROWS:
        raise InputError(f"the table has {n} rows; training needs at least {MIN_ROWS}")
    bad = int((~np.isfinite(predictions)).reshape(n, -1).any(axis=1).sum())
    if bad:
        raise InputError(f"the teacher gave no finite prediction for {bad} of {n} rows")
    if predictions.ndim == 2 and predictions.shape[1] == 1:
        predictions = predictions[:, 0]
    if np.ptp(predictions, axis=0).max() == 0:
        raise InputError("the teacher predicts the same for every row; there is nothing to learn")
    within = predictions.min() >= 0 and predictions.max() <= 1
    if predictions.ndim == 2:
        if not within or np.abs(predictions.sum(axis=1) - 1).max() > _SUM_TOLERANCE:
            raise InputError(
                "the teacher's (n, k) predictions must be probabilities: rows in [0, 1] that sum to 1"
            )
        if wanted == "regression":
            raise InputError(
                "the teacher gives class probabilities (n, k), but task='regression' was asked for"
            )
        if predictions.shape[1] == 2:
            return "binary", predictions[:, 1:]
        return "multiclass", predictions
    if wanted == "classification" and not within:
        raise InputError("task='classification' was asked for, but the teacher's predictions leave [0, 1]")
    return ("binary" if within and wanted != "regression" else "regression"), predictions[:, None]


def _read_labels(labels: list[Any], n: int, task: Task, n_classes: int) -> NDArray[np.float64]:
    """Read labels as values or class positions (n,), NaN for a gap."""
    check_length("labels", len(labels), n)
    goal = read_target("labels", labels, "regression" if task == "regression" else "classification")
    if task != "regression" and len(goal.classes) > n_classes:
        raise InputError(f"labels hold {len(goal.classes)} classes, but the teacher knows {n_classes}")
    truth = np.full(n, np.nan)
    positions = goal.values
    if task != "regression" and set(goal.classes) <= set(range(n_classes)):
        positions = np.array([float(int(goal.classes[int(value)])) for value in goal.values])
    elif len(goal.classes) != n_classes and task != "regression":
        raise InputError(f"labels must be 0 to {n_classes - 1}, or have exactly {n_classes} classes")
    truth[goal.kept] = positions
    return truth


def _agreement(student: NDArray[np.float64], teacher: NDArray[np.float64]) -> float:
    if student.ndim == 2:
        return float((student.argmax(axis=1) == teacher.argmax(axis=1)).mean())
    return float(((student >= 0.5) == (teacher >= 0.5)).mean())
