"""Local and global explanations from gradients of the raw score; what is explained is defined here, once.

Explained quantity: the raw score, before calibration or clipping. Regression: the predicted value. Binary:
the score of class 1. Multiclass: for drivers the score of the predicted class; for the AGOP the sum over all
classes.

Units: a quantity's derivative is taken per training standard deviation of its column, so that columns
compare. A category or boolean has no derivative; its entry is the contrast of the row's level against the
training mix.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from airflow_provider_cleartrace.local.engine.model import Model
from airflow_provider_cleartrace.local.engine.table import Table


@dataclass(frozen=True, eq=False)
class Explanation:
    """Predictions of n rows and their explanation over d features.

    Attributes:
        predictions: (n,): regression the value, binary the probability of class 1 (both equal
            `Model.predict`), multiclass the probability of the predicted class.
        local_agop: (n, d): the diagonal of each row's gradient outer product, i.e. squared gradients summed
            over outputs; their square root if asked for.
        local_drivers: (n, d), signed: positive pushes the explained score up.
        feature_names: the d features.
        warnings: `Model.warnings`, with every explanation.
    """

    predictions: NDArray[np.float64]
    local_agop: NDArray[np.float64]
    local_drivers: NDArray[np.float64]
    feature_names: tuple[str, ...]
    warnings: tuple[str, ...]


def explain(model: Model, table: Table, *, use_sqrt: bool = True, raw_gradient: bool = True) -> Explanation:
    """Predict and explain the rows of a table.

    Args:
        model: a fitted model.
        table: n rows with the model's features.
        use_sqrt: whether `local_agop` is the root of the squared gradients, in units of the score.
        raw_gradient: True: `local_drivers` is the derivative per unit of the column itself. False: that
            derivative times (value - training mean), which is in units of the score and compares between
            columns. Levels have the same contrast in both.

    Raises:
        InputError: missing feature columns, or cells of the wrong type.
    """
    encoded = model.encode(table)
    scores, gradients = model.scores_and_feature_gradients(encoded)
    predictions = model.predictions_from_scores(scores)
    local_agop = (gradients**2).sum(axis=1)
    explained = np.zeros(len(encoded), dtype=np.intp)
    if predictions.ndim == 2:
        explained = predictions.argmax(axis=1)
        predictions = predictions.max(axis=1)
    rows = np.arange(len(encoded))
    drivers = gradients[rows, explained]
    if raw_gradient:
        drivers = drivers / model.encoder.units(table)
    else:
        drivers = drivers * model.encoder.deviations(table)
    return Explanation(
        predictions=predictions,
        local_agop=np.sqrt(local_agop) if use_sqrt else local_agop,
        local_drivers=drivers,
        feature_names=model.schema.feature_names,
        warnings=model.warnings,
    )
