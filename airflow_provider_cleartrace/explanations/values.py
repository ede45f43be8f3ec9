"""The parts that explanations are made of: intervals, estimates, conditions and rules."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

Scalar = bool | int | float | str | None
"""A value of the table, as the model's schema knows it; None where it is missing."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An uncertainty interval; an infinite bound means that side is open."""

    low: float
    high: float

    @property
    def width(self) -> float:
        """``high - low``."""
        return self.high - self.low

    def to_json(self) -> list[float | None]:
        """``[low, high]``, with null for an open side."""
        return [None if math.isinf(bound) else bound for bound in (self.low, self.high)]

    @classmethod
    def from_json(cls, bounds: Sequence[float | None]) -> Interval:
        """Read what :meth:`to_json` wrote."""
        low, high = bounds
        return cls(-math.inf if low is None else low, math.inf if high is None else high)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A calibrated value with its interval."""

    value: float
    interval: Interval

    def to_json(self) -> dict[str, Any]:
        """``{"value": ..., "uncertainty_interval": [low, high]}``."""
        return {"value": self.value, "uncertainty_interval": self.interval.to_json()}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Estimate:
        """Read what :meth:`to_json` wrote."""
        return cls(document["value"], Interval.from_json(document["uncertainty_interval"]))


@dataclass(frozen=True, slots=True)
class Condition:
    """``feature operator value``; of a fast explanation the feature alone, with the row's value.

    ``value`` and ``text`` show a quantity with two decimals; ``boundary`` is the whole number.
    """

    feature: str
    feature_index: int
    operator: str
    value: Scalar
    text: str
    boundary: Scalar = None

    def to_json(self) -> dict[str, Any]:
        """The condition of a payload."""
        return {"feature": self.feature, "operator": self.operator, "value": self.value, "text": self.text}


CONJUNCTION = "and"
"""Operator of a rule with several conditions, which must all hold."""

RAW = "raw"
"""Operator of a fast rule, which is about a feature and states no condition."""

_AND = " & "


@dataclass(frozen=True, slots=True)
class Rule:
    """What is said of one feature, or of several in a conjunction.

    Attributes:
        conditions: one, or several that must all hold.
        weight: contribution to the prediction (factual, fast), or the change of it (alternative).
        prediction: the row's own prediction (factual), or the one under the rule (alternative, fast).
        shown: the row's own value of each condition's feature, as texts for people.
        feature_value: the row's own value of each condition's feature.
        sampled_values: for each condition the values of its feature that the rule was computed from.
        filters: of an alternative, the names of the filters that it belongs to.
    """

    conditions: tuple[Condition, ...]
    weight: Estimate
    prediction: Estimate
    shown: tuple[str, ...]
    feature_value: tuple[Scalar, ...]
    sampled_values: tuple[tuple[Scalar, ...], ...]
    filters: tuple[str, ...] = ()

    @property
    def is_conjunctive(self) -> bool:
        """Whether there are several conditions."""
        return len(self.conditions) > 1

    @property
    def text(self) -> str:
        """The rule for people."""
        return _AND.join(condition.text for condition in self.conditions)

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the features."""
        return tuple(condition.feature for condition in self.conditions)

    @property
    def feature_indexes(self) -> tuple[int, ...]:
        """The positions of the features."""
        return tuple(condition.feature_index for condition in self.conditions)

    def condition(self) -> dict[str, Any]:
        """The condition of a payload; of a conjunction with its parts."""
        if not self.is_conjunctive:
            return self.conditions[0].to_json()
        return {
            "feature": list(self.features),
            "operator": CONJUNCTION,
            "value": [condition.value for condition in self.conditions],
            "text": self.text,
            "conditions": [condition.to_json() for condition in self.conditions],
        }

    def to_json(self) -> dict[str, Any]:
        """All of the rule."""
        return {
            "conditions": [
                condition.to_json()
                | {"feature_index": condition.feature_index, "boundary": condition.boundary}
                for condition in self.conditions
            ],
            "weight": self.weight.to_json(),
            "prediction": self.prediction.to_json(),
            "value": list(self.shown),
            "feature_value": list(self.feature_value),
            "sampled_values": [list(values) for values in self.sampled_values],
            "filters": list(self.filters),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Rule:
        """Read what :meth:`to_json` wrote."""
        return cls(
            conditions=tuple(Condition(**condition) for condition in document["conditions"]),
            weight=Estimate.from_json(document["weight"]),
            prediction=Estimate.from_json(document["prediction"]),
            shown=tuple(document["value"]),
            feature_value=tuple(document["feature_value"]),
            sampled_values=tuple(tuple(values) for values in document["sampled_values"]),
            filters=tuple(document["filters"]),
        )


def one_or_all(values: Sequence[Any]) -> Any:
    """A single entry itself, several as a tuple: how the rules dictionary tells of conjunctions."""
    return values[0] if len(values) == 1 else tuple(values)


def jsonable(value: Any) -> Any:
    """Nested values as JSON; an infinite bound is null."""
    if isinstance(value, Mapping):
        return {str(key): jsonable(entry) for key, entry in value.items()}
    if isinstance(value, tuple | list):
        return [jsonable(entry) for entry in value]
    return None if isinstance(value, float) and math.isinf(value) else value


def frozen(value: Any, missing: float | None = None) -> Any:
    """What :func:`jsonable` wrote, read-only; null below ``low`` or ``high`` is an open side."""
    if isinstance(value, Mapping):
        sides = {"low": -math.inf, "high": math.inf}
        return MappingProxyType({key: frozen(entry, sides.get(key)) for key, entry in value.items()})
    if isinstance(value, tuple | list):
        return tuple(frozen(entry, missing) for entry in value)
    return missing if value is None else value


@dataclass(frozen=True)
class Prediction:
    """A row's own prediction.

    Attributes:
        estimate: the calibrated value: a probability, or a quantity of the target.
        classes: the class that the probability is of; None for a quantity.
        full_probabilities: calibrated probabilities of all classes, for classification.
    """

    estimate: Estimate
    classes: Scalar = None
    full_probabilities: tuple[float, ...] | None = None

    def as_mapping(self) -> Mapping[str, Any]:
        """The reference's dictionary."""
        told: dict[str, Any] = {
            "predict": self.estimate.value,
            "low": self.estimate.interval.low,
            "high": self.estimate.interval.high,
            "classes": self.classes,
        }
        if self.full_probabilities is not None:
            told["__full_probabilities__"] = self.full_probabilities
        return MappingProxyType(told)

    def to_json(self) -> dict[str, Any]:
        """All of the prediction."""
        told = self.estimate.to_json() | {"classes": self.classes}
        if self.full_probabilities is not None:
            told["full_probabilities"] = list(self.full_probabilities)
        return told

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Prediction:
        """Read what :meth:`to_json` wrote."""
        full = document.get("full_probabilities")
        return cls(Estimate.from_json(document), document["classes"], None if full is None else tuple(full))
