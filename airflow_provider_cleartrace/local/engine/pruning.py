"""From any edit that works to one in which every change is needed and no larger than it has to be."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from airflow_provider_cleartrace.local.engine.edits import EditSpace
from airflow_provider_cleartrace.local.engine.moves import Span, distance

_PARTS = 8
"""A change is cut into this many parts a round: 7 trial values, one prediction call."""
_ROUNDS = 2
"""Two rounds find a change's size to 1/64 of it."""


def revert_needless(space: EditSpace, edits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Take changes back, one a round, until none can be taken back without losing the outcome.

    Of the changes an edit can do without, the largest goes first.

    Args:
        space: the row, whose own outcome is not the desired one.
        edits: successful edits, (n, d).

    Returns:
        1-minimal successful edits, (n, d): each of them fails as soon as any single change is taken back.
    """
    edits = edits.copy()
    while True:
        changed = space.changed(edits)
        # Without its only change an edit is the row itself, which is known to fail.
        rows, features = np.nonzero(changed & (changed.sum(axis=1) > 1)[:, None])
        trials = edits[rows]
        trials[np.arange(len(rows)), features] = space.codes[features]
        needless = space.reaches(trials) if len(trials) else np.zeros(0, dtype=np.bool_)
        if not needless.any():
            return edits
        rows, features = rows[needless], features[needless]
        saved = distance(edits, space.codes, space.columns)[rows, features]
        largest = np.lexsort((features, -saved, rows))
        rows, first = np.unique(rows[largest], return_index=True)
        features = features[largest][first]
        edits[rows, features] = space.codes[features]


def shrink(space: EditSpace, edits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Make the changes of quantities smaller while the outcome holds, one feature an edit at a time.

    The outcome need not be monotone in a value; of the values tried, the one nearest to the row's own is
    taken.

    Args:
        space: the row.
        edits: successful edits, (n, d).

    Returns:
        Successful edits that change no more than before, (n, d).
    """
    edits = edits.copy()
    spans = [position for position, move in space.moves.items() if isinstance(move, Span)]
    changes = space.changed(edits)[:, spans]
    for turn in range(int(changes.sum(axis=1).max(initial=0))):
        rows = np.flatnonzero(changes.sum(axis=1) > turn)
        # The `turn`-th changed quantity of each of these edits.
        nth = np.argmax(changes[rows].cumsum(axis=1) > turn, axis=1)
        features = np.array(spans)[nth]
        failing, working = np.zeros(len(rows)), np.ones(len(rows))
        ends = edits[rows, features]
        for _ in range(_ROUNDS):
            parts = np.arange(1, _PARTS) / _PARTS
            shares = failing[:, None] + (working - failing)[:, None] * parts
            values = _settled(space, features, ends, shares)
            trials = np.repeat(edits[rows], len(parts), axis=0)
            trials[np.arange(len(trials)), np.repeat(features, len(parts))] = values.ravel()
            reached = space.reaches(trials).reshape(len(rows), len(parts))
            first = np.where(reached.any(axis=1), reached.argmax(axis=1), len(parts))
            bounds = np.column_stack([failing, shares, working])
            here = np.arange(len(rows))
            failing, working = bounds[here, first], bounds[here, first + 1]
            better = first < len(parts)
            edits[rows[better], features[better]] = values[better, first[better]]
    return edits


def _settled(
    space: EditSpace, features: NDArray[np.intp], ends: NDArray[np.float64], shares: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Give the values at these shares of the way from the row's own value to `ends`, (n, parts)."""
    starts = space.codes[features][:, None]
    values = starts + shares * (ends[:, None] - starts)
    for feature in np.unique(features):
        move = space.moves[int(feature)]
        if isinstance(move, Span):
            values[features == feature] = move.settle(values[features == feature])
    return values
