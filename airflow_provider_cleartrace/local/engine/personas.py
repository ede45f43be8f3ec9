"""Personas: names and descriptions of clusters, made of what sets each one apart."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from airflow_provider_cleartrace.local.engine.figures import label_text, listing, number, percent
from airflow_provider_cleartrace.local.engine.schema import Column, ModelSchema
from airflow_provider_cleartrace.local.engine.traits import NOTABLE, Trait, traits

_NAME_TRAITS = 2
"""Traits in a name, unless more are needed to tell two clusters apart."""
_DESCRIBED_TRAITS = 3
_DESCRIBED_DRIVERS = 3
_ONE_WAY = 0.5
"""A driver has a direction when its mean gradient is at least this share of its mean absolute gradient."""


@dataclass(frozen=True)
class Persona:
    """One cluster, described.

    Attributes:
        cluster_id: 0 for the largest cluster.
        persona_name: unique within its segmentation.
        persona_description: a few sentences; every figure in them is counted on the segmented rows.
        size: number of rows.
        share: share of all rows.
        mean_prediction: mean predicted value, or probability of class 1; with more classes, of the predicted
            class.
        mean_target: mean observed target (share of class 1 for two classes); None if not known or not a
            number.
        top_drivers: the features whose gradients are largest in the cluster, largest first.
    """

    cluster_id: int
    persona_name: str
    persona_description: str
    size: int
    share: float
    mean_prediction: float
    mean_target: float | None
    top_drivers: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class ClusteredRows:
    """Segmented rows and everything that is said about them.

    Attributes:
        schema: the model's schema.
        cluster_ids: (n,).
        codes: the rows as of `code_table`, (n, d).
        gradients: derivative of the explained score per training standard deviation, (n, d).
        predictions: one figure a row, (n,), as of `Explanation.predictions`.
        predicted: predicted class positions, (n,); empty for a regression.
        observed: observed target as numbers, (n,), NaN for gaps; None if not known.
        kpi: what the target is called.
    """

    schema: ModelSchema
    cluster_ids: NDArray[np.intp]
    codes: NDArray[np.float64]
    gradients: NDArray[np.float64]
    predictions: NDArray[np.float64]
    predicted: NDArray[np.intp]
    observed: NDArray[np.float64] | None
    kpi: str


def describe_clusters(rows: ClusteredRows) -> tuple[Persona, ...]:
    """Name and describe every cluster, in the order of the ids."""
    groups = [rows.cluster_ids == cluster for cluster in range(int(rows.cluster_ids.max()) + 1)]
    features = rows.schema.features
    found = [traits(rows.codes, group, features) for group in groups]
    strengths = [np.abs(rows.gradients[group]).mean(axis=0) for group in groups]
    drivers = [np.argsort(-strength, kind="stable")[:_DESCRIBED_DRIVERS] for strength in strengths]
    drivers = [order[strength[order] > 0] for order, strength in zip(drivers, strengths, strict=True)]
    fallbacks = [
        f"driven by {features[order[0]].name}" if len(order) else "no driver stands out" for order in drivers
    ]
    outlooks = [_outlook_labels(rows, group) for group in groups]
    labels = [[trait.label for trait in own] + outlook for own, outlook in zip(found, outlooks, strict=True)]
    names = _distinct_names(labels, fallbacks)
    return tuple(
        Persona(
            cluster_id=cluster,
            persona_name=names[cluster],
            persona_description=" ".join(_sentences(rows, group, found[cluster], drivers[cluster])),
            size=int(group.sum()),
            share=float(group.mean()),
            mean_prediction=float(rows.predictions[group].mean()),
            mean_target=_mean(None if rows.observed is None else rows.observed[group]),
            top_drivers=tuple(features[position].name for position in drivers[cluster]),
        )
        for cluster, group in enumerate(groups)
    )


def _distinct_names(labels: list[list[str]], fallbacks: list[str]) -> list[str]:
    """Name clusters by their first labels, adding more where two would have the same name."""
    lengths = [_NAME_TRAITS] * len(labels)
    while True:
        names = [
            _sentence_case(", ".join(own[:length]) or fallback)
            for own, length, fallback in zip(labels, lengths, fallbacks, strict=True)
        ]
        counts = Counter(names)
        clashing = [index for index, name in enumerate(names) if counts[name] > 1]
        growing = [index for index in clashing if lengths[index] < len(labels[index])]
        if not growing:
            break
        for index in growing:
            lengths[index] += 1
    return [f"{name} (group {index + 1})" if index in clashing else name for index, name in enumerate(names)]


def _sentences(
    rows: ClusteredRows, group: NDArray[np.bool_], own: list[Trait], drivers: NDArray[np.intp]
) -> list[str]:
    sentences = [
        f"{int(group.sum()):,} of {len(group):,} rows ({percent(float(group.mean()))}).",
        _outlook(rows, group),
    ]
    if rows.observed is not None:
        inside, overall = _mean(rows.observed[group]), _mean(rows.observed)
        if inside is not None and overall is not None:
            sentences.append(_experience(rows, rows.observed, inside, overall))
    if own:
        sentences.append(
            f"What sets them apart: {'; '.join(trait.evidence for trait in own[:_DESCRIBED_TRAITS])}."
        )
    else:
        sentences.append(
            "Their features are like those of all rows; what differs is how the prediction reacts."
        )
    if len(drivers):
        reactions = [
            _reaction(rows.schema.features[position], rows.gradients[group, position]) for position in drivers
        ]
        sentences.append(f"Here the prediction depends most on {listing(reactions)}.")
    return sentences


def _outlook_labels(rows: ClusteredRows, group: NDArray[np.bool_]) -> list[str]:
    """Say in two or three words how the cluster is predicted, if it is predicted differently."""
    if rows.schema.task == "multiclass":
        return [
            f"mostly predicted {label_text(rows.schema.classes[np.bincount(rows.predicted[group]).argmax()])}"
        ]
    difference = float(rows.predictions[group].mean() - rows.predictions.mean())
    if abs(difference) < NOTABLE * float(rows.predictions.std()) or difference == 0:
        return []
    return [f"{'high' if difference > 0 else 'low'} predicted {rows.kpi}"]


def _outlook(rows: ClusteredRows, group: NDArray[np.bool_]) -> str:
    schema, mean, overall = rows.schema, float(rows.predictions[group].mean()), float(rows.predictions.mean())
    if schema.task == "regression":
        return f"The mean predicted {rows.kpi} is {number(mean)} ({number(overall)} over all rows)."
    if schema.task == "binary":
        outcome = f"{schema.target} = {label_text(schema.classes[1])}"
        figures = f"{percent(mean)} ({percent(overall)} over all rows)"
        return f"The mean predicted probability of {outcome} is {figures}."
    common = int(np.bincount(rows.predicted[group]).argmax())
    outcome = f"{schema.target} = {label_text(schema.classes[common])}"
    inside, overall = (
        float((rows.predicted[group] == common).mean()),
        float((rows.predicted == common).mean()),
    )
    shares = f"{percent(inside)} of them ({percent(overall)} of all rows)"
    return f"The most common prediction is {outcome}, for {shares}."


def _experience(rows: ClusteredRows, observed: NDArray[np.float64], inside: float, overall: float) -> str:
    if rows.schema.task == "binary" and np.isin(observed[~np.isnan(observed)], (0.0, 1.0)).all():
        outcome = f"{rows.kpi} = {label_text(rows.schema.classes[1])}"
        return f"Observed: {outcome} for {percent(inside)} ({percent(overall)} of all rows)."
    return f"The observed mean of {rows.kpi} is {number(inside)} ({number(overall)} over all rows)."


def _reaction(column: Column, gradients: NDArray[np.float64]) -> str:
    if column.is_levelled:
        return column.name
    mean = float(gradients.mean())
    if abs(mean) < _ONE_WAY * float(np.abs(gradients).mean()):
        return f"{column.name} (in a direction that varies)"
    return f"{column.name} (a higher value {'raises' if mean > 0 else 'lowers'} it)"


def _mean(values: NDArray[np.float64] | None) -> float | None:
    return None if values is None or np.isnan(values).all() else float(np.nanmean(values))


def _sentence_case(text: str) -> str:
    """Capitalise the first letter, but leave a feature's own name as given."""
    starts_with_a_word = text.split(" ", 1)[0] in ("high", "low", "recent", "early", "mostly", "driven", "no")
    return text[0].upper() + text[1:] if starts_with_a_word else text
