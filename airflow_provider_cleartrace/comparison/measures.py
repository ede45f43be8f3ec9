"""The measures of drift: population stability index, total variation, Spearman's rank correlation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Counts = NDArray[np.int64]
    Floats = NDArray[np.float64]

EMPTY_BIN_ROWS = 0.5
"""Rows that an empty bin counts as, so that the logarithm is finite: fewer than one could have shown."""


def population_stability_index(reference: Counts, current: Counts) -> float:
    """The sum over bins of (c - r) ln(c / r) for the shares r and c of rows in a bin; 0 for equal shares.

    An empty bin counts as half a row of its side; one that is empty on both sides counts nothing. The index
    is the symmetric divergence of Jeffreys (Proc. R. Soc. A 186, 1946), used for scorecards by Siddiqi
    (Credit Risk Scorecards, 2006).

    Args:
        reference: rows in each of b bins, some of them above 0.
        current: rows in the same bins, some of them above 0.
    """
    import numpy as np  # noqa: PLC0415  (loads where figures are computed, never with a DAG)

    used = (reference > 0) | (current > 0)
    r = np.maximum(reference[used], EMPTY_BIN_ROWS) / reference.sum()
    c = np.maximum(current[used], EMPTY_BIN_ROWS) / current.sum()
    return float(np.sum((c - r) * np.log(c / r)))


def index_by_chance(reference: Counts, current: Counts) -> float:
    """The index that two samples of one population have on average: (b - 1) (1/n + 1/m) for b bins in use.

    The index times n m / (n + m) then follows a chi-squared distribution with b - 1 degrees of freedom
    (Yurdakul and Naranjo, Journal of Risk Model Validation 14, 2020).
    """
    used = int(((reference > 0) | (current > 0)).sum())
    return (used - 1) * (1 / int(reference.sum()) + 1 / int(current.sum()))


def total_variation(reference: Floats, current: Floats) -> float:
    """Half the sum of the absolute differences of shares: the share that would have to move, in [0, 1]."""
    import numpy as np  # noqa: PLC0415  (loads where figures are computed, never with a DAG)

    return float(np.abs(current - reference).sum() / 2)


def shares_of(values: Any) -> Floats:
    """Values of at least 0 over their sum; zeros where all are zero."""
    import numpy as np  # noqa: PLC0415  (loads where figures are computed, never with a DAG)

    array = np.asarray(values, dtype=np.float64)
    total = array.sum()
    shares: Floats = np.divide(array, total, out=np.zeros_like(array), where=total > 0)
    return shares


def ranks(values: Floats) -> Floats:
    """Ranks from 1, the largest first; equal values share the mean of theirs."""
    import numpy as np  # noqa: PLC0415  (loads where figures are computed, never with a DAG)
    import pandas as pd  # noqa: PLC0415

    return np.asarray(pd.Series(values).rank(ascending=False), dtype=np.float64)


def rank_correlation(reference: Floats, current: Floats) -> float:
    """Spearman's correlation, in [-1, 1]: Pearson's of the ranks, with mean ranks for equal values.

    It is undefined where all values of a side are equal: then it is 1 if the other's are as well, which is
    the same ranking, and 0 otherwise.
    """
    import numpy as np  # noqa: PLC0415  (loads where figures are computed, never with a DAG)

    r, c = ranks(reference), ranks(current)
    if np.array_equal(r, c):
        return 1.0
    if np.ptp(r) == 0 or np.ptp(c) == 0:
        return 0.0
    return float(np.corrcoef(r, c)[0, 1])
