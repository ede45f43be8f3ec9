"""How the parts that features have in predictions moved."""

from __future__ import annotations

from collections.abc import Mapping

from airflow_provider_cleartrace.comparison.measures import (
    rank_correlation,
    ranks,
    shares_of,
    total_variation,
)
from airflow_provider_cleartrace.comparison.models import DriverDrift, DriverShift
from airflow_provider_cleartrace.comparison.tally import Tally


def local_drivers(first: Tally, second: Tally) -> DriverDrift:
    """How the drivers of the rows of two outputs moved; both tell the same features."""
    absolute, signed = (
        [{name: total / side.rows for name, total in sums.items()} for side, sums in pairs]
        for pairs in (
            ((first, first.absolute), (second, second.absolute)),
            ((first, first.signed), (second, second.signed)),
        )
    )
    return driver_drift(absolute[0], absolute[1], signed=(signed[0], signed[1]))


def driver_drift(
    reference: Mapping[str, float],
    current: Mapping[str, float],
    *,
    signed: tuple[Mapping[str, float], Mapping[str, float]] | None = None,
) -> DriverDrift:
    """How the drivers of the same features moved.

    Args:
        reference: feature to its mean absolute driver, or to a model's share.
        current: the same of the other side.
        signed: the mean drivers of both sides; None for models.
    """
    names = list(reference)
    values = [shares_of([side[name] for name in names]) for side in (reference, current)]
    ranked = [ranks(side).tolist() for side in values]
    shifts = [
        DriverShift(
            feature=name,
            reference_share=float(values[0][place]),
            current_share=float(values[1][place]),
            share_difference=float(values[1][place] - values[0][place]),
            reference_rank=ranked[0][place],
            current_rank=ranked[1][place],
            reference_mean_absolute=reference[name] if signed else None,
            current_mean_absolute=current[name] if signed else None,
            reference_mean=signed[0][name] if signed else None,
            current_mean=signed[1][name] if signed else None,
        )
        for place, name in enumerate(names)
    ]
    return DriverDrift(
        rank_correlation=rank_correlation(values[0], values[1]),
        shift=total_variation(values[0], values[1]),
        features=tuple(sorted(shifts, key=lambda each: (-abs(each.share_difference), each.feature))),
    )
