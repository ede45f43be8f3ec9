"""Training: from a table and a target, or a teacher's predictions, to a Model."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from airflow_provider_cleartrace.local.engine.calibration import (
    Calibration,
    Clipped,
    Identity,
    fit_platt,
    fit_tempered_softmax,
)
from airflow_provider_cleartrace.local.engine.errors import InputError
from airflow_provider_cleartrace.local.engine.metrics import r_squared, validation_metrics
from airflow_provider_cleartrace.local.engine.model import Model
from airflow_provider_cleartrace.local.engine.rfm import KernelMachine
from airflow_provider_cleartrace.local.engine.schema import Column, ModelSchema, Task, infer_schema
from airflow_provider_cleartrace.local.engine.table import Table
from airflow_provider_cleartrace.local.engine.target import MIN_ROWS, Target, TaskFamily, read_target
from airflow_provider_cleartrace.local.engine.tuning import (
    Progress,
    Split,
    Tuned,
    split_rows,
    tune_boosted_trees,
    tune_kernel_machine,
)

Mode = Literal["fast", "default", "thorough"]
BaseModelType = Literal["xrfm", "xgboost"]
FeatureSchema = Mapping[str, Mapping[str, Any]]

REFERENCE_ROWS = 2000
"""Rows a model keeps: enough for stable global drivers, rules and segments, and quick to explain."""

_STEPS: dict[Mode, int] = {"fast": 1, "default": 8, "thorough": 30}
_TEACHER = "prediction"
"""The target's name in a student's schema."""
_SUM_TOLERANCE = 1e-3
"""How far a teacher's class probabilities may miss the sum 1, for services that round."""


@dataclass(frozen=True)
class FitConfig:
    """How to train. Values are checked on construction.

    Attributes:
        mode: sets the number of tuning steps when it is not given: fast 1, default 8, thorough 30.
        n_hyperopt_steps: tuning steps, 1 to 500; None: by mode.
        base_model_type: "xrfm" (a kernel machine with a learned metric) or "xgboost".
        random_state: seed of the split, the search and the fits.
        validation_fraction: share of the rows held out, 0.05 to 0.5.
        max_centers: rows up to which a kernel machine is exact, 50 to 20,000; beyond, at most that many
            Nystroem centres, see `rfm.n_centers`.
        task: "regression" or "classification"; None: inferred, see `target.read_target`.
    """

    mode: Mode = "default"
    n_hyperopt_steps: int | None = None
    base_model_type: BaseModelType = "xrfm"
    random_state: int = 42
    validation_fraction: float = 0.2
    max_centers: int = 6000
    task: TaskFamily | None = None

    def __post_init__(self) -> None:
        _check_choice("mode", self.mode, get_args(Mode))
        _check_choice("base_model_type", self.base_model_type, get_args(BaseModelType))
        _check_choice("task", self.task, (None, *get_args(TaskFamily)))
        if self.n_hyperopt_steps is not None:
            _check_range("n_hyperopt_steps", self.n_hyperopt_steps, int, 1, 500)
        _check_range("random_state", self.random_state, int, 0, 2**32 - 1)
        _check_range("validation_fraction", self.validation_fraction, float, 0.05, 0.5)
        _check_range("max_centers", self.max_centers, int, 50, 20_000)

    @property
    def steps(self) -> int:
        """The number of tuning steps."""
        return _STEPS[self.mode] if self.n_hyperopt_steps is None else self.n_hyperopt_steps

    @classmethod
    def from_mapping(cls, options: Mapping[str, Any]) -> FitConfig:
        """Read options as they come over the wire.

        A random_state of None draws one, which the configuration then holds.

        Raises:
            InputError: an unknown key, or a value of the wrong type or out of range; the message names it.
        """
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(options) - set(known))
        if unknown:
            raise InputError(f"unknown training options {unknown}; known are {known}")
        if "random_state" in options and options["random_state"] is None:
            options = {**options, "random_state": secrets.randbelow(2**32)}
        return cls(**options)


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
    progress = progress or _silent
    values = list(target)
    features_only = table.select(name for name in table.names if name != target_name)
    _check_length(target_name, len(values), len(features_only))
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
    return _finished(
        ModelSchema(features, target_name, goal.task, goal.classes),
        tuned,
        calibration,
        rows,
        metrics={**metrics, **_row_counts(split, dropped)},
        notes=(*goal.notes, *_approximation_note(tuned, split)),
        config=config,
        fidelity=None,
        progress=progress,
    )


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
    progress = progress or _silent
    if config.base_model_type != "xrfm":
        raise InputError("a distilled student is always of base_model_type 'xrfm'")
    task, outputs = _read_teacher(teacher, len(table), config.task)
    features = infer_schema(table, feature_schema)
    split = split_rows(None, len(table), config.validation_fraction, config.random_state)
    tuned = _tune_kernel(table, features, outputs, split, config, progress)
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
    return _finished(
        ModelSchema(features, _TEACHER, task, classes),
        tuned,
        calibration,
        table,
        metrics={**metrics, **_row_counts(split, 0)},
        notes=_approximation_note(tuned, split),
        config=config,
        fidelity=fidelity,
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
    return _tune_kernel(rows, features, outputs, split, config, progress)


def _tune_kernel(
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


def _finished(
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
    _check_length("the teacher's predictions", len(predictions), n)
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
    _check_length("labels", len(labels), n)
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


def _row_counts(split: Split, dropped: int) -> dict[str, float]:
    return {
        "training_rows": len(split.training),
        "validation_rows": len(split.validation),
        "dropped_rows": dropped,
    }


def _approximation_note(tuned: Tuned[Any], split: Split) -> tuple[str, ...]:
    predictor = tuned.predictor
    if not isinstance(predictor, KernelMachine) or len(predictor.centers) == len(split.training):
        return ()
    return (
        f"The kernel machine has {len(predictor.centers)} centres for {len(split.training)} training rows.",
    )


def _check_length(what: str, found: int, rows: int) -> None:
    if found != rows:
        raise InputError(f"{what}: {found} values for {rows} rows")


def _check_choice(key: str, value: object, choices: tuple[object, ...]) -> None:
    if value not in choices:
        raise InputError(f"{key} must be one of {list(choices)}, not {value!r}")


def _check_range(key: str, value: object, kind: type[int] | type[float], low: float, high: float) -> None:
    fitting = isinstance(value, kind) or (kind is float and isinstance(value, int))
    if isinstance(value, bool) or not fitting or not low <= value <= high:  # type: ignore[operator]
        raise InputError(
            f"{key} must be {'an integer' if kind is int else 'a number'} from {low} to {high}, not {value!r}"
        )


def _silent(share: float, message: str) -> None:
    """Tell nobody."""
