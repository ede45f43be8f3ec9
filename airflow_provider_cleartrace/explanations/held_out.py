"""How far calibrated intervals hold, measured on rows that neither training nor calibration has seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

GROUPS = 10
"""Most groups of rows, by probability, in which predicted and observed shares are compared."""

GROUP_ROWS = 20
"""Fewest rows of a group, if there are as many: of five rows the shares differ by 0.15 by chance alone."""


@dataclass(frozen=True, slots=True)
class Reliability:
    """What held-out rows say of the calibration.

    Attributes:
        rows: how many there were.
        mean_width: mean width of the intervals.
        coverage: share of targets inside their interval, for quantities; an interval of a probability covers
            no single outcome.
        calibration_error: for probabilities, how far predicted and observed shares lie apart, on average over
            up to ten groups of twenty rows or more.
    """

    rows: int
    mean_width: float
    coverage: float | None = None
    calibration_error: float | None = None

    def as_figures(self) -> dict[str, Any]:
        """Flat figures for a manifest."""
        return {
            "held_out_rows": self.rows,
            "held_out_coverage": self.coverage,
            "held_out_calibration_error": self.calibration_error,
            "mean_interval_width": self.mean_width,
        }


def of_quantities(
    low: NDArray[np.float64], high: NDArray[np.float64], targets: NDArray[np.float64]
) -> Reliability:
    """Compare intervals with true values."""
    inside = (low <= targets) & (targets <= high)
    return Reliability(len(targets), float((high - low).mean()), coverage=float(inside.mean()))


def of_probabilities(
    values: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    happened: NDArray[np.bool_],
) -> Reliability:
    """Compare probabilities with what happened."""
    count = min(GROUPS, max(1, len(values) // GROUP_ROWS))
    groups = np.array_split(np.argsort(values, kind="stable"), count)
    gaps = [abs(values[group].mean() - happened[group].mean()) * len(group) for group in groups]
    return Reliability(
        len(values), float((high - low).mean()), calibration_error=float(sum(gaps) / len(values))
    )


def split(targets: Sequence[Any], share: float, seed: int) -> tuple[list[int], list[int]]:
    """Positions of the rows to calibrate with and of those to hold out, alike in their targets.

    Args:
        targets: comparable values, none missing.
        share: how much to hold out, in [0, 1).
        seed: which rows.
    """
    if not share:
        return list(range(len(targets))), []
    shuffled = np.random.default_rng(seed).permutation(len(targets)).tolist()
    ordered = sorted(shuffled, key=lambda position: targets[position])
    every = max(2, round(1 / share))
    held = sorted(ordered[every // 2 :: every])
    return sorted(set(range(len(targets))).difference(held)), held
