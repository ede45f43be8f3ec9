"""Which alternatives lead where: the named filters of alternative rules."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from airflow_provider_cleartrace.explanations.errors import ExplanationError
from airflow_provider_cleartrace.explanations.values import Estimate

DIRECTIONS = ("super", "semi", "counter")
"""Where an alternative leads. Of several that are asked for, a rule needs one."""

QUALITIES = ("ensured", "pareto")
"""What an alternative is worth. Each that is asked for narrows the choice."""

NAMES = (*DIRECTIONS, *QUALITIES)

DECISION_BOUNDARY = 0.5
"""The probability at which a decision changes."""

SAME = 1e-12
"""Widths that differ by less are the same: they are differences of rounded numbers."""


def check(names: Sequence[str], *, kind: str = "alternative") -> None:
    """Refuse filters that do not exist, or that the kind has no rules for.

    Raises:
        ExplanationError: an unknown name, or a filter for another kind than alternatives.
    """
    if unknown := [name for name in names if name not in NAMES]:
        raise ExplanationError(f"unknown filter {unknown[0]!r}; there are {', '.join(NAMES)}")
    if names and kind != "alternative":
        raise ExplanationError(
            f"filters choose among alternatives; a {kind} explanation has none: kind='alternative' has"
        )


def keeps(names: Sequence[str], membership: Collection[str]) -> bool:
    """Whether a rule with this membership passes the filters."""
    directions = [name for name in names if name in DIRECTIONS]
    return (not directions or any(name in membership for name in directions)) and all(
        name in membership for name in names if name in QUALITIES
    )


def memberships(
    base: Estimate, alternatives: Sequence[Estimate], *, boundary: float | None
) -> list[tuple[str, ...]]:
    """The filters that would keep each alternative.

    Args:
        base: the row's own prediction.
        alternatives: the predictions under its rules.
        boundary: the probability at which the decision changes; None for a quantity, whose alternatives are
            judged by their order and by whether the intervals include each other's value.
    """
    front = pareto(alternatives)
    return [
        tuple(
            name
            for name, holds in (
                *_directions(base, alternative, boundary),
                ("ensured", alternative.interval.width <= abs(base.interval.width)),
                ("pareto", position in front),
            )
            if holds
        )
        for position, alternative in enumerate(alternatives)
    ]


def _directions(
    base: Estimate, alternative: Estimate, boundary: float | None
) -> tuple[tuple[str, bool], ...]:
    value, own = alternative.value, base.value
    if boundary is None:
        mutual = (
            alternative.interval.low <= own <= alternative.interval.high
            and base.interval.low <= value <= base.interval.high
        )
        return ("super", value > own), ("semi", mutual), ("counter", value < own)
    if own > boundary:
        return ("super", value > own), ("semi", boundary < value < own), ("counter", value <= boundary)
    return ("super", value < own), ("semi", own < value < boundary), ("counter", value >= boundary)


def pareto(alternatives: Sequence[Estimate]) -> set[int]:
    """Positions on the envelope of value against interval width.

    Of equal values (to 12 digits) the narrowest counts, the first of equally narrow ones. Kept are the
    smallest and the largest value, and each that no smaller value, or no larger one, undercuts in width.
    """
    narrowest: dict[float, int] = {}
    for position, alternative in enumerate(alternatives):
        value = round(alternative.value, 12)
        rival = narrowest.get(value)
        if rival is None or alternative.interval.width < alternatives[rival].interval.width - SAME:
            narrowest[value] = position
    ordered = sorted(narrowest.values(), key=lambda position: alternatives[position].value)
    kept = set(ordered[:1] + ordered[-1:])
    for direction in (ordered, ordered[::-1]):
        least = float("inf")
        for position in direction:
            width = alternatives[position].interval.width
            least = min(least, width)
            if width <= least + SAME:
                kept.add(position)
    return kept
