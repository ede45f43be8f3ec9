"""Explanations as tables: a row for each prediction, and a row for each rule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_cleartrace.explanations.collection import CalibratedExplanations
from airflow_provider_cleartrace.explanations.filters import NAMES
from airflow_provider_cleartrace.explanations.values import CONJUNCTION, Condition, Estimate, Scalar

if TYPE_CHECKING:
    import pyarrow as pa


_INTERVAL = ("prediction", "prediction_low", "prediction_high")


def prediction_fields() -> list[pa.Field]:
    """The columns of a table of calibrated predictions, after those that identify the row."""
    import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where tables are made, never with a DAG)

    return [
        *(pa.field(name, pa.float64(), nullable=False) for name in _INTERVAL),
        pa.field("class", pa.string()),
        pa.field("rules", pa.int64(), nullable=False),
    ]


def prediction_rows(
    explanations: CalibratedExplanations, identities: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """One row for each explained row: its calibrated prediction, whose class it is, how many rules it has."""
    return [
        {
            **identity,
            **_interval("prediction", explanation.instance_prediction.estimate),
            "class": _text(explanation.instance_prediction.classes),
            "rules": len(explanation.feature_rules),
        }
        for explanation, identity in zip(explanations, identities, strict=True)
    ]


def rule_fields() -> list[pa.Field]:
    """The columns of a table of rules, after those that identify the row."""
    import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where tables are made, never with a DAG)

    numbers = ("weight", "weight_low", "weight_high", *_INTERVAL)
    return [
        pa.field("kind", pa.string(), nullable=False),
        pa.field("rule", pa.string(), nullable=False),
        pa.field("features", pa.list_(pa.string()), nullable=False),
        pa.field("operator", pa.string(), nullable=False),
        pa.field("value", pa.string()),
        *(pa.field(name, pa.float64(), nullable=False) for name in numbers),
        pa.field("conjunctive", pa.bool_(), nullable=False),
        *(pa.field(f"is_{name}", pa.bool_()) for name in NAMES),
    ]


def rule_rows(
    explanations: CalibratedExplanations, identities: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """One row for each rule, under its row's identity.

    A condition's ``value`` is whole and told as text, whichever type it has; of a conjunction it is null, and
    ``rule`` tells all. The filter flags are null unless the rules are alternatives.
    """
    return list(_rows(explanations, identities))


def _rows(
    explanations: CalibratedExplanations, identities: Sequence[Mapping[str, Any]]
) -> Iterator[dict[str, Any]]:
    judged = explanations.kind == "alternative"
    for explanation, identity in zip(explanations, identities, strict=True):
        for rule in explanation.feature_rules:
            single = None if rule.is_conjunctive else rule.conditions[0]
            yield {
                **identity,
                "kind": explanation.kind,
                "rule": rule.text,
                "features": list(rule.features),
                "operator": CONJUNCTION if single is None else single.operator,
                "value": _compared(single),
                **_interval("weight", rule.weight),
                **_interval("prediction", rule.prediction),
                "conjunctive": rule.is_conjunctive,
                **{f"is_{name}": name in rule.filters if judged else None for name in NAMES},
            }


def _compared(condition: Condition | None) -> str | None:
    """What a condition compares its feature with; of a fast rule the row's own value."""
    if condition is None:
        return None
    return _text(condition.value if condition.boundary is None else condition.boundary)


def _interval(name: str, estimate: Estimate) -> dict[str, float]:
    low, high = estimate.interval.low, estimate.interval.high
    return {name: estimate.value, f"{name}_low": low, f"{name}_high": high}


def _text(value: Scalar) -> str | None:
    return None if value is None else str(value)
