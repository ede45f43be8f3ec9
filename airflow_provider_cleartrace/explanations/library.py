r"""The explanations of the library ``calibrated-explanations`` become ours; every difference is named here.

The library never sees names or levels: its features are ``f0, f1, ...`` and its categories numbers, so that
its rule texts can be read without doubt. Where its structures differ from the reference:

==========================================  ============================================================
in the library                              here
==========================================  ============================================================
intervals ``{"lower": l, "upper": u}``      ``[l, u]``, null for an open side
``kind`` of a fast explanation "factual"    ``"fast"``
no prediction in an alternative's core      ``core.prediction``
weight of an alternative only in metadata   ``core.feature_rules[].weight`` as well
``instance_value`` of an alternative        ``sampled_values``: the values that the rule was computed from
``alternative_value`` of an alternative     ``value``: the row's own value as text
a conjunction's feature ``"[0, 3]"``        list of names, operator ``"and"``, and each part in ``conditions``
text of a conjunction ``"a & \nb"``          ``"a & b"``
``feature_value`` None in conjunctions      the row's own values of its features
``feature_value`` None in fast rules        the row's own value
class of a binary probability ``1.0``       the label of class 1; None with a threshold or for a quantity
``__full_probabilities__`` of all rows      those of the row
``binned`` by kind of number, then feature  by feature, then kind of number
alternative of a category beyond the row's  the prediction of the category that the rule names; the library
own shows its predecessor's prediction,     skips the row's own category in the names and not in the
and the next category has no rule           predictions (:func:`realign`)
==========================================  ============================================================

Two oddities are kept, since values are the library's: of more than two classes, a conjunction's prediction is
that of its first sampled combination; and the sampled values of a factual rule, from which its conjunctions
are computed, are those of one of the feature's bins, which can be another one beside other rows.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from airflow_provider_cleartrace.explanations import filters, plots
from airflow_provider_cleartrace.explanations.collection import CalibratedExplanations
from airflow_provider_cleartrace.explanations.encoding import Encoder
from airflow_provider_cleartrace.explanations.errors import ExplanationError
from airflow_provider_cleartrace.explanations.models import KINDS, CalibratedExplanation
from airflow_provider_cleartrace.explanations.values import (
    RAW,
    Condition,
    Estimate,
    Interval,
    Prediction,
    Rule,
    Scalar,
)

_CONDITION = re.compile(r"f\d+ (<=|>=|<|>|=) (\S+)")
_AND = " & \n"
_OPERATORS = {"=": "=="}

RULE_COLUMNS = (
    "predict",
    "predict_low",
    "predict_high",
    "weight",
    "weight_low",
    "weight_high",
    "value",
    "rule",
    "feature",
    "sampled_values",
    "feature_value",
    "is_conjunctive",
)
"""Entries of the library's rules dictionary that have one value a rule."""


def installed_version() -> str:
    """The library's version.

    Raises:
        ExplanationError: it is not installed.
    """
    try:
        return importlib.metadata.version("calibrated-explanations")
    except importlib.metadata.PackageNotFoundError:
        raise ExplanationError(
            "the library calibrated-explanations is not there: install the extra 'calibrated'"
        ) from None


def placeholders(count: int) -> list[str]:
    """The names that the library knows features by."""
    return [f"f{index}" for index in range(count)]


def drop_rules(explanation: Any, features: set[int]) -> None:
    """Take the rules of some features out of an explanation of the library."""
    rules = explanation.get_rules()
    kept = [index for index, feature in enumerate(rules["feature"]) if feature not in features]
    if len(kept) < len(rules["feature"]):
        explanation.rules = rules | {name: [rules[name][index] for index in kept] for name in RULE_COLUMNS}


def realign(explanation: Any, levelled: Sequence[int]) -> None:
    """Pair the alternatives of categories with their own predictions, in an explanation of the library.

    The library leaves the row's own category out of the names and not out of the predictions, which shifts
    every category behind it. Its rules are computed again from predictions without the row's own.
    """
    binned, row = explanation.binned, explanation.x_test
    values = binned["rule_values"]
    own = {
        feature: np.asarray(values[feature][0]) == row[feature] for feature in levelled if feature in values
    }
    if not own:
        return
    explanation.binned = binned | {
        name: binned[name] | {feature: binned[name][feature][~is_own] for feature, is_own in own.items()}
        for name in ("predict", "low", "high")
    }
    explanation.reset()
    explanation.binned = binned


class Converter:
    """Reads the library's explanations of one collection.

    Args:
        encoder: gives names and values back.
        classes: the labels of a classifier; None for a regression.
        unplaced: (n, d): where a row's value has no place in the calibration data.
        hidden: for each row the features that no rule is told of.
        boundaries: (n, d, 2): the borders of the bin that each value lies in.
        with_conjunctions: whether conjunctions were added.
    """

    def __init__(
        self,
        encoder: Encoder,
        classes: Sequence[Scalar] | None,
        unplaced: NDArray[np.bool_],
        hidden: Sequence[set[int]],
        boundaries: NDArray[np.float64],
        *,
        with_conjunctions: bool,
    ) -> None:
        self._encoder = encoder
        self._classes = classes
        self._unplaced = unplaced
        self._hidden = hidden
        self._boundaries = boundaries
        self._with_conjunctions = with_conjunctions

    def explanation(self, parent: CalibratedExplanations, told: Any) -> CalibratedExplanation:
        """One explanation; its rules are read at the first look at them."""
        names, unplaced = self._encoder.names, self._unplaced[told.index]
        own = self._prediction(told)
        return KINDS[parent.kind](
            calibrated_explanations=parent,
            index=int(told.index),
            binned=self._binned(told.binned),
            feature_weights=_bounds(told.feature_weights),
            feature_predict=_bounds(told.feature_predict),
            instance_prediction=own,
            conditions=tuple(self._conditions_of(told, parent.kind)),
            compute=lambda: self._rules(told, parent, own.estimate),
            with_conjunctions=self._with_conjunctions,
            unplaced=tuple(name for name, is_unplaced in zip(names, unplaced, strict=True) if is_unplaced),
            bin=_plain(told.bin),
            explain_time=_plain(told.explain_time),
            draw=lambda rules: plots.draw(told, rules),
        )

    def _prediction(self, told: Any) -> Prediction:
        raw = told.prediction
        estimate = _estimate(raw["predict"], raw["low"], raw["high"])
        if self._classes is None:
            return Prediction(estimate)
        full = raw["__full_probabilities__"]
        probabilities = np.asarray(full[0] if isinstance(full, tuple) else full)[told.index]
        return Prediction(estimate, self._classes[int(raw["classes"])], tuple(probabilities.tolist()))

    def _rules(self, told: Any, parent: CalibratedExplanations, base: Estimate) -> list[Rule]:
        raw = told.get_rules()
        row = np.asarray(told.x_test, dtype=float)
        hidden = self._hidden[told.index]
        # A fast explanation computes all of its rules again, whichever were dropped.
        rules = [
            self._rule(raw, index, row, self._borders(told, parent.kind))
            for index, features in enumerate(raw["feature"])
            if hidden.isdisjoint(np.atleast_1d(features).tolist())
        ]
        if parent.kind != "alternative":
            return rules
        memberships = filters.memberships(base, [rule.prediction for rule in rules], boundary=parent.boundary)
        return [
            dataclasses.replace(rule, filters=member) for rule, member in zip(rules, memberships, strict=True)
        ]

    def _borders(self, told: Any, kind: str) -> Mapping[str, Any]:
        """By operator, for each feature the border of the row's bin that the operator speaks of."""
        low, high = self._boundaries[told.index].T
        return {"<": low, ">": high} if kind == "alternative" else {">": low, "<=": high}

    def _rule(self, raw: Mapping[str, Any], index: int, row: Any, borders: Mapping[str, Any]) -> Rule:
        features = np.atleast_1d(raw["feature"][index]).astype(int).tolist()
        sampled = raw["sampled_values"][index]
        if len(features) == 1:
            sampled = [sampled]
        columns = [self._encoder.columns[feature] for feature in features]
        return Rule(
            conditions=tuple(
                self._condition(text, feature, row, borders)
                for text, feature in zip(raw["rule"][index].split(_AND), features, strict=True)
            ),
            weight=_estimate(*(raw[name][index] for name in ("weight", "weight_low", "weight_high"))),
            prediction=_estimate(*(raw[name][index] for name in ("predict", "predict_low", "predict_high"))),
            shown=tuple(column.text(row[feature]) for column, feature in zip(columns, features, strict=True)),
            feature_value=tuple(
                column.decode(row[feature]) for column, feature in zip(columns, features, strict=True)
            ),
            sampled_values=tuple(
                () if values is None else tuple(column.decode(value) for value in np.ravel(values).tolist())
                for column, values in zip(columns, sampled, strict=True)
            ),
        )

    def _condition(self, text: str, feature: int, row: Any, borders: Mapping[str, Any]) -> Condition:
        name, column = self._encoder.names[feature], self._encoder.columns[feature]
        parsed = _CONDITION.fullmatch(text)
        if parsed is None:
            return Condition(name, feature, RAW, column.decode(row[feature]), name)
        sign, raw = parsed.groups()
        value, shown = column.boundary(raw)
        whole = value if sign not in borders else column.decode(float(borders[sign][feature]))
        return Condition(name, feature, _OPERATORS.get(sign, sign), value, f"{name} {sign} {shown}", whole)

    def _conditions_of(self, told: Any, kind: str) -> list[str]:
        if kind == "fast":
            return list(self._encoder.names)
        row = np.asarray(told.x_test, dtype=float)
        placed = ~self._unplaced[told.index]
        return [
            self._condition(text, feature, row, {}).text if placed[feature] else self._encoder.names[feature]
            for feature, text in enumerate(told.conditions)
        ]

    def _binned(self, binned: Mapping[str, Mapping[int, Any]]) -> Mapping[int, Mapping[str, Any]]:
        by_feature: dict[int, dict[str, Any]] = {}
        for name, entries in binned.items():
            for feature, values in entries.items():
                decode = self._encoder.columns[int(feature)].decode
                by_feature.setdefault(int(feature), {})[name] = (
                    _tree(values, decode) if name == "rule_values" else _tree(values, _plain)
                )
        return MappingProxyType({feature: MappingProxyType(told) for feature, told in by_feature.items()})


def _estimate(value: Any, low: Any, high: Any) -> Estimate:
    return Estimate(float(value), Interval(float(low), float(high)))


def _bounds(told: Mapping[str, Any]) -> Mapping[str, tuple[float, ...]]:
    return MappingProxyType({name: tuple(np.asarray(told[name], dtype=float).tolist()) for name in told})


def _tree(values: Any, convert: Callable[[Any], Any]) -> Any:
    """Nested sequences as tuples, with every number converted."""
    if isinstance(values, list | tuple | np.ndarray):
        return tuple(_tree(value, convert) for value in values)
    return convert(values)


def _plain(value: Any) -> Any:
    """A numpy scalar as Python's own."""
    return value.item() if isinstance(value, np.generic) else value
