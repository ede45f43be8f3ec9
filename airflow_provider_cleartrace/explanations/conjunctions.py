"""Conjunctions of many rows at once: what the library will ask is enumerated, fetched together, and answered.

The library finds conjunctions row by row, and calibrates each candidate in a prediction of its own: thousands
of requests to a remote model. Its search asks through one method of the explanation. That method is replaced
twice: first it only notes what it is asked, then it answers from what was calibrated together. Candidates of
three conditions depend on the weights of those of two, so that each size is a round.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from airflow_provider_cleartrace.explanations.encoding import Matrix
from airflow_provider_cleartrace.explanations.errors import ExplanationError

MAX_RULE_SIZE = 3
"""Conditions a rule may join: each more multiplies what the model is asked by about five."""


@dataclass(frozen=True, slots=True)
class Conjunctions:
    """How conjunctions are searched.

    Attributes:
        n_top_features: rules, of the largest weight, that others are joined with.
        max_rule_size: most conditions of a rule.
    """

    n_top_features: int = 5
    max_rule_size: int = 2

    @classmethod
    def parse(cls, settings: Mapping[str, Any]) -> Conjunctions:
        """Read them by name.

        Raises:
            ExplanationError: a setting that there is not, or one out of its bounds.
        """
        known = [field.name for field in fields(cls)]
        if unknown := sorted(set(settings) - set(known)):
            raise ExplanationError(f"conjunctions: no setting {unknown[0]!r}; there are {', '.join(known)}")
        return cls(**settings)

    def __post_init__(self) -> None:
        for name in ("n_top_features", "max_rule_size"):
            if not isinstance(value := getattr(self, name), int):
                raise ExplanationError(f"conjunctions: {name} must be a whole number, not {value!r}")
        if self.n_top_features < 2:
            raise ExplanationError(
                f"conjunctions: n_top_features must be 2 or more, not {self.n_top_features}"
            )
        if not 2 <= self.max_rule_size <= MAX_RULE_SIZE:
            raise ExplanationError(
                f"conjunctions: max_rule_size must be 2 to {MAX_RULE_SIZE}, not {self.max_rule_size}"
            )


Calibrated = tuple[float, float, float]
"""Value, low and high."""

Calibrate = Callable[[Matrix, Sequence[Any]], tuple[Matrix, Matrix, Matrix]]
"""Values, lows and highs of rows, each for the class that its explanation is about."""

_NOT_YET: Calibrated = (0.0, 0.0, 0.0)
"""Stands for a candidate that is being noted. What a noting round finds is discarded."""


def add(explanations: Sequence[Any], wanted: Conjunctions, calibrate: Calibrate, *, first_only: bool) -> None:
    """Add conjunctions to the library's explanations, in place.

    Args:
        explanations: factual or alternative explanations of the library.
        wanted: how to search.
        calibrate: calibrates rows.
        first_only: the library calibrates only the first sampled combination of a candidate, as it does for
            more than two classes, rather than the mean of all.
    """
    answers: list[dict[Any, Calibrated]] = [{} for _ in explanations]
    for size in range(2, wanted.max_rule_size + 1):
        asked: list[tuple[int, Any, Matrix, Any]] = []
        for position, explanation in enumerate(explanations):
            found = _noted(explanation, wanted.n_top_features, size, answers[position])
            for key, (rows, label) in found.items():
                asked.append((position, key, rows[:1] if first_only else rows, label))
        if not asked:
            continue
        told = calibrate(
            np.concatenate([rows for _, _, rows, _ in asked]),
            [label for _, _, rows, label in asked for _ in range(len(rows))],
        )
        start = 0
        for position, key, rows, _ in asked:
            part = slice(start, start + len(rows))
            value, low, high = (float(np.mean(each[part])) for each in told)
            answers[position][key] = (value, low, high)
            start += len(rows)
    for explanation, known in zip(explanations, answers, strict=True):
        with _answering(explanation, lambda key, *_, known=known: known[key]):
            explanation.add_conjunctions(
                wanted.n_top_features, wanted.max_rule_size, _raise_on_predict_error=True
            )


def _noted(
    explanation: Any, n_top_features: int, size: int, known: dict[Any, Calibrated]
) -> dict[Any, tuple[Matrix, Any]]:
    """What a search up to ``size`` conditions asks beyond what is known."""
    noted: dict[Any, tuple[Matrix, Any]] = {}

    def note(key: Any, rows: Matrix, label: Any) -> Calibrated:
        if key in known:
            return known[key]
        noted[key] = (rows, label)
        return _NOT_YET

    with _answering(explanation, note):
        explanation.add_conjunctions(n_top_features, size, _raise_on_predict_error=True)
    explanation.remove_conjunctions()
    return noted


@contextmanager
def _answering(explanation: Any, answer: Callable[[Any, Matrix, Any], Calibrated]) -> Iterator[None]:
    """Have ``answer`` decide what the search of an explanation is told of a candidate."""

    def predict_conjunctive(
        values: Sequence[Any], features: Sequence[int], row: Any, threshold: Any, label: Any, **_: Any
    ) -> Calibrated:
        sampled = [np.atleast_1d(np.asarray(each, dtype=float)) for each in values]
        key = (tuple(features), tuple(each.tobytes() for each in sampled))
        return answer(key, _combinations(row, features, sampled), label)

    explanation.predict_conjunctive = predict_conjunctive
    try:
        yield
    finally:
        del explanation.predict_conjunctive


def _combinations(row: Any, features: Sequence[int], sampled: Sequence[Matrix]) -> Matrix:
    """The row with every combination of the sampled values, in the library's order."""
    grid = np.stack(np.meshgrid(*sampled, indexing="ij"), axis=-1).reshape(-1, len(features))
    rows = np.repeat(np.asarray(row, dtype=float).reshape(1, -1), len(grid), axis=0)
    rows[:, list(features)] = grid
    return rows
