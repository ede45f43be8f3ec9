"""K-means in explanation space: coordinates, the search for the number of clusters, and their quality."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from airflow_provider_cleartrace.local.engine.errors import InputError

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


def coordinate_scale(gradients: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the divisors (d,) that make coordinates: roots of standard deviations, times the overall size."""
    spread = np.sort(gradients, axis=0).std(axis=0)
    roots = np.sqrt(np.where(spread > 0, spread, 1.0))
    size = float(np.sqrt((spread**2 / roots**2).sum()))
    return np.asarray(roots * (size or 1.0))


def coordinates(gradients: NDArray[np.float64], scale: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale gradients (n, d) to the coordinates of explanation space, rounded."""
    return np.round(gradients / scale, _DIGITS)


def canonical_order(points: NDArray[np.float64]) -> NDArray[np.intp]:
    """Give the order (n,) of rows that does not depend on the order they came in."""
    return np.lexsort(points.T[::-1])


def _spread_evenly(points: NDArray[np.float64], most: int) -> NDArray[np.float64]:
    if len(points) <= most:
        return points
    return points[np.linspace(0, len(points) - 1, most).round().astype(np.intp)]


def search_centroids(
    points: NDArray[np.float64], numbers: range, n_steps: int, seed: int, progress: Progress | None
) -> tuple[NDArray[np.float64], float]:
    """Search the number of clusters and their centroids.

    Args:
        points: coordinates, (n, d).
        numbers: numbers of clusters allowed; cut where there are fewer different rows.
        n_steps: k-means runs, dealt out over the numbers.
        seed: seed of the first run.
        progress: called with the share done and a message.

    Returns:
        The best run's centroids, (k, d), the largest cluster first, and the silhouette of all points.

    Raises:
        InputError: fewer different rows than the smallest number.
    """
    ordered = points[canonical_order(points)]
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
            labels = nearest(rows, centroids)
            sizes = np.bincount(labels, minlength=k)
            if sizes.min() > 0:
                smallness = max(0.0, _SMALL_SHARE - float(sizes.min()) / len(rows))
                score = silhouette(rows, labels) - _COST_OF_A_CLUSTER * k - _COST_OF_SMALLNESS * smallness
                if best is None or score > best[0]:
                    best = score, centroids
            if progress is not None:
                progress((step + 1) / n_steps, f"tried {k} clusters")
        if best is None:
            raise InputError(
                f"no clustering into at least {numbers.start} clusters has rows in each; lower min_clusters"
            )
        sizes = np.bincount(nearest(ordered, best[1]), minlength=len(best[1]))
        centroids = best[1][np.lexsort((*best[1].T[::-1], -sizes))]
        return centroids, silhouette(ordered, nearest(ordered, centroids))


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


def nearest(points: NDArray[np.float64], centroids: NDArray[np.float64]) -> NDArray[np.intp]:
    """Find the nearest centroid of every row (n,), the first of equally near ones."""
    distances = np.stack([((points - centroid) ** 2).sum(axis=1) for centroid in centroids], axis=1)
    return np.asarray(distances.argmin(axis=1))


def silhouette(rows: NDArray[np.float64], labels: NDArray[np.intp]) -> float:
    """Mean silhouette on evenly spread rows; 0 where it is undefined (one cluster, or every row its own)."""
    from sklearn.metrics import silhouette_score  # noqa: PLC0415  (heavy, and only a search needs it)

    sample = _spread_evenly(np.column_stack([rows, labels]), _QUALITY_ROWS)
    clusters = sample[:, -1].astype(np.intp)
    if not 1 < len(np.unique(clusters)) < len(clusters):
        return 0.0
    return float(silhouette_score(sample[:, :-1], clusters))
