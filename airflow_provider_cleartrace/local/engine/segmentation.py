"""Segmentation: clusters of rows for which the model has the same reasons, i.e. similar local gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from airflow_provider_cleartrace.local.engine.clustering import (
    Progress,
    coordinate_scale,
    coordinates,
    nearest,
    search_centroids,
)
from airflow_provider_cleartrace.local.engine.coding import code_table
from airflow_provider_cleartrace.local.engine.errors import InputError
from airflow_provider_cleartrace.local.engine.explanation import explain
from airflow_provider_cleartrace.local.engine.model import Model
from airflow_provider_cleartrace.local.engine.observed import read_observed
from airflow_provider_cleartrace.local.engine.personas import ClusteredRows, Persona, describe_clusters
from airflow_provider_cleartrace.local.engine.table import Table


@dataclass(frozen=True)
class Segmentation:
    """Clusters and their personas.

    Attributes:
        n_clusters: number of clusters, each with at least one row.
        quality: mean silhouette (Rousseeuw, 1987) of the clusters in explanation space, in [0, 1]; a negative
            one counts as 0. On at most 2,000 rows, spread evenly.
        cluster_ids: the cluster of every segmented row, in the table's order; 0 is the largest cluster.
        personas: one a cluster, in the order of the ids.
        feature_names: the features, in the order of the coordinates.
        scale: what each gradient is divided by, (d,).
        centroids: cluster centres in scaled gradients, (n_clusters, d).
        kpi_field: the caller's name for the target, or None.
        problem_context: the caller's note, kept with the result; no text is made of it.
    """

    n_clusters: int
    quality: float
    cluster_ids: tuple[int, ...]
    personas: tuple[Persona, ...]
    feature_names: tuple[str, ...]
    scale: tuple[float, ...]
    centroids: tuple[tuple[float, ...], ...]
    kpi_field: str | None = None
    problem_context: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Give the segmentation as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Segmentation:
        """Read what `to_json` wrote."""
        personas = tuple(
            Persona(**{**persona, "top_drivers": tuple(persona["top_drivers"])})
            for persona in document["personas"]
        )
        return cls(
            **{
                **document,
                "cluster_ids": tuple(document["cluster_ids"]),
                "personas": personas,
                "feature_names": tuple(document["feature_names"]),
                "scale": tuple(document["scale"]),
                "centroids": tuple(tuple(centroid) for centroid in document["centroids"]),
            }
        )


def segment(
    model: Model,
    table: Table | None = None,
    target_values: Sequence[Any] | NDArray[Any] | None = None,
    *,
    min_clusters: int = 4,
    max_clusters: int = 10,
    n_search_steps: int = 50,
    random_state: int = 42,
    kpi_field: str | None = None,
    problem_context: str | None = None,
    progress: Progress | None = None,
) -> Segmentation:
    """Cluster rows by k-means over their local gradients.

    A row's coordinates are the gradients of the explained score per training standard deviation, each divided
    by the root of its own standard deviation over the rows. That is half way between leaving gradients as
    they are, where the strongest driver decides alone, and standardising them, where features without
    influence count as much as any.

    The number of clusters is searched: `n_search_steps` seeded runs over all numbers, of which the best
    silhouette wins after a charge for every cluster and for small ones. Rows are put in a canonical order
    first, so that shuffling the table changes nothing.

    Args:
        model: a fitted model.
        table: n rows with the model's features; None for the model's reference rows.
        target_values: observed target or another KPI of these rows, (n,), only for the personas' figures.
        min_clusters: least number of clusters, at least 2.
        max_clusters: most clusters.
        n_search_steps: k-means runs.
        random_state: seed.
        kpi_field: what to call the target.
        problem_context: a note to keep with the result.
        progress: called with the share done and a message.

    Raises:
        InputError: fewer rows (or fewer different explanations) than clusters, invalid limits, target values
            of another length or that are neither numbers nor known classes, missing columns.
    """
    _check_limits(min_clusters, max_clusters, n_search_steps, random_state)
    rows = model.reference_table if table is None else table
    if len(rows) < min_clusters:
        raise InputError(
            f"{len(rows)} rows cannot make {min_clusters} clusters; lower min_clusters or give more rows"
        )
    observed = (
        None if target_values is None else read_observed(model, "target_values", target_values, len(rows))
    )
    explanation = explain(model, rows)
    gradients = explanation.local_drivers * model.encoder.units(rows)
    scale = coordinate_scale(gradients)
    points = coordinates(gradients, scale)
    centroids, quality = search_centroids(
        points, range(min_clusters, max_clusters + 1), n_search_steps, random_state, progress
    )
    cluster_ids = nearest(points, centroids)
    predicted = np.empty(0, dtype=np.intp)
    if model.task != "regression":
        predicted = model.predicted_classes(model.predict(rows))
    personas = describe_clusters(
        ClusteredRows(
            schema=model.schema,
            cluster_ids=cluster_ids,
            codes=code_table(rows, model.schema.features),
            gradients=gradients,
            predictions=explanation.predictions,
            predicted=predicted,
            observed=observed,
            kpi=kpi_field or model.schema.target,
        )
    )
    return Segmentation(
        n_clusters=len(centroids),
        quality=max(0.0, quality),
        cluster_ids=tuple(cluster_ids.tolist()),
        personas=personas,
        feature_names=model.schema.feature_names,
        scale=tuple(scale.tolist()),
        centroids=tuple(tuple(centroid) for centroid in centroids.tolist()),
        kpi_field=kpi_field,
        problem_context=problem_context,
    )


def assign(segmentation: Segmentation, model: Model, table: Table) -> NDArray[np.intp]:
    """Find the cluster of new rows: the nearest centroid in the stored scaling, (n,).

    Raises:
        InputError: the segmentation belongs to a model with other features, or columns are missing.
    """
    if segmentation.feature_names != model.schema.feature_names:
        raise InputError("the segmentation was made with another model: its features differ; segment again")
    gradients = explain(model, table).local_drivers * model.encoder.units(table)
    points = coordinates(gradients, np.array(segmentation.scale))
    return nearest(points, np.array(segmentation.centroids))


def _check_limits(min_clusters: int, max_clusters: int, n_search_steps: int, random_state: int) -> None:
    for name, value, least in (
        ("min_clusters", min_clusters, 2),
        ("max_clusters", max_clusters, 2),
        ("n_search_steps", n_search_steps, 1),
        ("random_state", random_state, 0),
    ):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise InputError(f"{name} must be a whole number of at least {least}, not {value!r}")
    if min_clusters > max_clusters:
        raise InputError(f"min_clusters = {min_clusters} is above max_clusters = {max_clusters}")
