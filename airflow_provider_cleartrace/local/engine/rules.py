"""Local rules: a few conditions a row meets under which its prediction is unusually common.

A rule is grown greedily as in subgroup discovery (Kloesgen, "Explora", 1996): of the conditions the row meets
on its strongest drivers, the one is added that maximises sqrt(support) * (confidence - base rate), as long as
the confidence rises. That quality is, up to a factor, the z value of a binomial test, so it prefers neither
tiny nor trivial groups.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from airflow_provider_cleartrace.local.engine.coding import code_table
from airflow_provider_cleartrace.local.engine.conditions import Condition, ConditionPool
from airflow_provider_cleartrace.local.engine.errors import InputError
from airflow_provider_cleartrace.local.engine.explanation import explain
from airflow_provider_cleartrace.local.engine.figures import listing, percent
from airflow_provider_cleartrace.local.engine.model import Model
from airflow_provider_cleartrace.local.engine.outcome import Outcomes
from airflow_provider_cleartrace.local.engine.table import Table

Selector = Literal["lift_threshold", "top_k"]

_DRIVERS = 8
"""Conditions come from the row's strongest drivers: a rule is to explain the prediction, not the row."""
_RISE = 1e-9
"""Confidence must rise by more than round-off."""


@dataclass(frozen=True)
class RuleSettings:
    """How rules are grown and chosen.

    Attributes:
        selector: "lift_threshold" gives one rule a row, the shortest prefix of the grown one that reaches
            `lift_threshold` of its best lift. "top_k" gives up to `top_k` rules grown from different
            features, by lift, then support.
        lift_threshold: share of the best lift, in (0, 1].
        top_k: rules a row, only for the selector "top_k".
        max_conditions: most conditions in a rule.
        min_support: least share of reference rows that meet a rule, in (0, 1).
    """

    selector: Selector = "lift_threshold"
    lift_threshold: float = 0.9
    top_k: int = 3
    max_conditions: int = 3
    min_support: float = 0.02

    def __post_init__(self) -> None:
        if self.selector not in ("lift_threshold", "top_k"):
            raise InputError(f"selector must be 'lift_threshold' or 'top_k', not {self.selector!r}")
        for name in ("top_k", "max_conditions"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(f"{name} must be a whole number of at least 1, not {value!r}")
        for name, highest in (("lift_threshold", "1"), ("min_support", "below 1")):
            value = getattr(self, name)
            valid = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1
            if not valid or (name == "min_support" and value == 1):
                raise InputError(f"{name} must be a number above 0 and at most {highest}, not {value!r}")

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> RuleSettings:
        """Read settings that arrive as a JSON object.

        Raises:
            InputError: an unknown key, with the known ones; a value of the wrong type or range.
        """
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(mapping) - set(known))
        if unknown:
            raise InputError(f"unknown rule settings {unknown}; known are {known}")
        return cls(**mapping)


@dataclass(frozen=True)
class Rule:
    """Conditions that one row meets, and what they say about its prediction.

    Every figure is counted on the model's reference rows, so anyone with these can count again. "Predicted
    like this row" means the same predicted class or, for a regression, the same side of the median reference
    prediction.

    Attributes:
        conditions: all of them are met by the row.
        outcome: the row's predicted outcome in words.
        support: share of the reference rows that meet all conditions.
        confidence: share of those that are predicted like this row.
        lift: confidence divided by the share of all reference rows predicted like this row; 1 is chance.
        coverage: share of the reference rows predicted like this row that meet all conditions.
        text: the rule as a sentence.
    """

    conditions: tuple[Condition, ...]
    outcome: str
    support: float
    confidence: float
    lift: float
    coverage: float
    text: str

    def to_json(self) -> dict[str, Any]:
        """Give the rule as a JSON object."""
        return {**self.__dict__, "conditions": [condition.to_json() for condition in self.conditions]}


@dataclass(frozen=True)
class _Prefix:
    """A rule on its way: condition indexes, and the counts of reference rows."""

    members: tuple[int, ...]
    rows: int
    hits: int

    @property
    def confidence(self) -> float:
        return self.hits / self.rows


def local_rules(model: Model, table: Table, /, **settings: Any) -> list[list[Rule]]:
    """Find rules for every row of a table.

    Args:
        model: a fitted model; its reference rows are counted.
        table: n rows with the model's features.
        **settings: the fields of RuleSettings.

    Returns:
        One list a row. It is empty where no condition that the row meets makes its prediction more common
        than it is anyway.

    Raises:
        InputError: unknown or invalid settings, missing feature columns, cells of the wrong type.
    """
    chosen = RuleSettings.from_mapping(settings)
    columns = model.schema.features
    outcomes = Outcomes.of(model)
    reference = outcomes.of_predictions(model.predictions_from_scores(model.scores(model.reference)))
    pool = ConditionPool.of(code_table(model.reference_table, columns), columns)
    met = pool.met_by(code_table(table, columns))
    own = outcomes.of_predictions(model.predict(table))
    strength = explain(model, table, use_sqrt=True).local_agop
    growers = {int(outcome): _Grower(pool, reference == outcome, chosen) for outcome in np.unique(own)}
    found = []
    for row, outcome in enumerate(own):
        drivers = np.argsort(-strength[row], kind="stable")[:_DRIVERS]
        usable = np.flatnonzero(met[:, row] & np.isin(pool.features, drivers))
        grower = growers[int(outcome)]
        found.append([grower.rule(prefix, outcomes.name(int(outcome))) for prefix in grower.select(usable)])
    return found


class _Grower:
    """Grows rules for one outcome."""

    def __init__(self, pool: ConditionPool, hit: NDArray[np.bool_], settings: RuleSettings) -> None:
        self._pool = pool
        self._hit = hit
        self._settings = settings
        self._total = len(hit)
        self._base = float(hit.mean())
        self._least = max(1, int(np.ceil(settings.min_support * self._total - _RISE)))
        # The first condition of every rule is looked up, not counted again a row.
        self._rows = pool.met.sum(axis=1)
        self._hits = pool.met[:, hit].sum(axis=1)

    def select(self, usable: NDArray[np.intp]) -> list[_Prefix]:
        """Give the chosen rules over conditions (by index) that a row meets, best first."""
        if not len(usable) or self._base in (0.0, 1.0):
            return []
        if self._settings.selector == "lift_threshold":
            prefixes = self._grow(usable, usable)
            if not prefixes:
                return []
            enough = self._settings.lift_threshold * prefixes[-1].confidence
            return [next(prefix for prefix in prefixes if prefix.confidence >= enough - _RISE)]
        features = self._pool.features[usable]
        grown = [
            self._grow(usable, usable[features == feature]) for feature in dict.fromkeys(features.tolist())
        ]
        distinct = {frozenset(prefixes[-1].members): prefixes[-1] for prefixes in grown if prefixes}
        ranked = sorted(distinct.values(), key=lambda rule: (-rule.confidence, -rule.rows, rule.members))
        return ranked[: self._settings.top_k]

    def rule(self, prefix: _Prefix, outcome: str) -> Rule:
        """State a grown rule."""
        conditions = tuple(self._pool.conditions[index] for index in prefix.members)
        lift = prefix.confidence / self._base
        text = (
            f"If {listing([str(condition) for condition in conditions])}, then {outcome} is predicted for "
            f"{percent(prefix.confidence)} of the rows ({prefix.hits:,} of {prefix.rows:,}), "
            f"against {percent(self._base)} of all {self._total:,}."
        )
        return Rule(
            conditions=conditions,
            outcome=outcome,
            support=prefix.rows / self._total,
            confidence=prefix.confidence,
            lift=lift,
            coverage=prefix.hits / int(self._hit.sum()),
            text=text,
        )

    def _grow(self, usable: NDArray[np.intp], first: NDArray[np.intp]) -> list[_Prefix]:
        """Grow one rule whose first condition is among `first`, and give its prefixes, confidence rising."""
        start = self._best(first, self._rows[first], self._hits[first], self._base)
        if start is None:
            return []
        prefixes = [start]
        while len(prefixes) < self._settings.max_conditions:
            last = prefixes[-1]
            inside = self._pool.met[list(last.members)].all(axis=0)
            taken = self._pool.features[list(last.members)]
            free = usable[~np.isin(self._pool.features[usable], taken)]
            met = self._pool.met[np.ix_(free, np.flatnonzero(inside))]
            extended = self._best(
                free, met.sum(axis=1), met[:, self._hit[inside]].sum(axis=1), last.confidence
            )
            if extended is None:
                break
            prefixes.append(_Prefix((*last.members, *extended.members), extended.rows, extended.hits))
        return prefixes

    def _best(
        self, candidates: NDArray[np.intp], rows: NDArray[np.intp], hits: NDArray[np.intp], confidence: float
    ) -> _Prefix | None:
        share = hits / np.maximum(rows, 1)
        allowed = (rows >= self._least) & (share > confidence + _RISE)
        if not allowed.any():
            return None
        quality = np.where(allowed, np.sqrt(rows / self._total) * (share - self._base), -np.inf)
        best = int(quality.argmax())
        return _Prefix((int(candidates[best]),), int(rows[best]), int(hits[best]))
