"""How wide the intervals of calibrated rules are on average."""

from __future__ import annotations

from airflow_provider_cleartrace.comparison.errors import ComparisonError
from airflow_provider_cleartrace.comparison.layout import Table
from airflow_provider_cleartrace.comparison.models import IntervalDrift, Width

BOUNDS = ("prediction_low", "prediction_high", "weight_low", "weight_high")


def check_rules_table(table: Table) -> None:
    """Refuse what is no table of calibrated rules.

    Raises:
        ComparisonError: it lacks a bound.
    """
    if missing := [name for name in BOUNDS if name not in table.columns]:
        raise ComparisonError(
            f"{table.uri}: no column {', '.join(map(repr, missing))}:"
            " not the rules of a CalibratedExplain task"
        )


def interval_drift(reference: Table, current: Table) -> IntervalDrift:
    """Hold the widths of two tables of calibrated rules against each other.

    Raises:
        ComparisonError: a table has no rules.
    """
    one, other = width_of(reference), width_of(current)
    ratio = None
    if one.mean_prediction_width and other.mean_prediction_width is not None:
        ratio = other.mean_prediction_width / one.mean_prediction_width
    return IntervalDrift(reference=one, current=other, width_ratio=ratio)


def width_of(table: Table) -> Width:
    """The mean widths of a table's intervals, read once."""
    import numpy as np  # noqa: PLC0415  (loads where rows are touched, never with a DAG)
    import pyarrow as pa  # noqa: PLC0415

    rules, closed = 0, 0
    sums = np.zeros(2)
    for batch in table.batches(BOUNDS):
        bounds = np.column_stack(
            [column.cast(pa.float64()).to_numpy(zero_copy_only=False) for column in batch.columns]
        )
        widths = bounds[:, 1::2] - bounds[:, ::2]
        finite = np.isfinite(widths).all(axis=1)
        rules += len(widths)
        closed += int(finite.sum())
        sums += widths[finite].sum(axis=0)
    if not rules:
        raise ComparisonError(f"{table.uri}: no rules to compare")
    prediction, weight = (sums / closed).tolist() if closed else (None, None)
    return Width(
        rules=rules,
        open_rules=rules - closed,
        mean_prediction_width=prediction,
        mean_weight_width=weight,
    )
