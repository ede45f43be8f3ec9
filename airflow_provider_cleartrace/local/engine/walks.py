"""Random walks from one row towards a desired outcome, guided by the gradient at the row.

Each walk keeps to a few features, mostly one or two, so that what it finds is sparse from the start; it keeps
its direction in every quantity, so that steps add up. One part of features and directions is drawn by the
gradient's promise, the other at random, for the gradient only knows the neighbourhood of the row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from airflow_provider_cleartrace.local.engine.edits import EditSpace, encode_codes
from airflow_provider_cleartrace.local.engine.moves import Choice, Span, sd_unit

_GUIDED = 0.6
"""Share of draws that follow the gradient."""
_REACH = 2.0
"""Standard deviations a quantity may move when its promise is compared with that of a level."""
_SPARSITY = 0.6
"""A walk has k features with probability _SPARSITY (1 - _SPARSITY)^(k - 1): most move a single one."""


@dataclass(frozen=True)
class WalkSettings:
    """How walks go.

    Attributes:
        n_walks: walks from the row.
        max_steps: most steps of a walk.
        epsilon: scale of a step in training standard deviations (the step is its product with |N(0, 1)|).
        enough: different kinds of successful edits after which walking ends early.
    """

    n_walks: int
    max_steps: int
    epsilon: float
    enough: int


@dataclass(frozen=True, eq=False)
class _Guide:
    """What the gradient promises, by move.

    Attributes:
        features: probability of each move, (f,).
        slopes: derivative of the aim per standard deviation of each quantity, (f,); 0 for choices.
        options: probability of each option of a choice, (f) lists.
    """

    features: NDArray[np.float64]
    slopes: NDArray[np.float64]
    options: tuple[NDArray[np.float64], ...]


def walk(space: EditSpace, settings: WalkSettings, rng: np.random.Generator) -> NDArray[np.float64]:
    """Walk, and collect where walks first reach the desired outcome.

    Args:
        space: the row, with at least one move.
        settings: number, length and step size of the walks.
        rng: the source of all randomness.

    Returns:
        Successful edits, (h, d), h >= 0.
    """
    moves = list(space.moves.values())
    positions = np.array(list(space.moves))
    guide = _guide(space)
    n, f = settings.n_walks, len(moves)
    # The Gumbel trick draws a random order, weighted by the promises; a walk uses the first `sizes` of it.
    order = np.argsort(-(np.log(guide.features) + rng.gumbel(size=(n, f))), axis=1)
    sizes = np.minimum(rng.geometric(_SPARSITY, size=n), f)
    headings = np.stack(
        [_headings(move, guide.slopes[index], n, rng) for index, move in enumerate(moves)], axis=1
    )

    edits = np.tile(space.codes, (n, 1))
    encoded = np.tile(space.encoded, (n, 1))
    tables = [_encoded_options(space, position, move) for position, move in space.moves.items()]
    found: list[NDArray[np.float64]] = []
    alive = np.arange(n)
    for _ in range(settings.max_steps):
        picked = order[alive, rng.integers(sizes[alive])]
        steps = settings.epsilon * np.abs(rng.standard_normal(len(alive)))
        draws = rng.random(len(alive))
        moved = np.zeros(len(alive), dtype=np.bool_)
        for index in np.unique(picked):
            move, position = moves[index], positions[index]
            here = np.flatnonzero(picked == index)
            rows = alive[here]
            block, group = space.block(int(position))
            before = edits[rows, position]
            if isinstance(move, Span):
                after = move.step(before, headings[rows, index] * steps[here])
                encoded[rows, group] = encode_codes(block, after)
            else:
                options = np.searchsorted(np.cumsum(guide.options[index])[:-1], draws[here], side="right")
                after = move.options[options]
                encoded[rows, group] = tables[index][options]
            edits[rows, position] = after
            moved[here] = after != before
        # A walk in a single quantity that has run into its bound will never move again.
        stuck = ~moved & (sizes[alive] == 1) & np.array([isinstance(moves[index], Span) for index in picked])
        rows = alive[moved]
        reached = np.zeros(len(alive), dtype=np.bool_)
        if len(rows):
            reached[moved] = space.reached(encoded[rows])
        if reached.any():
            found.append(edits[alive[reached]])
            if len(np.unique(space.kinds(np.concatenate(found)), axis=0)) >= settings.enough:
                break
        alive = alive[~reached & ~stuck]
        if not len(alive):
            break
    return np.concatenate(found) if found else np.empty((0, len(space.codes)))


def _guide(space: EditSpace) -> _Guide:
    """Compare the moves by what a first-order step from the row would gain."""
    model = space.outcomes.model
    encoded = space.encoded[None, :]
    gradient = _towards(space, model.gradients(encoded)[0], model.scores(encoded)[0])
    per_sd = model.encoder.contract(gradient[None, :], encoded)[0]
    slopes = np.zeros(len(space.moves))
    gains = np.zeros(len(space.moves))
    options = []
    for index, (position, move) in enumerate(space.moves.items()):
        if isinstance(move, Span):
            slopes[index] = per_sd[position]
            gains[index] = max(heading * per_sd[position] * _room(move, heading) for heading in move.headings)
            options.append(np.empty(0))
        else:
            block, group = space.block(position)
            if block.column.is_levelled:
                gain = (encode_codes(block, move.options) - space.encoded[group]) @ gradient[group]
            else:
                gain = per_sd[position] * (move.options - move.start) / sd_unit(move.column)
            gains[index] = gain.max()
            options.append(_mixed(gain))
    return _Guide(_mixed(gains), slopes, tuple(options))


def _towards(
    space: EditSpace, gradients: NDArray[np.float64], scores: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Give the derivative (p,) of what has to rise: the desired class's lead over its strongest rival."""
    if len(scores) == 1:
        return np.asarray(gradients[0] if space.desired == 1 else -gradients[0])
    rivals = np.delete(np.arange(len(scores)), space.desired)
    return np.asarray(gradients[space.desired] - gradients[rivals[scores[rivals].argmax()]])


def _room(span: Span, heading: float) -> float:
    bound = span.high if heading > 0 else span.low
    return min(abs(bound - span.start) / sd_unit(span.column), _REACH)


def _mixed(gains: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mix probabilities in proportion to the positive gains with even ones; sums to 1."""
    even = np.full(len(gains), 1 / len(gains))
    positive = np.clip(gains, 0, None)
    if positive.sum() == 0:
        return even
    return np.asarray(_GUIDED * positive / positive.sum() + (1 - _GUIDED) * even)


def _headings(move: Span | Choice, slope: float, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw the direction of every walk in one feature, (n,)."""
    draws, guided = rng.random(n), rng.random(n) < _GUIDED
    if isinstance(move, Choice):
        return np.zeros(n)
    drawn = np.array(move.headings)[(draws * len(move.headings)).astype(np.intp)]
    return np.where(guided & (np.sign(slope) in move.headings), np.sign(slope), drawn)


def _encoded_options(space: EditSpace, position: int, move: Span | Choice) -> NDArray[np.float64]:
    block, _ = space.block(position)
    return np.empty((0, block.width)) if isinstance(move, Span) else encode_codes(block, move.options)
