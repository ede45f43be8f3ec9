"""Boosted trees (xgboost) as a scorer with gradients: a stated finite difference, never a Shapley value.

A tree's derivative is zero almost everywhere, so the gradient of a quantity is the central difference over
half a training standard deviation to each side. That is exactly the derivative averaged over that box, and it
is what the model does when the value moves by a typical amount. Levels take exact differences.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from airflow_provider_cleartrace.local.engine.encoding import Encoder, QuantityBlock
from airflow_provider_cleartrace.local.engine.schema import Task

if TYPE_CHECKING:
    from xgboost import Booster

STEP = 0.5
"""Half width of the difference, in training standard deviations: smaller steps see single splits."""

_FILE = "booster.json"
_MAX_ROUNDS = 500
_PATIENCE = 30
"""Rounds without a better validation loss that end the boosting."""
_SMALL_PROBLEM = 5000
"""Rows up to which one thread is faster than several."""
_MAX_THREADS = 4


@dataclass(frozen=True, eq=False)
class BoostedTrees:
    """A fitted booster; its scores are margins: log odds of class 1 or of every class, or the value.

    Attributes:
        booster: xgboost's own model.
        encoder: the encoder of its rows, with the "standard" scaling: one encoded unit is one standard
            deviation.
    """

    kind: ClassVar[str] = "xgboost"

    booster: Booster
    encoder: Encoder

    def scores(self, encoded: NDArray[np.float64]) -> NDArray[np.float64]:
        """Score rows, (n, p) -> (n, outputs)."""
        # For no rows xgboost forgets the number of outputs; one row of zeros brings it back.
        rows = np.ascontiguousarray(encoded) if len(encoded) else np.zeros((1, encoded.shape[1]))
        margin = self.booster.inplace_predict(rows, predict_type="margin")
        return np.asarray(margin, dtype=np.float64).reshape(len(rows), -1)[: len(encoded)]

    def gradients(self, encoded: NDArray[np.float64]) -> NDArray[np.float64]:
        """Difference the scores, (n, p) -> (n, outputs, p).

        Quantity: (f(x + h) - f(x - h)) / (distance moved), h = STEP standard deviations, for an integer
        column rounded to whole units and at least 1; both ends clipped to the training range; 0 where that
        leaves no distance. Its gap mark: f(row with the gap) - f(row with the training mean). Level: f(row
        with that level) - f(row), so that contracting with (level - frequencies) is the exact contrast of the
        row's level against the training mix.
        """
        return self.scores_and_gradients(encoded)[1]

    def scores_and_gradients(
        self, encoded: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Give `scores` and `gradients` together, (n, outputs) and (n, outputs, p)."""
        base = self.scores(encoded)
        gradients = np.zeros((len(encoded), base.shape[1], encoded.shape[1]))
        for block, group in zip(self.encoder.blocks, self.encoder.groups, strict=True):
            first = group.start
            if isinstance(block, QuantityBlock):
                down, up = _neighbours(block, encoded[:, first])
                moved = np.where(up > down, up - down, np.inf)[:, None]
                difference = self._with(encoded, {first: up}) - self._with(encoded, {first: down})
                gradients[:, :, first] = difference / moved
                if block.marks_gaps:
                    mean = block.curve.forward(np.array([block.column.mean]))[0]
                    gap = self._with(encoded, {first: mean, first + 1: 1.0})
                    gradients[:, :, first + 1] = gap - self._with(encoded, {first: mean, first + 1: 0.0})
            else:
                others = dict.fromkeys(range(group.start, group.stop), 0.0)
                for level in others:
                    gradients[:, :, level] = self._with(encoded, {**others, level: 1.0}) - base
        return base, gradients

    def save(self, folder: Path) -> None:
        """Write the booster in xgboost's own JSON format."""
        self.booster.save_model(folder / _FILE)

    @classmethod
    def load(cls, folder: Path, encoder: Encoder) -> BoostedTrees:
        """Read what `save` wrote."""
        from xgboost import Booster  # noqa: PLC0415  (heavy, and not every model is boosted)

        booster = Booster(params={"nthread": 1})
        booster.load_model(folder / _FILE)
        return cls(booster, encoder)

    def _with(
        self, encoded: NDArray[np.float64], columns: Mapping[int, float | NDArray[np.float64]]
    ) -> NDArray[np.float64]:
        """Score the rows with some encoded columns replaced."""
        moved = encoded.copy()
        for column, values in columns.items():
            moved[:, column] = values
        return self.scores(moved)


def _neighbours(
    block: QuantityBlock, encoded: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give the two encoded values between which a quantity is differenced, (n,) each."""
    column, curve = block.column, block.curve
    low, high = curve.forward(np.array([column.minimum, column.maximum]))
    if column.kind == "integer":
        # Trees split at whole values: a fractional step would miss the split on one side of the value.
        sd, mean = column.std or 0.0, column.mean or 0.0
        whole = np.rint(encoded * sd + mean)
        step = max(1.0, round(STEP * sd))
        down, up = curve.forward(whole - step), curve.forward(whole + step)
    else:
        down, up = encoded - STEP, encoded + STEP
    return np.maximum(down, low), np.minimum(up, high)


@dataclass(frozen=True)
class BoostingParameters:
    """What tuning searches over; the defaults are a cautious model for small tables."""

    learning_rate: float = 0.08
    max_depth: int = 4
    min_child_weight: float = 3.0
    subsample: float = 0.8
    colsample_bytree: float = 0.8
    reg_lambda: float = 1.0


def fit_boosted_trees(
    encoder: Encoder,
    encoded: NDArray[np.float64],
    targets: NDArray[np.float64],
    validation: NDArray[np.float64],
    validation_targets: NDArray[np.float64],
    *,
    task: Task,
    n_classes: int,
    parameters: BoostingParameters,
    seed: int,
) -> tuple[BoostedTrees, float]:
    """Boost trees until the validation loss stops falling, and keep the best round.

    Args:
        encoder: the rows' encoder, "standard" scaling.
        encoded: training rows, (n, p).
        targets: values or class positions, (n,).
        validation: rows that stop the boosting, (v, p).
        validation_targets: (v,).
        task: chooses the objective.
        n_classes: number of classes (ignored for regression).
        parameters: the booster's parameters.
        seed: draws the rows and columns of every round.

    Returns:
        The trees and their validation loss: root mean squared error, or log loss.
    """
    import xgboost  # noqa: PLC0415  (heavy, and not every model is boosted)

    objectives: dict[Task, dict[str, Any]] = {
        "regression": {"objective": "reg:squarederror", "eval_metric": "rmse"},
        "binary": {"objective": "binary:logistic", "eval_metric": "logloss"},
        "multiclass": {"objective": "multi:softprob", "eval_metric": "mlogloss", "num_class": n_classes},
    }
    threads = 1 if len(encoded) <= _SMALL_PROBLEM else min(_MAX_THREADS, os.cpu_count() or 1)
    log: dict[str, dict[str, list[float]]] = {}
    booster = xgboost.train(
        {**objectives[task], **parameters.__dict__, "seed": seed, "nthread": threads, "tree_method": "hist"},
        xgboost.DMatrix(encoded, label=targets, nthread=threads),
        num_boost_round=_MAX_ROUNDS,
        evals=[(xgboost.DMatrix(validation, label=validation_targets, nthread=threads), "validation")],
        early_stopping_rounds=_PATIENCE,
        evals_result=log,
        verbose_eval=False,
    )
    losses = next(iter(log["validation"].values()))
    return BoostedTrees(booster[: booster.best_iteration + 1], encoder), float(min(losses))
