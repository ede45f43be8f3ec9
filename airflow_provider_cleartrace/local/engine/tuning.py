"""The search for a model's parameters: seeded TPE over a few choices, judged on the validation rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from airflow_provider_cleartrace.local.engine.boosted import (
    BoostedTrees,
    BoostingParameters,
    fit_boosted_trees,
)
from airflow_provider_cleartrace.local.engine.encoding import Encoder
from airflow_provider_cleartrace.local.engine.rfm import FittedMachine, KernelMachine, fit_kernel_machine
from airflow_provider_cleartrace.local.engine.scaling import SCALINGS, Scaling
from airflow_provider_cleartrace.local.engine.schema import Column, Task
from airflow_provider_cleartrace.local.engine.table import Table

if TYPE_CHECKING:
    from optuna import Trial as OptunaTrial

Parameters = TypeVar("Parameters", "KernelParameters", BoostingParameters)
Fitted = TypeVar("Fitted")
Progress = Callable[[float, str], None]
Trial = dict[str, Any]

SEARCH_ROWS = 2000
"""Rows a kernel machine's search trains on; only the last fit sees all, for time grows with their cube."""

CROSS_VALIDATED_ROWS = 1000
"""Rows up to which a kernel machine's search judges by cross-validation: few validation rows judge badly."""

_FOLDS = 5
_RANDOM_STEPS = 4
"""Configurations drawn at random before TPE has enough to go by."""
_SEARCH_SHARE = 0.85
"""Part of a training's progress that the search takes."""
_BANDWIDTHS = (1.0, 100.0)
_RIDGES = (1e-4, 30.0)


@dataclass(frozen=True, eq=False)
class Split:
    """Positions of the training and of the validation rows."""

    training: NDArray[np.intp]
    validation: NDArray[np.intp]


@dataclass(frozen=True)
class KernelParameters:
    """What tuning searches over; the defaults do well on most small tables."""

    bandwidth: float = 10.0
    ridge: float = 0.05
    scaling: Scaling = "robust"


@dataclass(frozen=True, eq=False)
class Tuned(Generic[Fitted]):
    """The best predictor of a search, its encoder, and the log of every step."""

    encoder: Encoder
    predictor: Fitted
    trials: tuple[Trial, ...]


def silent(share: float, message: str) -> None:
    """Tell nobody of a progress."""


def split_rows(strata: NDArray[Any] | None, n: int, fraction: float, seed: int) -> Split:
    """Split n rows at random, within each stratum if strata are given; each stratum keeps a training row."""
    random = np.random.default_rng(seed)
    validation = np.zeros(n, dtype=np.bool_)
    groups = (
        [np.arange(n)] if strata is None else [np.flatnonzero(strata == level) for level in np.unique(strata)]
    )
    for rows in groups:
        held_out = min(max(1, round(fraction * len(rows))), len(rows) - 1)
        validation[random.permutation(rows)[:held_out]] = True
    return Split(np.flatnonzero(~validation), np.flatnonzero(validation))


def tune_kernel_machine(
    table: Table,
    features: tuple[Column, ...],
    targets: NDArray[np.float64],
    split: Split,
    *,
    steps: int,
    max_centers: int,
    seed: int,
    progress: Progress,
) -> Tuned[KernelMachine]:
    """Search bandwidth, ridge and scaling of a kernel machine by squared error on the validation rows.

    Up to CROSS_VALIDATED_ROWS rows the error is the mean over folds, of which the validation rows are one;
    the machine itself is in any case fitted to the training rows alone.

    Args:
        table: the feature columns of all rows.
        features: their schema.
        targets: (n, outputs), of about unit scale.
        split: which rows train and which judge.
        steps: configurations tried; the first is the default one.
        max_centers: see `fit_kernel_machine`.
        seed: of the search and of every fit.
        progress: told after each step.
    """
    encoders: dict[Scaling, Encoder] = {}
    matrices: dict[Scaling, NDArray[np.float64]] = {}

    def fit_on(rows: Split, parameters: KernelParameters) -> FittedMachine:
        scaling = parameters.scaling
        if scaling not in encoders:
            encoders[scaling] = Encoder.fit(table, features, scaling)
            matrices[scaling] = encoders[scaling].encode(table)
        matrix = matrices[scaling]
        return fit_kernel_machine(
            matrix[rows.training],
            targets[rows.training],
            matrix[rows.validation],
            targets[rows.validation],
            bandwidth=parameters.bandwidth,
            ridge=parameters.ridge,
            max_centers=max_centers,
            seed=seed,
        )

    searching = steps > 1 and len(split.training) > SEARCH_ROWS
    judges = [split]
    if searching:
        rows = np.random.default_rng(seed).choice(split.training, SEARCH_ROWS, replace=False)
        judges = [Split(np.sort(rows), split.validation)]
    elif steps > 1 and len(table) <= CROSS_VALIDATED_ROWS:
        judges += _further_folds(split, seed)

    def attempt(parameters: KernelParameters) -> tuple[FittedMachine, float]:
        first, *others = (fit_on(judge, parameters) for judge in judges)
        losses = [fitted.loss for fitted in (first, *others)]
        return first, float(np.average(losses, weights=[len(judge.validation) for judge in judges]))

    best, fitted, trials = _search(attempt, KernelParameters(), _suggest_kernel, steps, seed, progress)
    if searching:
        progress(
            0.9, f"fitting the best of {steps} configurations on all {len(split.training)} training rows"
        )
        fitted = fit_on(split, best)
    return Tuned(encoders[best.scaling], fitted.machine, trials)


def _further_folds(split: Split, seed: int) -> list[Split]:
    """Let parts of the training rows take the validation rows' place in turn."""
    shuffled = np.random.default_rng(seed).permutation(split.training)
    everyone = np.concatenate([split.training, split.validation])
    return [
        Split(np.setdiff1d(everyone, part), np.sort(part)) for part in np.array_split(shuffled, _FOLDS - 1)
    ]


def tune_boosted_trees(
    table: Table,
    features: tuple[Column, ...],
    targets: NDArray[np.float64],
    split: Split,
    *,
    task: Task,
    n_classes: int,
    steps: int,
    seed: int,
    progress: Progress,
) -> Tuned[BoostedTrees]:
    """Search the parameters of boosted trees by the task's loss on the validation rows.

    Args:
        table: the feature columns of all rows.
        features: their schema.
        targets: values or class positions, (n,).
        split: which rows train and which judge.
        task: chooses the objective.
        n_classes: number of classes.
        steps: configurations tried; the first is the default one.
        seed: of the search and of every fit.
        progress: told after each step.
    """
    encoder = Encoder.fit(table, features, "standard")
    matrix = encoder.encode(table)

    def attempt(parameters: BoostingParameters) -> tuple[BoostedTrees, float]:
        return fit_boosted_trees(
            encoder,
            matrix[split.training],
            targets[split.training],
            matrix[split.validation],
            targets[split.validation],
            task=task,
            n_classes=n_classes,
            parameters=parameters,
            seed=seed,
        )

    _, trees, trials = _search(attempt, BoostingParameters(), _suggest_boosting, steps, seed, progress)
    return Tuned(encoder, trees, trials)


def _search(
    attempt: Callable[[Parameters], tuple[Fitted, float]],
    default: Parameters,
    suggest: Callable[[OptunaTrial], Parameters],
    steps: int,
    seed: int,
    progress: Progress,
) -> tuple[Parameters, Fitted, tuple[Trial, ...]]:
    """Try the default, then what TPE suggests; keep the fit with the smallest loss (the first of equals)."""
    fitted, loss = attempt(default)
    best, best_loss = default, loss
    trials: list[Trial] = [{"params": asdict(default), "loss": loss}]
    progress(_SEARCH_SHARE / steps, f"tried configuration 1 of {steps}")
    if steps == 1:
        return best, fitted, tuple(trials)
    import optuna  # noqa: PLC0415  (slow to import, and a single configuration does without)

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=_RANDOM_STEPS))
    study.enqueue_trial(asdict(default))
    first = study.ask()
    suggest(first)
    study.tell(first, loss)
    while len(trials) < steps:
        trial = study.ask()
        parameters = suggest(trial)
        candidate, loss = attempt(parameters)
        study.tell(trial, loss)
        trials.append({"params": asdict(parameters), "loss": loss})
        if loss < best_loss:
            best, fitted, best_loss = parameters, candidate, loss
        progress(_SEARCH_SHARE * len(trials) / steps, f"tried configuration {len(trials)} of {steps}")
    return best, fitted, tuple(trials)


def _suggest_kernel(trial: OptunaTrial) -> KernelParameters:
    return KernelParameters(
        bandwidth=trial.suggest_float("bandwidth", *_BANDWIDTHS, log=True),
        ridge=trial.suggest_float("ridge", *_RIDGES, log=True),
        scaling=cast("Scaling", trial.suggest_categorical("scaling", SCALINGS)),
    )


def _suggest_boosting(trial: OptunaTrial) -> BoostingParameters:
    return BoostingParameters(
        learning_rate=trial.suggest_float("learning_rate", 0.02, 0.3, log=True),
        max_depth=trial.suggest_int("max_depth", 2, 8),
        min_child_weight=trial.suggest_float("min_child_weight", 1.0, 30.0, log=True),
        subsample=trial.suggest_float("subsample", 0.5, 1.0),
        colsample_bytree=trial.suggest_float("colsample_bytree", 0.4, 1.0),
        reg_lambda=trial.suggest_float("reg_lambda", 0.1, 30.0, log=True),
    )
