"""The facts a narrative is told from: everything that is counted, once, as one JSON object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from airflow_provider_cleartrace.local.engine.coding import STRANGER, code_table
from airflow_provider_cleartrace.local.engine.errors import InputError
from airflow_provider_cleartrace.local.engine.figures import label_text
from airflow_provider_cleartrace.local.engine.model import Model
from airflow_provider_cleartrace.local.engine.observed import read_observed
from airflow_provider_cleartrace.local.engine.schema import Column
from airflow_provider_cleartrace.local.engine.segmentation import Segmentation
from airflow_provider_cleartrace.local.engine.table import Table

TOP_DRIVERS = 5
_EXPLAINED_ROWS = 5_000
"""Rows that directions of drivers are read from, spread evenly; means of more change no word."""
_LEVEL_ROWS = 5
"""Rows a level needs before it is called the best or the worst."""
_ONE_WAY = 0.7
"""Share of the reacting rows that must agree on a sign before a driver is said to raise or to lower."""
_NAMED_COLUMNS = 3

Facts = dict[str, Any]


def facts(
    model: Model,
    table: Table,
    *,
    kpi_name: str,
    context: str | None = None,
    segmentation: Segmentation | None = None,
) -> Facts:
    """Count what a narrative tells.

    Args:
        model: a fitted model.
        table: n >= 1 rows with the model's features, and the target if it is known.
        kpi_name: what to call the target.
        context: the caller's note.
        segmentation: segments to report.

    Returns:
        A JSON object with the keys "kpi", "context", "model", "data", "drivers", "segments" and "quality";
        shares are between 0 and 1.

    Raises:
        InputError: no row, missing feature columns, cells of the wrong type.
    """
    if not len(table):
        raise InputError("a narrative needs at least one row of data")
    return {
        "kpi": kpi_name,
        "context": context,
        "model": _model_facts(model),
        "data": _data_facts(model, table),
        "drivers": _driver_facts(model, table),
        "segments": None if segmentation is None else _segment_facts(segmentation),
        "quality": _quality_facts(model, table),
    }


def _model_facts(model: Model) -> Facts:
    return {
        "target": model.schema.target,
        "task": model.task,
        "classes": [label_text(label) for label in model.classes],
        "features": len(model.schema.features),
        "metrics": dict(model.metrics),
        "fidelity": None if model.fidelity is None else dict(model.fidelity),
        "notes": list(model.notes),
    }


def _data_facts(model: Model, table: Table) -> Facts:
    predictions = model.predict(table)
    found: Facts = {"rows": len(table), "mean_observed": None}
    if model.task == "multiclass":
        counts = np.bincount(predictions.argmax(axis=1), minlength=len(model.classes))
        found["predicted_shares"] = {
            label_text(label): float(count) / len(table)
            for label, count in zip(model.classes, counts, strict=True)
        }
    else:
        found["mean_prediction"] = float(predictions.mean())
        found["quartiles"] = [float(value) for value in np.quantile(predictions, (0.25, 0.75))]
    if model.task == "binary":
        found["predicted_share"] = float(model.predicted_classes(predictions).mean())
    if model.schema.target in table:
        observed = read_observed(
            model, f"column {model.schema.target!r}", table[model.schema.target], len(table)
        )
        if observed is not None and not np.isnan(observed).all():
            found["mean_observed"] = float(np.nanmean(observed))
            found["observed_rows"] = int((~np.isnan(observed)).sum())
    return found


def _driver_facts(model: Model, table: Table) -> list[Facts]:
    rows = table
    if len(table) > _EXPLAINED_ROWS:
        rows = table.take(np.linspace(0, len(table) - 1, _EXPLAINED_ROWS).round().astype(np.intp))
    gradients = model.feature_gradients(model.encode(rows))
    codes = code_table(rows, model.schema.features)
    importance = model.global_drivers
    order = [int(position) for position in np.argsort(-importance, kind="stable")[:TOP_DRIVERS]]
    return [
        {
            "feature": model.schema.features[position].name,
            "importance": float(importance[position]),
            **_push(model, model.schema.features[position], gradients[:, :, position], codes[:, position]),
        }
        for position in order
        if importance[position] > 0
    ]


def _push(model: Model, column: Column, gradients: NDArray[np.float64], codes: NDArray[np.float64]) -> Facts:
    """Say which way a feature pushes; gradients (n, outputs) as of `Model.feature_gradients`."""
    if model.task != "multiclass":
        return _direction(column, gradients[:, 0], codes)
    classes = [label_text(label) for label in model.classes]
    if column.is_levelled:
        means = {code: gradients[codes == code].mean(axis=0) for code in _common_levels(column, codes)}
        if not means:
            return {"direction": "unclear"}
        strongest = max(means, key=lambda code: float(means[code].max()))
        favoured = classes[int(means[strongest].argmax())]
        level = column.categories[strongest]
        return {"direction": "by level and class", "level": level, "speaks_for": favoured}
    total = gradients[~np.isnan(codes)].sum(axis=0)
    if not np.abs(total).sum():
        return {"direction": "unclear"}
    favoured, disfavoured = classes[int(total.argmax())], classes[int(total.argmin())]
    return {"direction": "by class", "speaks_for": favoured, "speaks_against": disfavoured}


def _common_levels(column: Column, codes: NDArray[np.float64]) -> list[int]:
    return [code for code in range(len(column.categories)) if (codes == code).sum() >= _LEVEL_ROWS]


def _direction(column: Column, gradients: NDArray[np.float64], codes: NDArray[np.float64]) -> Facts:
    """Say which way a feature pushes: by its sign for a quantity, by its levels otherwise."""
    if column.is_levelled:
        means = {
            column.categories[code]: float(gradients[codes == code].mean())
            for code in _common_levels(column, codes)
        }
        ranked = sorted(means, key=lambda level: means[level])
        if len(ranked) < 2:
            return {"direction": "unclear"}
        return {"direction": "by level", "highest_level": ranked[-1], "lowest_level": ranked[0]}
    present = gradients[~np.isnan(codes)]
    if not np.abs(present).sum():
        return {"direction": "unclear"}
    # Trees do not react at all in many rows: those say nothing about a direction.
    rising, falling = float((present > 0).mean()), float((present < 0).mean())
    agreement = max(rising, falling)
    if agreement < _ONE_WAY * (rising + falling):
        return {"direction": "mixed", "agreement": agreement}
    return {"direction": "raises" if rising > falling else "lowers", "agreement": agreement}


def _segment_facts(segmentation: Segmentation) -> Facts:
    return {
        "count": segmentation.n_clusters,
        "quality": segmentation.quality,
        "rows": len(segmentation.cluster_ids),
        "personas": [
            {
                "name": persona.persona_name,
                "size": persona.size,
                "share": persona.share,
                "mean_prediction": persona.mean_prediction,
                "top_drivers": list(persona.top_drivers),
            }
            for persona in segmentation.personas
        ],
    }


def _quality_facts(model: Model, table: Table) -> Facts:
    features = model.schema.features
    codes = code_table(table, features)
    gaps = np.isnan(codes).mean(axis=0)
    beyond = np.array(
        [
            (codes[:, position] == STRANGER).mean()
            if column.is_levelled
            else _outside(column, codes[:, position])
            for position, column in enumerate(features)
        ]
    )
    names = model.schema.feature_names
    return {
        "missing_cells": float(gaps.mean()),
        "most_missing": _largest(names, gaps),
        "columns_with_gaps": int((gaps > 0).sum()),
        "most_beyond_training": _largest(names, beyond),
        "columns_beyond_training": int((beyond > 0).sum()),
    }


def _outside(column: Column, codes: NDArray[np.float64]) -> float:
    low, high = column.minimum or 0.0, column.maximum or 0.0
    return float(((codes < low) | (codes > high)).mean())


def _largest(names: tuple[str, ...], shares: NDArray[np.float64]) -> Mapping[str, float]:
    order = np.argsort(-shares, kind="stable")[:_NAMED_COLUMNS]
    return {names[position]: float(shares[position]) for position in order if shares[position] > 0}
