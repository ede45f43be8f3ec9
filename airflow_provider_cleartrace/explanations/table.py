"""Rules as rows of a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_cleartrace.explanations.collection import CalibratedExplanations
from airflow_provider_cleartrace.explanations.filters import NAMES
from airflow_provider_cleartrace.explanations.values import CONJUNCTION, Condition

if TYPE_CHECKING:
    import pyarrow as pa


def rule_fields() -> list[pa.Field]:
    """The columns of a table of rules, after those that identify the row."""
    import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where tables are made, never with a DAG)

    numbers = ("weight", "weight_low", "weight_high", "prediction", "prediction_low", "prediction_high")
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
                "weight": rule.weight.value,
                "weight_low": rule.weight.interval.low,
                "weight_high": rule.weight.interval.high,
                "prediction": rule.prediction.value,
                "prediction_low": rule.prediction.interval.low,
                "prediction_high": rule.prediction.interval.high,
                "conjunctive": rule.is_conjunctive,
                **{f"is_{name}": name in rule.filters if judged else None for name in NAMES},
            }


def _compared(condition: Condition | None) -> str | None:
    """What a condition compares its feature with; of a fast rule the row's own value."""
    if condition is None:
        return None
    value = condition.value if condition.boundary is None else condition.boundary
    return None if value is None else str(value)
