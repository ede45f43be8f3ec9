"""The whole comparison: outputs, models and calibrated rules, as far as they are given, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from airflow_provider_cleartrace.comparison.alike import check_features
from airflow_provider_cleartrace.comparison.drivers import driver_drift
from airflow_provider_cleartrace.comparison.errors import ComparisonError
from airflow_provider_cleartrace.comparison.intervals import check_rules_table, interval_drift
from airflow_provider_cleartrace.comparison.models import Comparison, Side
from airflow_provider_cleartrace.comparison.outputs import BINS, Found, Pair
from airflow_provider_cleartrace.comparison.thresholds import check_available, judge
from airflow_provider_cleartrace.storage.layouts import Readable


@dataclass(frozen=True)
class Model:
    """A model's global drivers: feature to its share."""

    model_id: str
    drivers: Mapping[str, float]


def compare(
    *,
    outputs: tuple[Readable, Readable] | None = None,
    models: tuple[Model, Model] | None = None,
    calibrated: tuple[Readable, Readable] | None = None,
    thresholds: Mapping[str, float],
    bins: int = BINS,
) -> Comparison:
    """Compare what is given, each as (reference, current). Columns are looked at before rows are read.

    Args:
        outputs: What Predict or Explain tasks wrote.
        models: Two models.
        calibrated: Tables of rules that CalibratedExplain tasks wrote.
        thresholds: Figure to the value at which it is not drift yet; see ``thresholds.FIGURES``.
        bins: Bins of the predictions.

    Raises:
        ComparisonError: the two are about different things, have no rows or missing values, or do not tell
            the figure of a threshold.
    """
    available: set[str] = set()
    pair = None
    if outputs is not None:
        pair = Pair.of(*outputs)
        available |= pair.figures
    if models is not None:
        check_features(list(models[0].drivers), list(models[1].drivers), models[1].model_id)
        available |= {"global_driver_rank_correlation", "global_driver_shift"}
    if calibrated is not None:
        for table in calibrated:
            check_rules_table(table)
        available.add("interval_width_ratio")
    if not available:
        raise ComparisonError("nothing to compare: give two outputs, two models, or two tables of rules")
    check_available(thresholds, available)

    found = pair.compare(bins) if pair is not None else None
    global_drivers = driver_drift(models[0].drivers, models[1].drivers) if models is not None else None
    intervals = interval_drift(*calibrated) if calibrated is not None else None

    figures = {} if found is None else _figures(found)
    if global_drivers is not None:
        figures["global_driver_rank_correlation"] = global_drivers.rank_correlation
        figures["global_driver_shift"] = global_drivers.shift
    if intervals is not None and intervals.width_ratio is not None:
        figures["interval_width_ratio"] = intervals.width_ratio
    crossed, verdict = judge(figures, thresholds)
    reference, current = (
        Side(
            output=None if outputs is None else outputs[place].uri,
            rows=None if found is None else (found.reference_rows, found.current_rows)[place],
            model_id=None if models is None else models[place].model_id,
            calibrated=None if calibrated is None else calibrated[place].uri,
        )
        for place in (0, 1)
    )
    return Comparison(
        reference=reference,
        current=current,
        figures=figures,
        thresholds=dict(thresholds),
        crossed=crossed,
        verdict=verdict,
        predictions=() if found is None else found.predictions,
        drivers=None if found is None else found.drivers,
        global_drivers=global_drivers,
        personas=None if found is None else found.personas,
        rules=None if found is None else found.rules,
        intervals=intervals,
    )


def _figures(found: Found) -> dict[str, float]:
    """What thresholds can be set on; of several classes the one that moved most."""
    figures = {"psi": max(each.psi for each in found.predictions)}
    if found.drivers is not None:
        figures["driver_rank_correlation"] = found.drivers.rank_correlation
        figures["driver_shift"] = found.drivers.shift
    if found.personas is not None:
        figures["persona_psi"] = found.personas.psi
        figures["persona_shift"] = found.personas.shift
    if found.rules is not None:
        figures["shared_rule_rate"] = found.rules.shared_rate
        if found.rules.match_rate is not None:
            figures["rule_match_rate"] = found.rules.match_rate
    return figures
