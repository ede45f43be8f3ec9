"""The rules payload: ``core`` for those who read explanations, ``metadata`` for those who check them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_cleartrace.explanations.values import Estimate, Rule, jsonable

if TYPE_CHECKING:
    from airflow_provider_cleartrace.explanations.models import CalibratedExplanation

VENN_ABERS = "venn_abers"
"""An interval of a probability, from Venn-Abers calibration."""

PERCENTILE = "percentile"
"""An interval of a quantity, between two percentiles of a conformal predictive system."""

THRESHOLD = "threshold"
"""An interval of the probability that a quantity stays below a threshold."""


def factual(explanation: CalibratedExplanation) -> dict[str, Any]:
    """The payload of a factual or fast explanation."""
    built = _payload(explanation, lambda rule: {})
    if explanation.kind == "factual":
        built["metadata"]["baseline_prediction"] = explanation.instance_prediction.estimate.to_json()
    return built


def alternative(explanation: CalibratedExplanation) -> dict[str, Any]:
    """The payload of an alternative explanation, whose rules have predictions of their own."""
    return _payload(explanation, lambda rule: {"prediction": rule.prediction.to_json()})


def _payload(explanation: CalibratedExplanation, more: Any) -> dict[str, Any]:
    own = explanation.instance_prediction
    return {
        "core": {
            "kind": explanation.kind,
            "prediction": own.estimate.to_json(),
            "feature_rules": [
                {"weight": rule.weight.to_json(), "condition": rule.condition(), **more(rule)}
                for rule in explanation.feature_rules
            ],
        },
        "metadata": {
            "feature_rules": [_rule_metadata(explanation, rule) for rule in explanation.feature_rules],
            "prediction_uncertainty": _uncertainty(explanation, own.estimate, of_prediction=True),
            "class": own.classes,
            "full_probabilities": jsonable(own.full_probabilities),
            "unplaced": list(explanation.unplaced),
            "filters": list(explanation.filters),
        },
    }


def _rule_metadata(explanation: CalibratedExplanation, rule: Rule) -> dict[str, Any]:
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
        "weight_uncertainty": _uncertainty(explanation, rule.weight, of_prediction=False),
        "prediction_value": rule.prediction.value,
        "prediction_uncertainty": _uncertainty(explanation, rule.prediction, of_prediction=True),
        "filters": list(rule.filters),
    }


def _uncertainty(
    explanation: CalibratedExplanation, estimate: Estimate, *, of_prediction: bool
) -> Mapping[str, Any]:
    """What an interval is: how it was made, and of which percentiles or threshold."""
    shared = explanation.calibrated_explanations
    thresholded = of_prediction and shared.y_threshold is not None
    percentiles = None if shared.is_probabilistic else shared.low_high_percentiles
    lower, upper = estimate.interval.to_json()
    return {
        "representation": THRESHOLD if thresholded else VENN_ABERS if shared.is_probabilistic else PERCENTILE,
        "calibrated_value": estimate.value,
        "lower_bound": lower,
        "upper_bound": upper,
        "legacy_interval": [lower, upper],
        "threshold": jsonable(shared.y_threshold) if thresholded else None,
        "raw_percentiles": None if percentiles is None else jsonable([each / 100 for each in percentiles]),
        "confidence_level": None if percentiles is None else _confidence(*percentiles),
    }


def _confidence(low: float, high: float) -> float:
    """The share of targets that an interval between two percentiles is to hold."""
    return max(0.0, min(high, 100.0) / 100 - max(low, 0.0) / 100)
