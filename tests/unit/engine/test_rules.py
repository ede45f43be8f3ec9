"""Local rules: they hold for their row, and every figure can be counted again from the reference rows."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from airflow_provider_cleartrace.local.engine import FitConfig, InputError, Model, Table, fit
from airflow_provider_cleartrace.local.engine.conditions import Condition
from airflow_provider_cleartrace.local.engine.rules import Rule, RuleSettings, local_rules
from airflow_provider_cleartrace.local.engine.table import json_values
from tests.unit.engine.engine_tables import Labelled

Models = dict[tuple[str, str], Model]
EVERY_MODEL = [
    (base, task) for base in ("xrfm", "xgboost") for task in ("regression", "binary", "multiclass")
]


def holds(condition: Condition, value: Any) -> bool:
    """Read a condition as its documentation says, on one JSON value."""
    if condition.operator == "is missing":
        return value is None
    if value is None:
        return False
    if condition.operator == "between":
        assert isinstance(condition.value, tuple)
        return bool(condition.value[0] < value <= condition.value[1])
    if condition.operator == "==":
        return bool(value == condition.value)
    return bool(value <= condition.value if condition.operator == "<=" else value > condition.value)


def meeting(rule: Rule, table: Table) -> NDArray[np.bool_]:
    columns = {condition.feature: json_values(table[condition.feature]) for condition in rule.conditions}
    return np.array(
        [
            all(holds(condition, columns[condition.feature][row]) for condition in rule.conditions)
            for row in range(len(table))
        ]
    )


def outcomes(model: Model, table: Table, reference: NDArray[np.float64]) -> NDArray[Any]:
    predictions = model.predict(table)
    if model.task == "regression":
        return predictions > np.median(reference)
    return predictions.argmax(axis=1) if predictions.ndim == 2 else predictions >= 0.5


@pytest.mark.parametrize(("base", "task"), EVERY_MODEL)
@pytest.mark.parametrize("selector", ["lift_threshold", "top_k"])
def test_every_figure_equals_a_count_of_the_reference_rows(
    models: Models, unseen: Labelled, base: str, task: str, selector: str
) -> None:
    model = models[base, task]
    reference = model.predict(model.reference_table)
    like = outcomes(model, model.reference_table, reference)
    own = outcomes(model, unseen.table, reference)
    found = local_rules(model, unseen.table, selector=selector)
    assert len(found) == len(unseen.table)
    assert sum(map(len, found)) >= len(unseen.table) * 0.8
    for row, rules in enumerate(found):
        for rule in rules:
            inside, hit = meeting(rule, model.reference_table), like == own[row]
            assert rule.support == pytest.approx(inside.mean())
            assert rule.confidence == pytest.approx(hit[inside].mean())
            assert rule.lift == pytest.approx(hit[inside].mean() / hit.mean())
            assert rule.coverage == pytest.approx(inside[hit].mean())
            assert rule.support >= RuleSettings().min_support
            assert {condition.feature for condition in rule.conditions} <= set(model.schema.feature_names)


@pytest.mark.parametrize(("base", "task"), EVERY_MODEL)
def test_a_row_meets_its_own_rules(models: Models, unseen: Labelled, base: str, task: str) -> None:
    found = local_rules(models[base, task], unseen.table, selector="top_k", top_k=5)
    for row, rules in enumerate(found):
        for rule in rules:
            assert meeting(rule, unseen.table)[row]


def test_rules_beat_chance_and_keep_the_limits(models: Models, unseen: Labelled) -> None:
    settings = {"selector": "top_k", "top_k": 4, "max_conditions": 2, "min_support": 0.1}
    for rules in local_rules(models["xrfm", "binary"], unseen.table, **settings):
        assert len(rules) <= 4
        assert [rule.lift for rule in rules] == sorted((rule.lift for rule in rules), reverse=True)
        assert len({frozenset(rule.conditions) for rule in rules}) == len(rules)
        for rule in rules:
            assert rule.lift > 1
            assert rule.support >= 0.1
            assert 1 <= len(rule.conditions) <= 2
            assert len({condition.feature for condition in rule.conditions}) == len(rule.conditions)


def test_the_threshold_takes_the_shortest_prefix_that_reaches_its_share(
    models: Models, unseen: Labelled
) -> None:
    model = models["xrfm", "regression"]
    whole = local_rules(model, unseen.table, lift_threshold=1.0)
    short = local_rules(model, unseen.table, lift_threshold=0.8)
    shortened = 0
    for complete, prefix in zip(whole, short, strict=True):
        assert len(complete) == len(prefix) <= 1
        for best, rule in zip(complete, prefix, strict=True):
            assert rule.lift >= 0.8 * best.lift - 1e-9
            assert rule.conditions == best.conditions[: len(rule.conditions)]
            shortened += len(rule.conditions) < len(best.conditions)
    assert shortened


def test_a_planted_rule_is_found() -> None:
    random = np.random.default_rng(0)
    age, income, noise = random.integers(18, 80, 600), random.normal(3000, 800, 600), random.normal(size=600)
    approved = (age > 40) & (income > 2600)
    table = Table.from_columns({"age": age, "income": income, "noise": noise})
    model = fit(table, approved, target_name="approved", config=FitConfig(mode="fast"))
    applicant = Table.from_columns({"age": [60], "income": [4200.0], "noise": [0.0]})
    (rule,) = local_rules(model, applicant, lift_threshold=1.0)[0]
    assert {"age", "income"} <= {condition.feature for condition in rule.conditions}
    assert rule.outcome == "approved = true"
    assert rule.confidence > 0.95


def test_the_text_states_the_conditions_and_the_counts(models: Models, unseen: Labelled) -> None:
    model = models["xrfm", "binary"]
    rules = [rule for rules in local_rules(model, unseen.table) for rule in rules]
    total = len(model.reference_table)
    for rule in rules:
        counts = [int(text.replace(",", "")) for text in re.findall(r"\((\d+) of (\d+)\)", rule.text)[0]]
        assert counts == [round(rule.confidence * rule.support * total), round(rule.support * total)]
        assert all(str(condition) in rule.text for condition in rule.conditions)
        assert rule.outcome in rule.text
    assert {rule.outcome for rule in rules} == {"price = true", "price = false"}


def test_rules_of_german_credit_are_quick_and_worth_reading(german_credit: tuple[Table, list[float]]) -> None:
    table, target = german_credit
    model = fit(table, target, target_name="good_credit", config=FitConfig(mode="fast"))
    found = local_rules(model, table)
    assert np.mean([bool(rules) for rules in found]) > 0.95
    assert np.mean([rules[0].lift for rules in found if rules]) > 1.2


def test_a_rule_round_trips_as_json(models: Models, unseen: Labelled) -> None:
    rule = local_rules(models["xrfm", "multiclass"], unseen.table)[0][0].to_json()
    assert set(rule) == {"conditions", "outcome", "support", "confidence", "lift", "coverage", "text"}
    assert set(rule["conditions"][0]) == {"feature", "operator", "value"}


def test_unknown_settings_are_named(models: Models, unseen: Labelled) -> None:
    with pytest.raises(InputError, match=r"\['depth', 'table'\].*selector"):
        local_rules(models["xrfm", "binary"], unseen.table, depth=3, table=1)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("selector", "best"),
        ("lift_threshold", 0),
        ("lift_threshold", 1.5),
        ("lift_threshold", "0.9"),
        ("top_k", 0),
        ("top_k", True),
        ("max_conditions", 1.5),
        ("min_support", 1),
        ("min_support", -0.1),
    ],
)
def test_invalid_settings_are_refused_by_name(key: str, value: Any) -> None:
    with pytest.raises(InputError, match=key):
        RuleSettings.from_mapping({key: value})
