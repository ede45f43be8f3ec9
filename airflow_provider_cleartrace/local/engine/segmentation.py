"""Segmentation: clusters of rows for which the model has the same reasons, i.e. similar local gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # it ships no types

from airflow_provider_cleartrace.local.engine.coding import code_table
from airflow_provider_cleartrace.local.engine.errors import InputError
from airflow_provider_cleartrace.local.engine.explanation import explain
from airflow_provider_cleartrace.local.engine.figures import label_text
from airflow_provider_cleartrace.local.engine.model import Model
from airflow_provider_cleartrace.local.engine.personas import ClusteredRows, Persona, describe_clusters
from airflow_provider_cleartrace.local.engine.table import Table, column_array, is_missing

Progress = Callable[[float, str], None]

_SEARCH_ROWS = 10_000
"""Rows that clusterings are fitted to; more move centroids less than the choice of their number does."""
_QUALITY_ROWS = 2_000
"""Rows the silhouette is computed on, for it takes all pairs."""
_COST_OF_A_CLUSTER = 0.02
"""Silhouette that one more cluster has to earn: without it the search goes on splitting true regimes."""
_SMALL_SHARE = 0.05
"""A cluster below this share of the rows is hardly a segment ..."""
_COST_OF_SMALLNESS = 2.0
"""... and what is missing costs this much silhouette for every unit of share."""
_DIGITS = 9
"""Decimals kept of coordinates (about 1 in size), so that round-off cannot change the order of rows."""


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
    observed = None if target_values is None else _observed(model, target_values, len(rows))
    gradients = _gradients(model, rows)
    scale = _scale(gradients)
    points = _coordinates(gradients, scale)
    centroids = _search(points, range(min_clusters, max_clusters + 1), n_search_steps, random_state, progress)
    cluster_ids = _nearest(points, centroids)
    explanation = explain(model, rows)
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
    ordered = points[_canonical_order(points)]
    return Segmentation(
        n_clusters=len(centroids),
        quality=max(0.0, _silhouette(ordered, _nearest(ordered, centroids))),
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
    points = _coordinates(_gradients(model, table), np.array(segmentation.scale))
    return _nearest(points, np.array(segmentation.centroids))


def _gradients(model: Model, table: Table) -> NDArray[np.float64]:
    drivers = explain(model, table, raw_gradient=True).local_drivers
    return drivers * model.encoder.units(table)


def _scale(gradients: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the divisors (d,) that make coordinates: roots of standard deviations, times the overall size."""
    spread = np.sort(gradients, axis=0).std(axis=0)
    roots = np.sqrt(np.where(spread > 0, spread, 1.0))
    size = float(np.sqrt((spread**2 / roots**2).sum()))
    return np.asarray(roots * (size or 1.0))


def _coordinates(gradients: NDArray[np.float64], scale: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.round(gradients / scale, _DIGITS)


def _canonical_order(points: NDArray[np.float64]) -> NDArray[np.intp]:
    return np.lexsort(points.T[::-1])


def _spread_evenly(points: NDArray[np.float64], most: int) -> NDArray[np.float64]:
    if len(points) <= most:
        return points
    return points[np.linspace(0, len(points) - 1, most).round().astype(np.intp)]


def _search(
    points: NDArray[np.float64], numbers: range, n_steps: int, seed: int, progress: Progress | None
) -> NDArray[np.float64]:
    """Find the best centroids (k, d), the largest cluster first."""
    ordered = points[_canonical_order(points)]
    rows = _spread_evenly(ordered, _SEARCH_ROWS)
    different = len(np.unique(rows, axis=0))
    if different < numbers.start:
        raise InputError(
            f"the rows have only {different} different explanations, fewer than min_clusters = "
            f"{numbers.start}; lower min_clusters"
        )
    best: tuple[float, NDArray[np.float64]] | None = None
    # One thread: sums in another order would move centroids by round-off.
    with threadpool_limits(1):
        for step, k in enumerate(_schedule(range(numbers.start, min(numbers.stop, different + 1)), n_steps)):
            centroids = _fit_centroids(rows, k, seed + step)
            labels = _nearest(rows, centroids)
            sizes = np.bincount(labels, minlength=k)
            if sizes.min() > 0:
                smallness = max(0.0, _SMALL_SHARE - float(sizes.min()) / len(rows))
                score = _silhouette(rows, labels) - _COST_OF_A_CLUSTER * k - _COST_OF_SMALLNESS * smallness
                if best is None or score > best[0]:
                    best = score, centroids
            if progress is not None:
                progress((step + 1) / n_steps, f"tried {k} clusters")
    if best is None:
        raise InputError(
            f"no clustering into at least {numbers.start} clusters has rows in each; lower min_clusters"
        )
    sizes = np.bincount(_nearest(ordered, best[1]), minlength=len(best[1]))
    return best[1][np.lexsort((*best[1].T[::-1], -sizes))]


def _schedule(numbers: range, n_steps: int) -> Iterator[int]:
    """Deal the steps out evenly; fewer steps than numbers spread over the range."""
    if n_steps < len(numbers):
        yield from (numbers[round(place)] for place in np.linspace(0, len(numbers) - 1, n_steps))
    else:
        yield from (numbers[step % len(numbers)] for step in range(n_steps))


def _fit_centroids(rows: NDArray[np.float64], k: int, seed: int) -> NDArray[np.float64]:
    from sklearn.cluster import KMeans  # noqa: PLC0415  (heavy, and only a search needs it)

    fitted = KMeans(k, n_init=1, random_state=seed % 2**32).fit(rows)
    return np.asarray(fitted.cluster_centers_, dtype=np.float64)


def _nearest(points: NDArray[np.float64], centroids: NDArray[np.float64]) -> NDArray[np.intp]:
    """Find the nearest centroid of every row (n,), the first of equally near ones."""
    distances = np.stack([((points - centroid) ** 2).sum(axis=1) for centroid in centroids], axis=1)
    return np.asarray(distances.argmin(axis=1))


def _silhouette(rows: NDArray[np.float64], labels: NDArray[np.intp]) -> float:
    """Mean silhouette on evenly spread rows; 0 where it is undefined (one cluster, or every row its own)."""
    from sklearn.metrics import silhouette_score  # noqa: PLC0415  (heavy, and only a search needs it)

    sample = _spread_evenly(np.column_stack([rows, labels]), _QUALITY_ROWS)
    clusters = sample[:, -1].astype(np.intp)
    if not 1 < len(np.unique(clusters)) < len(clusters):
        return 0.0
    return float(silhouette_score(sample[:, :-1], clusters))


def _observed(model: Model, values: Sequence[Any] | NDArray[Any], n: int) -> NDArray[np.float64] | None:
    """Read target values as numbers (n,), class 1 of two as 1; None for labels that have no mean."""
    if len(values) != n:
        raise InputError(f"target_values has {len(values)} values for {n} rows")
    observed = column_array("target_values", values)
    present = observed[~is_missing(observed)]
    known = {label_text(label): position for position, label in enumerate(model.classes)}
    if model.task != "regression" and all(label_text(value) in known for value in present.tolist()):
        if model.task == "multiclass":
            return None
        gaps = is_missing(observed)
        return np.array(
            [
                np.nan if gap else known[label_text(value)]
                for value, gap in zip(observed.tolist(), gaps, strict=True)
            ],
            dtype=np.float64,
        )
    if observed.dtype != np.float64:
        if model.task == "regression" and all(isinstance(value, bool) for value in present):
            return np.array([np.nan if value is None else float(value) for value in observed])
        wanted = f"numbers or the classes {list(known)}" if known else "numbers"
        raise InputError(f"target_values must be {wanted}")
    return observed


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
