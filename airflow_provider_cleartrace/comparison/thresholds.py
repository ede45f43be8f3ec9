"""The figures that thresholds can be set on, and what they make of a comparison."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Literal

from airflow_provider_cleartrace.comparison.errors import ComparisonError
from airflow_provider_cleartrace.comparison.models import Crossing, Verdict

FIGURES: Mapping[str, Literal["above", "below"]] = {
    "psi": "above",
    "driver_rank_correlation": "below",
    "driver_shift": "above",
    "global_driver_rank_correlation": "below",
    "global_driver_shift": "above",
    "persona_psi": "above",
    "persona_shift": "above",
    "rule_match_rate": "below",
    "shared_rule_rate": "below",
    "interval_width_ratio": "above",
}
"""Each figure with the side of its threshold that is drift."""


def check_thresholds(thresholds: Mapping[str, float]) -> None:
    """Refuse what is no threshold.

    Raises:
        ComparisonError: an unknown figure, or something that is no finite number.
    """
    for name, value in thresholds.items():
        if name not in FIGURES:
            raise ComparisonError(f"thresholds: {name!r} is none of {', '.join(FIGURES)}")
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ComparisonError(f"thresholds: {name} must be a number")


def check_available(thresholds: Mapping[str, float], available: Collection[str]) -> None:
    """Refuse thresholds on figures that there will not be.

    Raises:
        ComparisonError: names the figures that there are.
    """
    for name in thresholds:
        if name not in available:
            raise ComparisonError(
                f"thresholds: what is compared does not tell {name};"
                f" it tells {', '.join(each for each in FIGURES if each in available)}"
            )


def judge(
    figures: Mapping[str, float], thresholds: Mapping[str, float]
) -> tuple[tuple[Crossing, ...], Verdict]:
    """Which thresholds are crossed; one that is just reached is not.

    Raises:
        ComparisonError: there is no figure for a threshold.
    """
    check_available(thresholds, figures)
    crossed = tuple(
        Crossing(figure=name, value=figures[name], threshold=bound, side=FIGURES[name])
        for name, bound in thresholds.items()
        if (figures[name] > bound if FIGURES[name] == "above" else figures[name] < bound)
    )
    if not thresholds:
        return (), "not judged"
    return crossed, "drift" if crossed else "stable"
