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
    walkers = _Walkers(space, settings, rng)
    found: list[NDArray[np.float64]] = []
    for _ in range(settings.max_steps):
        arrived = walkers.step()
        if len(arrived):
            found.append(arrived)
            if len(np.unique(space.kinds(np.concatenate(found)), axis=0)) >= settings.enough:
                break
        if not walkers.any_left:
            break
    return np.concatenate(found) if found else np.empty((0, len(space.codes)))


class _Walkers:
    """All walks from one row, side by side."""

    def __init__(self, space: EditSpace, settings: WalkSettings, rng: np.random.Generator) -> None:
        n, f = settings.n_walks, len(space.moves)
        self._space, self._epsilon, self._rng = space, settings.epsilon, rng
        self._moves = list(space.moves.items())
        self._is_span = np.array([isinstance(move, Span) for _, move in self._moves])
        guide = _guide(space)
        # The Gumbel trick draws a random order, weighted by the promises; a walk uses its first `sizes`.
        self._order = np.argsort(-(np.log(guide.features) + rng.gumbel(size=(n, f))), axis=1)
        self._sizes = np.minimum(rng.geometric(_SPARSITY, size=n), f)
        self._headings = np.stack(
            [
                _headings(move, slope, n, rng)
                for (_, move), slope in zip(self._moves, guide.slopes, strict=True)
            ],
            axis=1,
        )
        self._option_bounds = [np.cumsum(options)[:-1] for options in guide.options]
        self._encoded_options = [_encoded_options(space, position, move) for position, move in self._moves]
        self._edits = np.tile(space.codes, (n, 1))
        self._encoded = np.tile(space.encoded, (n, 1))
        self._alive = np.arange(n)

    @property
    def any_left(self) -> bool:
        """Whether a walk is still under way."""
        return len(self._alive) > 0

    def step(self) -> NDArray[np.float64]:
        """Let every walk change one of its features, and give the edits of those that arrive, (h, d)."""
        alive = self._alive
        picked = self._order[alive, self._rng.integers(self._sizes[alive])]
        lengths = self._epsilon * np.abs(self._rng.standard_normal(len(alive)))
        draws = self._rng.random(len(alive))
        moved = np.zeros(len(alive), dtype=np.bool_)
        for index in np.unique(picked):
            here = np.flatnonzero(picked == index)
            moved[here] = self._change(int(index), alive[here], lengths[here], draws[here])
        arrived = np.zeros(len(alive), dtype=np.bool_)
        if moved.any():
            arrived[moved] = self._space.reached(self._encoded[alive[moved]])
        # A walk in a single quantity that has run into its bound will never move again.
        stuck = ~moved & (self._sizes[alive] == 1) & self._is_span[picked]
        self._alive = alive[~arrived & ~stuck]
        return self._edits[alive[arrived]]

    def _change(
        self, index: int, walks: NDArray[np.intp], lengths: NDArray[np.float64], draws: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        """Make one move in these walks, and mark those it has changed."""
        position, move = self._moves[index]
        block, group = self._space.block(position)
        before = self._edits[walks, position]
        if isinstance(move, Span):
            after = move.step(before, self._headings[walks, index] * lengths)
            self._encoded[walks, group] = encode_codes(block, after)
        else:
            options = np.searchsorted(self._option_bounds[index], draws, side="right")
            after = move.options[options]
            self._encoded[walks, group] = self._encoded_options[index][options]
        self._edits[walks, position] = after
        return np.asarray(after != before)


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
