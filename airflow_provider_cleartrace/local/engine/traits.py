"""What sets a group of rows apart from all rows, feature by feature, in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from airflow_provider_cleartrace.local.engine.figures import label_text, number, percent
from airflow_provider_cleartrace.local.engine.schema import Column

NOTABLE = 0.25
"""Standard deviations between a group's mean and the overall mean from which "high" or "low" is fair."""
_TYPICAL = 0.5
"""A level is typical of a group only if at least half of the group has it."""


@dataclass(frozen=True)
class Trait:
    """One feature in which a group differs.

    Attributes:
        feature: the feature's name.
        label: two or three words, such as "high income" or "housing: own".
        evidence: the figures behind it, as a clause.
        strength: the difference in standard deviations of the feature (for a level: of having that level).
    """

    feature: str
    label: str
    evidence: str
    strength: float


def traits(codes: NDArray[np.float64], group: NDArray[np.bool_], columns: tuple[Column, ...]) -> list[Trait]:
    """Find what sets a group apart.

    Args:
        codes: all rows as of `code_table`, (n, d).
        group: which rows are in the group, (n,).
        columns: the d features.

    Returns:
        At most one trait a feature, strongest first; none for a feature in which the group is like all rows.
    """
    found = []
    for position, column in enumerate(columns):
        values, inside = codes[:, position], codes[group, position]
        candidates = [trait for trait in _candidates(column, values, inside) if trait.strength >= NOTABLE]
        if candidates:
            found.append(max(candidates, key=lambda trait: trait.strength))
    return sorted(found, key=lambda trait: -trait.strength)


def _candidates(column: Column, values: NDArray[np.float64], inside: NDArray[np.float64]) -> Iterator[Trait]:
    gaps, gaps_inside = np.isnan(values), np.isnan(inside)
    yield from _share(column, "missing", f"{column.name} missing", gaps, gaps_inside)
    if column.is_levelled:
        for code, level in enumerate(column.categories):
            yield from _share(column, level, f"{column.name}: {level}", values == code, inside == code)
        return
    if gaps.all() or gaps_inside.all():
        return
    mean, mean_inside, sd = float(np.nanmean(values)), float(np.nanmean(inside)), float(np.nanstd(values))
    if sd == 0:
        return
    high, low = ("recent", "early") if column.kind == "datetime" else ("high", "low")
    yield Trait(
        column.name,
        f"{high if mean_inside > mean else low} {column.name}",
        f"{column.name} averages {average(column, mean_inside)} ({average(column, mean)} over all rows)",
        abs(mean_inside - mean) / sd,
    )


def _share(
    column: Column, state: str, label: str, having: NDArray[np.bool_], having_inside: NDArray[np.bool_]
) -> Iterator[Trait]:
    share, share_inside = float(having.mean()), float(having_inside.mean())
    if 0 < share < 1 and share_inside >= max(share, _TYPICAL):
        yield Trait(
            column.name,
            label,
            f"{column.name} is {state} for {percent(share_inside)} ({percent(share)} of all rows)",
            (share_inside - share) / float(np.sqrt(share * (1 - share))),
        )


def average(column: Column, mean: float) -> str:
    """Write the mean of a quantity; a datetime's as a date."""
    return (
        label_text(column.json_value(float(np.round(mean))) or "")
        if column.kind == "datetime"
        else number(mean)
    )
