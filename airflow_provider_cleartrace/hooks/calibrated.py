"""A ClearTrace model as what calibrated explanations are made from: a callable, its features, its classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_cleartrace.api.errors import ValidationError
from airflow_provider_cleartrace.api.models import SchemaResult
from airflow_provider_cleartrace.client import ClearTrace

if TYPE_CHECKING:
    from airflow_provider_cleartrace.explanations.explainer import CalibratedExplainer

MAX_IN_FLIGHT = 4
"""Requests at the same time: as many as a small server computes."""

_PAIR = 2
"""Distinct numbers in a target that are taken for two classes."""


def explainer_for(
    client: ClearTrace,
    schema: SchemaResult,
    *,
    target: str,
    targets: Iterable[Any],
    classes: Sequence[Any] | None = None,
    max_in_flight: int = MAX_IN_FLIGHT,
    seed: int | None = None,
) -> CalibratedExplainer:
    """An explainer of the model that the client is attached to, not yet calibrated.

    Args:
        client: attached to the model.
        schema: what the model says of itself.
        target: the name of the calibration target.
        targets: its values, from which the task follows where neither the schema nor ``classes`` tell it.
        classes: the classes in the model's order.
        max_in_flight: most requests at the same time.
        seed: of everything random; None for the default.

    Raises:
        ValidationError: the model was trained on another target.
    """
    from airflow_provider_cleartrace.explanations.explainer import (  # noqa: PLC0415  (loads pandas)
        SEED,
        CalibratedExplainer,
    )

    if schema.target is not None and schema.target != target:
        raise ValidationError(f"the model was trained on the target {schema.target!r}, not on {target!r}")
    return CalibratedExplainer(
        client.predict,
        feature_names=schema.feature_names,
        classes=_classes(schema, targets) if classes is None else classes,
        categories={
            name: column.categories
            for name, column in schema.columns.items()
            if column.categories is not None
        },
        max_in_flight=max_in_flight,
        seed=SEED if seed is None else seed,
    )


def _classes(schema: SchemaResult, targets: Iterable[Any]) -> list[Any] | None:
    """The classes that the server tells of, none for a regression; else those that a target must have."""
    told = (schema.model_extra or {}).get("classes")
    if told is not None:
        return list(told) or None
    distinct = {value for value in targets if value is not None and value == value}  # NaN differs from itself
    if any(isinstance(value, str | bool) for value in distinct) or len(distinct) <= _PAIR:
        return sorted(distinct)
    return None
