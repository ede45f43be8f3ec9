"""The rules payload: ``core`` for those who read explanations, ``metadata`` for those who check them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_provider_cleartrace.explanations.rows import ExplainedRows
from airflow_provider_cleartrace.explanations.values import Estimate, Prediction, Rule, jsonable

VENN_ABERS = "venn_abers"
"""An interval of a probability, from Venn-Abers calibration."""

PERCENTILE = "percentile"
"""An interval of a quantity, between two percentiles of a conformal predictive system."""

THRESHOLD = "threshold"
"""An interval of the probability that a quantity stays below a threshold."""


def rules_payload(
    rows: ExplainedRows,
    prediction: Prediction,
    rules: Sequence[Rule],
    *,
    unplaced: Sequence[str],
    chosen_by: Sequence[str],
) -> dict[str, Any]:
    """The payload of one row; the rules of an alternative explanation have predictions of their own.

    Args:
        rows: The row among those that are explained with it.
        prediction: The row's own.
        rules: The rules in force.
        unplaced: Features that no rule is told of.
        chosen_by: Names of the filters that chose the rules.
    """
    metadata: dict[str, Any] = {
        "feature_rules": [_rule_metadata(rows, rule) for rule in rules],
        "prediction_uncertainty": _uncertainty(rows, prediction.estimate, of_prediction=True),
        "class": prediction.classes,
        "full_probabilities": jsonable(prediction.full_probabilities),
        "unplaced": list(unplaced),
        "filters": list(chosen_by),
    }
    if rows.kind == "factual":
        metadata["baseline_prediction"] = prediction.estimate.to_json()
    return {
        "core": {
            "kind": rows.kind,
            "prediction": prediction.estimate.to_json(),
            "feature_rules": [_core_rule(rows, rule) for rule in rules],
        },
        "metadata": metadata,
    }


def _core_rule(rows: ExplainedRows, rule: Rule) -> dict[str, Any]:
    told = {"weight": rule.weight.to_json(), "condition": rule.condition()}
    return told | {"prediction": rule.prediction.to_json()} if rows.kind == "alternative" else told


def _rule_metadata(rows: ExplainedRows, rule: Rule) -> dict[str, Any]:
    return {
        "feature": list(rule.features),
        "feature_index": list(rule.feature_indexes),
        "is_conjunctive": rule.is_conjunctive,
        "condition_text": rule.text,
        "boundary": [condition.boundary for condition in rule.conditions],
        "value": list(rule.shown),
        "instance_value": list(rule.feature_value),
        "sampled_values": [list(values) for values in rule.sampled_values],
        "weight_value": rule.weight.value,
        "weight_uncertainty": _uncertainty(rows, rule.weight, of_prediction=False),
        "prediction_value": rule.prediction.value,
        "prediction_uncertainty": _uncertainty(rows, rule.prediction, of_prediction=True),
        "filters": list(rule.filters),
    }


def _uncertainty(rows: ExplainedRows, estimate: Estimate, *, of_prediction: bool) -> Mapping[str, Any]:
    """What an interval is: how it was made, and of which percentiles or threshold."""
    thresholded = of_prediction and rows.y_threshold is not None
    percentiles = None if rows.is_probabilistic else rows.low_high_percentiles
    lower, upper = estimate.interval.to_json()
    return {
        "representation": THRESHOLD if thresholded else VENN_ABERS if rows.is_probabilistic else PERCENTILE,
        "calibrated_value": estimate.value,
        "lower_bound": lower,
        "upper_bound": upper,
        "legacy_interval": [lower, upper],
        "threshold": jsonable(rows.y_threshold) if thresholded else None,
        "raw_percentiles": None if percentiles is None else jsonable([each / 100 for each in percentiles]),
        "confidence_level": None if percentiles is None else _confidence(*percentiles),
    }


def _confidence(low: float, high: float) -> float:
    """The share of targets that an interval between two percentiles is to hold."""
    return max(0.0, min(high, 100.0) / 100 - max(low, 0.0) / 100)
