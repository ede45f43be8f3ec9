"""The explanations of some rows together, and their way to JSON and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from airflow_provider_cleartrace.explanations import filters
from airflow_provider_cleartrace.explanations.models import (
    KINDS,
    AlternativeExplanation,
    CalibratedExplanation,
    Kind,
    Prediction,
    Threshold,
)
from airflow_provider_cleartrace.explanations.values import Interval, Rule, Scalar, frozen, jsonable


@dataclass(frozen=True)
class CalibratedExplanations:
    """The explanations of some rows, and what they share.

    Attributes:
        kind: factual, alternative or fast.
        mode: what the model is.
        feature_names: the features, in the model's order.
        x_test: the rows, decoded.
        y_minmax: smallest and largest calibration target; class indexes for a classifier.
        low_high_percentiles: of a plain regression's intervals; None otherwise.
        y_threshold: of a probabilistic regression.
        focus_columns: indexes of the features that rules were asked for; None: all.
        build: makes the explanations of this collection.
    """

    kind: Kind
    mode: Literal["classification", "regression"]
    feature_names: tuple[str, ...]
    x_test: tuple[tuple[Scalar, ...], ...] = field(repr=False)
    y_minmax: tuple[float, float]
    low_high_percentiles: tuple[float, float] | None
    y_threshold: Threshold | None
    focus_columns: tuple[int, ...] | None
    build: Callable[[CalibratedExplanations], Sequence[CalibratedExplanation]] = field(
        repr=False, compare=False
    )

    @cached_property
    def explanations(self) -> tuple[CalibratedExplanation, ...]:
        """One explanation a row."""
        return tuple(self.build(self))

    @property
    def is_probabilistic(self) -> bool:
        """Whether what is explained is a probability."""
        return self.mode == "classification" or self.y_threshold is not None

    @property
    def boundary(self) -> float | None:
        """The probability at which the decision changes; None for a quantity."""
        return filters.DECISION_BOUNDARY if self.is_probabilistic else None

    def __len__(self) -> int:
        return len(self.x_test)

    def __iter__(self) -> Iterator[CalibratedExplanation]:
        return iter(self.explanations)

    def __getitem__(self, index: int) -> CalibratedExplanation:
        return self.explanations[index]

    def build_rules_payload(self) -> list[dict[str, Any]]:
        """One payload a row."""
        return [explanation.build_rules_payload() for explanation in self]

    def filtered(self, names: Sequence[str]) -> CalibratedExplanations:
        """The same rows with the rules that the filters keep; see :meth:`AlternativeExplanation.filtered`."""
        filters.check(names, kind=self.kind)

        def build(parent: CalibratedExplanations) -> list[CalibratedExplanation]:
            return [
                dataclasses.replace(each.filtered(names), calibrated_explanations=parent)
                for each in self
                if isinstance(each, AlternativeExplanation)
            ]

        return dataclasses.replace(self, build=build) if names else self

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON of the shape ``collection`` in the package's JSON Schema."""
        percentiles = self.low_high_percentiles
        return {
            "kind": self.kind,
            "mode": self.mode,
            "feature_names": list(self.feature_names),
            "x_test": [list(row) for row in self.x_test],
            "y_minmax": list(self.y_minmax),
            "low_high_percentiles": None if percentiles is None else Interval(*percentiles).to_json(),
            "y_threshold": jsonable(self.y_threshold),
            "focus_columns": None if self.focus_columns is None else list(self.focus_columns),
            "explanations": [explanation.to_json() for explanation in self],
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> CalibratedExplanations:
        """Read what :meth:`to_json` wrote."""
        percentiles, threshold = document["low_high_percentiles"], document["y_threshold"]
        focus = document["focus_columns"]
        bounds = None if percentiles is None else Interval.from_json(percentiles)
        return cls(
            kind=document["kind"],
            mode=document["mode"],
            feature_names=tuple(document["feature_names"]),
            x_test=tuple(tuple(row) for row in document["x_test"]),
            y_minmax=(document["y_minmax"][0], document["y_minmax"][1]),
            low_high_percentiles=None if bounds is None else (bounds.low, bounds.high),
            y_threshold=tuple(threshold) if isinstance(threshold, list) else threshold,
            focus_columns=None if focus is None else tuple(focus),
            build=lambda parent: [_from_json(parent, each) for each in document["explanations"]],
        )


def _from_json(parent: CalibratedExplanations, document: Mapping[str, Any]) -> CalibratedExplanation:
    return KINDS[document["kind"]](
        calibrated_explanations=parent,
        index=document["index"],
        binned=frozen({int(feature): bins for feature, bins in document["binned"].items()}),
        feature_weights=frozen(document["feature_weights"]),
        feature_predict=frozen(document["feature_predict"]),
        instance_prediction=Prediction.from_json(document["prediction"]),
        conditions=tuple(document["conditions"]),
        compute=lambda: [Rule.from_json(rule) for rule in document["rules"]],
        with_conjunctions=document["with_conjunctions"],
        unplaced=tuple(document["unplaced"]),
        bin=document["bin"],
        explain_time=document["explain_time"],
        filters=tuple(document["filters"]),
    )
