"""The explanation of one row: immutable, every key of the reference, rules computed at the first look."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, ClassVar

from airflow_provider_cleartrace.explanations import filters, payload
from airflow_provider_cleartrace.explanations.errors import ExplanationError
from airflow_provider_cleartrace.explanations.rows import ExplainedRows, Kind, Threshold
from airflow_provider_cleartrace.explanations.values import (
    Prediction,
    Rule,
    Scalar,
    jsonable,
    one_or_all,
)

Bounds = Mapping[str, tuple[float, ...]]
"""``predict``, ``low`` and ``high``, each with one number a feature."""


@dataclass(frozen=True)
class CalibratedExplanation:
    """What calibration says of one row.

    Attributes:
        calibrated_explanations: the collection that this explanation belongs to.
        index: the row's position in the collection.
        binned: feature index to what was computed for its bins; read-only, empty for a fast explanation.
        feature_weights: ``predict``, ``low``, ``high``: one weight a feature.
        feature_predict: ``predict``, ``low``, ``high``: one prediction a feature.
        instance_prediction: the row's own prediction.
        conditions: for a factual explanation one condition a feature, as text; empty for alternatives.
        compute: gives the rules in force at the first look.
        with_conjunctions: whether conjunctions were asked for.
        unplaced: names of features that the calibration data has no place for in this row, a missing number
            or an unknown level: no rule is told of them.
        bin: the Mondrian category of the row, where the calibration has them.
        explain_time: seconds that the explanation took.
        filters: names of the filters that chose the rules; empty: all.
        draw: plots a rules dictionary; None for an explanation from JSON.
    """

    kind: ClassVar[Kind]

    calibrated_explanations: ExplainedRows = field(repr=False, compare=False)
    index: int
    binned: Mapping[int, Mapping[str, Any]] = field(repr=False)
    feature_weights: Bounds = field(repr=False)
    feature_predict: Bounds = field(repr=False)
    instance_prediction: Prediction
    conditions: tuple[str, ...] = field(repr=False)
    compute: Callable[[], Sequence[Rule]] = field(repr=False, compare=False)
    with_conjunctions: bool = False
    unplaced: tuple[str, ...] = ()
    bin: Scalar = None
    explain_time: float | None = field(default=None, compare=False)
    filters: tuple[str, ...] = ()
    draw: Callable[[Mapping[str, Any]], bytes] | None = field(default=None, repr=False, compare=False)

    @property
    def x_test(self) -> tuple[tuple[Scalar, ...], ...]:
        """All rows of the collection, decoded."""
        return self.calibrated_explanations.x_test

    @property
    def instance(self) -> tuple[Scalar, ...]:
        """The row's own values, decoded."""
        return self.x_test[self.index]

    @property
    def y_threshold(self) -> Threshold | None:
        """The threshold of a probabilistic regression."""
        return self.calibrated_explanations.y_threshold

    @property
    def y_minmax(self) -> tuple[float, float]:
        """Smallest and largest calibration target."""
        return self.calibrated_explanations.y_minmax

    @property
    def focus_columns(self) -> tuple[int, ...] | None:
        """Indexes of the features that rules were asked for; None: all."""
        return self.calibrated_explanations.focus_columns

    @property
    def prediction(self) -> Mapping[str, Any]:
        """``predict``, ``low``, ``high``, ``classes``, and for a classifier ``__full_probabilities__``."""
        return self.instance_prediction.as_mapping()

    @cached_property
    def feature_rules(self) -> tuple[Rule, ...]:
        """Every rule in force, computed at the first look: with conjunctions where they were asked for."""
        return tuple(self.compute())

    @property
    def _has_rules(self) -> bool:
        return "feature_rules" in vars(self)

    @property
    def _has_conjunctive_rules(self) -> bool:
        return self._has_rules and self.with_conjunctions

    @cached_property
    def rules(self) -> Mapping[str, Any]:
        """The rules dictionary of single conditions; each entry holds one value a rule."""
        return self._dictionary([rule for rule in self.feature_rules if not rule.is_conjunctive])

    @cached_property
    def conjunctive_rules(self) -> Mapping[str, Any] | None:
        """The rules dictionary with conjunctions; None where none were asked for."""
        return self._dictionary(self.feature_rules) if self.with_conjunctions else None

    def _get_rules(self) -> Mapping[str, Any]:
        """The rules dictionary in force."""
        return self.rules if self.conjunctive_rules is None else self.conjunctive_rules

    def _dictionary(self, rules: Sequence[Rule]) -> Mapping[str, Any]:
        own = self.instance_prediction
        base = own.estimate
        return MappingProxyType(
            {
                "base_predict": (base.value,),
                "base_predict_low": (base.interval.low,),
                "base_predict_high": (base.interval.high,),
                "predict": tuple(rule.prediction.value for rule in rules),
                "predict_low": tuple(rule.prediction.interval.low for rule in rules),
                "predict_high": tuple(rule.prediction.interval.high for rule in rules),
                "weight": tuple(rule.weight.value for rule in rules),
                "weight_low": tuple(rule.weight.interval.low for rule in rules),
                "weight_high": tuple(rule.weight.interval.high for rule in rules),
                "feature": tuple(one_or_all(rule.feature_indexes) for rule in rules),
                "feature_value": tuple(one_or_all(rule.feature_value) for rule in rules),
                "sampled_values": tuple(one_or_all(rule.sampled_values) for rule in rules),
                "value": tuple("\n".join(rule.shown) for rule in rules),
                "rule": tuple(rule.text for rule in rules),
                "is_conjunctive": tuple(rule.is_conjunctive for rule in rules),
                "classes": own.classes,
            }
        )

    def build_rules_payload(self) -> dict[str, Any]:
        """``core`` and ``metadata`` as JSON; a fresh dictionary, equal at every call."""
        return payload.rules_payload(
            self.calibrated_explanations,
            self.instance_prediction,
            self.feature_rules,
            unplaced=self.unplaced,
            chosen_by=self.filters,
        )

    def to_svg(self) -> bytes:
        """The library's plot of the rules in force, of the dozen with the largest weight.

        Raises:
            ExplanationError: a fast explanation, one without rules or from JSON, or matplotlib is not there.
        """
        if self.draw is None:
            raise ExplanationError("an explanation that was read from JSON cannot be plotted")
        return self.draw(self._get_rules())

    def to_json(self) -> dict[str, Any]:
        """Everything but the collection, as JSON."""
        return {
            "kind": self.kind,
            "index": self.index,
            "binned": jsonable(self.binned),
            "feature_weights": jsonable(self.feature_weights),
            "feature_predict": jsonable(self.feature_predict),
            "prediction": self.instance_prediction.to_json(),
            "conditions": list(self.conditions),
            "rules": [rule.to_json() for rule in self.feature_rules],
            "with_conjunctions": self.with_conjunctions,
            "unplaced": list(self.unplaced),
            "bin": self.bin,
            "explain_time": self.explain_time,
            "filters": list(self.filters),
        }


class FactualExplanation(CalibratedExplanation):
    """What is: how the row's own values contribute to its prediction."""

    kind = "factual"


class AlternativeExplanation(CalibratedExplanation):
    """What if: the predictions under other values of the row."""

    kind = "alternative"

    def filtered(self, names: Sequence[str]) -> AlternativeExplanation:
        """The explanation with the rules that the filters keep, conjunctions included.

        Args:
            names: any of ``super``, ``semi``, ``counter`` (of which a rule needs one) and ``ensured``,
                ``pareto`` (which narrow further).
        """
        filters.check(names)
        return dataclasses.replace(
            self,
            compute=lambda: [rule for rule in self.feature_rules if filters.keeps(names, rule.filters)],
            filters=tuple(names),
        )


class FastExplanation(CalibratedExplanation):
    """One calibrated weight a feature, without conditions."""

    kind = "fast"


KINDS: Mapping[str, type[CalibratedExplanation]] = MappingProxyType(
    {each.kind: each for each in (FactualExplanation, AlternativeExplanation, FastExplanation)}
)
