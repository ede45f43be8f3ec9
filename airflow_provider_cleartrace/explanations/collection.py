"""The explanations of some rows together, and their way to JSON and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from airflow_provider_cleartrace.explanations import filters
from airflow_provider_cleartrace.explanations.models import (
    KINDS,
    AlternativeExplanation,
    CalibratedExplanation,
)
from airflow_provider_cleartrace.explanations.rows import ExplainedRows
from airflow_provider_cleartrace.explanations.values import Interval, Prediction, Rule, frozen, jsonable


@dataclass(frozen=True)
class CalibratedExplanations(ExplainedRows):
    """The explanations of some rows; its further attributes are those of :class:`~.ExplainedRows`.

    Attributes:
        build: makes the explanations of this collection.
    """

    build: Callable[[CalibratedExplanations], Sequence[CalibratedExplanation]] = field(
        repr=False, compare=False
    )

    @cached_property
    def explanations(self) -> tuple[CalibratedExplanation, ...]:
        """One explanation a row."""
        return tuple(self.build(self))

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
