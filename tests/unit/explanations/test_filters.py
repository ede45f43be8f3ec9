"""The filters keep what the library keeps, and what the reference says in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_cleartrace.explanations.conjunctions import Conjunctions
from airflow_provider_cleartrace.explanations.errors import ExplanationError
from airflow_provider_cleartrace.explanations.filters import NAMES
from airflow_provider_cleartrace.explanations.question import Question
from airflow_provider_cleartrace.explanations.values import Estimate
from tests.unit.explanations.scenes import breast_cancer, diabetes, shared, wine

ROWS = 8
Scenes = pytest.mark.parametrize(
    ("scene", "threshold"),
    [(breast_cancer, None), (wine, None), (diabetes, None), (diabetes, 140.0)],
    ids=["two classes", "three classes", "quantity", "threshold"],
)


@pytest.mark.parametrize("conjunctions", [None, Conjunctions(3, 2)], ids=["single", "joined"])
@Scenes
def test_each_filter_keeps_what_the_library_s_keeps(
    scene: Callable[[], Any], threshold: float | None, conjunctions: Conjunctions | None
) -> None:
    made, explainer = shared(scene)
    ours = explainer.explain(
        made.rows(ROWS), Question(kind="alternative", threshold=threshold, conjunctions=conjunctions)
    )
    theirs = made.library("alternative", ROWS, **({} if threshold is None else {"threshold": threshold}))
    if conjunctions is not None:
        theirs.add_conjunctions(3, 2)
    seen = set()
    for name in NAMES:
        for mine, its in zip(ours.filtered([name]), theirs, strict=True):
            kept = [text.replace(" & \n", " & ") for text in getattr(its, name)().get_rules()["rule"]]
            assert [rule.text for rule in mine.feature_rules] == kept
            seen.update([name] if kept else [])
    assert seen == set(NAMES)


def words_of_the_reference(base: Estimate, rule: Estimate, *, probability: bool) -> set[str]:
    """A second reading of the reference, as directly as its sentences allow."""
    kept = set()
    if rule.interval.high - rule.interval.low <= base.interval.high - base.interval.low:
        kept.add("ensured")
    if not probability:
        if rule.value > base.value:
            kept.add("super")
        if rule.value < base.value:
            kept.add("counter")
        contains_base = rule.interval.low <= base.value <= rule.interval.high
        if contains_base and base.interval.low <= rule.value <= base.interval.high:
            kept.add("semi")
        return kept
    same_side = (rule.value > 0.5) if base.value > 0.5 else (rule.value < 0.5)
    closer = abs(rule.value - 0.5) < abs(base.value - 0.5)
    if same_side and closer:
        kept.add("semi")
    if same_side and not closer and rule.value != base.value:
        kept.add("super")
    if not same_side:
        kept.add("counter")
    return kept


def on_the_front(position: int, rules: list[Estimate]) -> bool:
    """No rule of a smaller value is narrower, or no rule of a larger one is."""
    own = rules[position]
    width = own.interval.width
    equal = [each.interval.width for each in rules if round(each.value, 12) == round(own.value, 12)]
    smaller = [each.interval.width for each in rules if round(each.value, 12) < round(own.value, 12)]
    larger = [each.interval.width for each in rules if round(each.value, 12) > round(own.value, 12)]
    if width > min(equal) + 1e-12:
        return False
    return width <= min(smaller, default=width) + 1e-12 or width <= min(larger, default=width) + 1e-12


@Scenes
def test_each_rule_s_filters_are_those_of_the_reference_s_words(
    scene: Callable[[], Any], threshold: float | None
) -> None:
    made, explainer = shared(scene)
    told = explainer.alternatives(made.rows(ROWS), threshold=threshold)
    for explanation in told:
        base = explanation.instance_prediction.estimate
        rules = [rule.prediction for rule in explanation.feature_rules]
        for position, rule in enumerate(explanation.feature_rules):
            words = words_of_the_reference(base, rule.prediction, probability=told.is_probabilistic)
            assert set(rule.filters) - {"pareto"} == words
            if "pareto" in rule.filters:
                assert on_the_front(position, rules)
        kept = {rule.prediction.value for rule in explanation.feature_rules if "pareto" in rule.filters}
        front = {rules[position].value for position in range(len(rules)) if on_the_front(position, rules)}
        assert {round(value, 12) for value in kept} == {round(value, 12) for value in front}


def test_directions_are_alternatives_and_qualities_are_conditions() -> None:
    scene, explainer = shared(breast_cancer)
    told = explainer.alternatives(scene.rows(ROWS))
    either = [rule for each in told.filtered(["super", "counter", "ensured"]) for rule in each.feature_rules]
    assert either
    for rule in either:
        assert "ensured" in rule.filters
        assert {"super", "counter"} & set(rule.filters)


def test_a_filter_that_does_not_exist_or_does_not_fit_is_refused() -> None:
    scene, explainer = shared(breast_cancer)
    told = explainer.factual(scene.rows(1))
    with pytest.raises(ExplanationError, match="a factual explanation has none"):
        told.filtered(["super"])
    with pytest.raises(ExplanationError, match="unknown filter 'best'"):
        explainer.alternatives(scene.rows(1), filters=("best",))
