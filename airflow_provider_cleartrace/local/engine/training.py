"""Training: from a table and a target to a Model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from airflow_provider_cleartrace.local.engine.calibration import (
    Calibration,
    Identity,
    fit_platt,
    fit_tempered_softmax,
)
from airflow_provider_cleartrace.local.engine.errors import InputError
from airflow_provider_cleartrace.local.engine.fit_config import FitConfig
from airflow_provider_cleartrace.local.engine.metrics import validation_metrics
from airflow_provider_cleartrace.local.engine.model import Model
from airflow_provider_cleartrace.local.engine.rfm import KernelMachine
from airflow_provider_cleartrace.local.engine.schema import Column, ModelSchema, Task, infer_schema
from airflow_provider_cleartrace.local.engine.table import Table
from airflow_provider_cleartrace.local.engine.target import Target, read_target
from airflow_provider_cleartrace.local.engine.tuning import (
    Progress,
    Split,
    Tuned,
    silent,
    split_rows,
    tune_boosted_trees,
    tune_kernel_machine,
)

FeatureSchema = Mapping[str, Mapping[str, Any]]

REFERENCE_ROWS = 2000
"""Rows a model keeps: enough for stable global drivers, rules and segments, and quick to explain."""


def fit(
    table: Table,
    target: Iterable[Any],
    *,
    target_name: str,
    config: FitConfig | None = None,
    feature_schema: FeatureSchema | None = None,
    progress: Progress | None = None,
) -> Model:
    """Train a model on labelled rows.

    Rows without a target are left out and counted. The others are split at random (stratified by class) into
    training rows and validation rows; the latter choose the tuning step, fit the calibration of probabilities
    and give the model's metrics. Column statistics and encodings come from both, since they do not see the
    target.

    Args:
        table: the features; a column named like the target is ignored.
        target: one value a row.
        target_name: the target's name, for the schema and messages.
        config: see FitConfig; None: its defaults.
        feature_schema: see `infer_schema`.
        progress: called with a share in (0, 1] and a message as the training goes on.

    Raises:
        InputError: whatever the caller can mend about the table, the target or the options.
    """
    config = config or FitConfig()
    progress = progress or silent
    values = list(target)
    features_only = table.select(name for name in table.names if name != target_name)
    check_length(target_name, len(values), len(features_only))
    goal = read_target(target_name, values, config.task)
    rows = features_only.take(goal.kept)
    features = infer_schema(rows, feature_schema)
    strata = None if goal.task == "regression" else goal.values
    split = split_rows(strata, len(rows), config.validation_fraction, config.random_state)
    tuned = _tune(rows, features, goal, split, config, progress)
    progress(0.95, "calibrating and measuring on the validation rows")
    held_out = rows.take(split.validation)
    truth = goal.values[split.validation]
    scores = tuned.predictor.scores(tuned.encoder.encode(held_out))
    calibration = _calibrate(goal.task, scores, truth)
    metrics = validation_metrics(goal.task, truth, calibration.predictions(scores))
    dropped = int((~goal.kept).sum())
    return build_model(
        ModelSchema(features, target_name, goal.task, goal.classes),
        tuned,
        calibration,
        rows,
        metrics={**metrics, **row_counts(split, dropped)},
        notes=(*goal.notes, *approximation_notes(tuned, split)),
        config=config,
        fidelity=None,
        progress=progress,
    )


def _tune(
    rows: Table,
    features: tuple[Column, ...],
    goal: Target,
    split: Split,
    config: FitConfig,
    progress: Progress,
) -> Tuned[Any]:
    if config.base_model_type == "xgboost":
        return tune_boosted_trees(
            rows,
            features,
            goal.values,
            split,
            task=goal.task,
            n_classes=len(goal.classes),
            steps=config.steps,
            seed=config.random_state,
            progress=progress,
        )
    if goal.task == "multiclass":
        outputs = np.eye(len(goal.classes))[goal.values.astype(np.intp)]
    else:
        outputs = goal.values[:, None]
    return tune_kernel(rows, features, outputs, split, config, progress)


def tune_kernel(
    rows: Table,
    features: tuple[Column, ...],
    outputs: NDArray[np.float64],
    split: Split,
    config: FitConfig,
    progress: Progress,
) -> Tuned[KernelMachine]:
    """Fit on targets of unit scale, and give a machine that scores in the targets' own units."""
    shift, scale = outputs.mean(axis=0), float(outputs.std()) or 1.0
    tuned = tune_kernel_machine(
        rows,
        features,
        (outputs - shift) / scale,
        split,
        steps=config.steps,
        max_centers=config.max_centers,
        seed=config.random_state,
        progress=progress,
    )
    return Tuned(tuned.encoder, tuned.predictor.rescaled(scale, shift), tuned.trials)


def build_model(
    schema: ModelSchema,
    tuned: Tuned[Any],
    calibration: Calibration,
    rows: Table,
    *,
    metrics: Mapping[str, float],
    notes: tuple[str, ...],
    config: FitConfig,
    fidelity: Mapping[str, float] | None,
    progress: Progress,
) -> Model:
    """Keep a sample of the training rows with what was tuned and measured."""
    random = np.random.default_rng(config.random_state)
    sample = np.arange(len(rows))
    if len(rows) > REFERENCE_ROWS:
        sample = np.sort(random.choice(len(rows), REFERENCE_ROWS, replace=False))
    reference_table = rows.select(schema.feature_names).take(sample)
    model = Model(
        schema=schema,
        encoder=tuned.encoder,
        predictor=tuned.predictor,
        calibration=calibration,
        metrics=metrics,
        trials=tuned.trials,
        notes=notes,
        config=asdict(config),
        fidelity=fidelity,
        reference=tuned.encoder.encode(reference_table),
        reference_table=reference_table,
    )
    progress(1.0, "trained")
    return model


def _calibrate(task: Task, scores: NDArray[np.float64], truth: NDArray[np.float64]) -> Calibration:
    if task == "regression":
        return Identity()
    if task == "binary":
        return fit_platt(scores[:, 0], truth == 1)
    return fit_tempered_softmax(scores, truth.astype(np.intp))


def row_counts(split: Split, dropped: int) -> dict[str, float]:
    """Give the counts of rows that stand among a model's metrics."""
    return {
        "training_rows": len(split.training),
        "validation_rows": len(split.validation),
        "dropped_rows": dropped,
    }


def approximation_notes(tuned: Tuned[Any], split: Split) -> tuple[str, ...]:
    """Say when a kernel machine has fewer centres than training rows."""
    predictor = tuned.predictor
    if not isinstance(predictor, KernelMachine) or len(predictor.centers) == len(split.training):
        return ()
    return (
        f"The kernel machine has {len(predictor.centers)} centres for {len(split.training)} training rows.",
    )


def check_length(what: str, found: int, rows: int) -> None:
    """Refuse values that are not one a row."""
    if found != rows:
        raise InputError(f"{what}: {found} values for {rows} rows")
