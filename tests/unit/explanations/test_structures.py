"""The structures have every key of the reference, cannot be changed, and survive JSON."""

from __future__ import annotations

import dataclasses
import json
import operator
from typing import Any

import jsonschema
import matplotlib
import pytest
from matplotlib import pyplot as plt

from airflow_provider_cleartrace.explanations.collection import CalibratedExplanations
from airflow_provider_cleartrace.explanations.conjunctions import Conjunctions
from airflow_provider_cleartrace.explanations.errors import ExplanationError
from airflow_provider_cleartrace.explanations.question import Question
from airflow_provider_cleartrace.explanations.schema import json_schema
from tests.unit.explanations.scenes import breast_cancer, diabetes, german_credit, shared, wine

ATTRIBUTES = {
    "calibrated_explanations", "index", "x_test", "bin", "binned", "feature_weights", "feature_predict",
    "prediction", "y_threshold", "y_minmax", "rules", "conjunctive_rules", "conditions", "_has_rules",
    "_has_conjunctive_rules", "focus_columns", "explain_time", "_get_rules", "build_rules_payload",
}  # fmt: skip
RULES = {
    "base_predict", "base_predict_low", "base_predict_high", "predict", "predict_low", "predict_high",
    "weight", "weight_low", "weight_high", "feature", "feature_value", "sampled_values", "value", "rule",
    "is_conjunctive", "classes",
}  # fmt: skip
BASE = {"base_predict", "base_predict_low", "base_predict_high"}

QUESTIONS = [
    (breast_cancer, Question()),
    (german_credit, Question(kind="alternative", conjunctions=Conjunctions(3, 2))),
    (wine, Question(kind="fast")),
    (diabetes, Question(kind="factual", percentiles=(float("-inf"), 90.0))),
    (diabetes, Question(kind="alternative", threshold=(100.0, 200.0), filters=("counter",))),
]
questions = pytest.mark.parametrize(
    ("scene", "question"), QUESTIONS, ids=["factual", "alternative", "fast", "one-sided", "threshold"]
)


def told_of(scene: Any, question: Question, count: int = 4) -> CalibratedExplanations:
    made, explainer = shared(scene)
    return explainer.explain(made.rows(count), question)


@questions
def test_every_attribute_and_every_entry_of_the_rules_is_there(scene: Any, question: Question) -> None:
    for explanation in told_of(scene, question):
        assert not [name for name in ATTRIBUTES if not hasattr(explanation, name)]
        rules = explanation._get_rules()
        assert set(rules) == RULES
        assert {len(rules[name]) for name in BASE} == {1}
        assert {len(rules[name]) for name in RULES - BASE - {"classes"}} == {len(explanation.feature_rules)}
        assert {"predict", "low", "high"} <= set(explanation.feature_weights) & set(
            explanation.feature_predict
        )
        assert {"predict", "low", "high", "classes"} <= set(explanation.prediction)


@questions
def test_json_brings_the_same_explanations_back(scene: Any, question: Question) -> None:
    told = told_of(scene, question)
    document = json.loads(json.dumps(told.to_json(), allow_nan=False))
    jsonschema.validate(document, json_schema("collection"))

    back = CalibratedExplanations.from_json(document)

    assert back == told
    assert list(back) == list(told)
    assert back.to_json() == document
    assert back.build_rules_payload() == told.build_rules_payload()
    assert [dict(each._get_rules()) for each in back] == [dict(each._get_rules()) for each in told]


@questions
def test_payloads_fit_the_schema_and_are_equal_at_every_call(scene: Any, question: Question) -> None:
    told = told_of(scene, question)
    payloads = told.build_rules_payload()
    for payload in payloads:
        jsonschema.validate(json.loads(json.dumps(payload, allow_nan=False)), json_schema("payload"))
        assert payload["core"]["kind"] == question.kind
        assert ("baseline_prediction" in payload["metadata"]) == (question.kind == "factual")
        for rule in payload["core"]["feature_rules"]:
            assert ("prediction" in rule) == (question.kind == "alternative")
    assert told.build_rules_payload() == payloads


def test_the_schema_refuses_what_is_no_payload() -> None:
    (payload, *_) = told_of(breast_cancer, Question()).build_rules_payload()
    payload["core"]["feature_rules"][0]["weight"]["uncertainty_interval"] = {"lower": 0.0, "upper": 1.0}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(payload, json_schema("payload"))


def test_rules_are_computed_at_the_first_look_and_once() -> None:
    explanation = told_of(breast_cancer, Question())[0]
    assert not explanation._has_rules
    rules = explanation.rules
    assert explanation._has_rules
    assert not explanation._has_conjunctive_rules
    assert explanation.rules is rules
    assert explanation.conjunctive_rules is None


def test_nothing_can_be_changed() -> None:
    explanation = told_of(breast_cancer, Question())[0]
    with pytest.raises(dataclasses.FrozenInstanceError):
        explanation.index = 3  # type: ignore[misc]
    for mapping in (explanation.binned, explanation.binned[0], explanation.prediction, explanation.rules):
        with pytest.raises(TypeError):
            mapping["new"] = 1  # type: ignore[index]


def test_conjunctions_are_told_by_their_parts() -> None:
    told = told_of(german_credit, Question(kind="factual", conjunctions=Conjunctions(3, 3)))
    sizes = set()
    for explanation in told:
        assert explanation._has_rules is False
        joined = [rule for rule in explanation.feature_rules if rule.is_conjunctive]
        assert len(explanation.rules["rule"]) + len(joined) == len(explanation.conjunctive_rules["rule"])
        for rule in joined:
            condition = rule.condition()
            sizes.add(len(condition["conditions"]))
            assert condition["operator"] == "and"
            assert condition["text"] == " & ".join(part["text"] for part in condition["conditions"])
            assert condition["feature"] == [part["feature"] for part in condition["conditions"]]
    assert sizes == {2, 3}


@pytest.mark.parametrize("kind", ["factual", "alternative"])
def test_a_boundary_is_told_whole_where_its_text_has_two_decimals(kind: Any) -> None:
    meets = {"<": operator.lt, "<=": operator.le, ">": operator.gt}
    for explanation in told_of(diabetes, Question(kind=kind), 8):
        for rule in explanation.feature_rules:
            (condition,) = rule.conditions
            assert condition.value == pytest.approx(condition.boundary, abs=0.005)
            values = rule.feature_value if kind == "factual" else rule.sampled_values[0]
            assert all(meets[condition.operator](value, condition.boundary) for value in values)


def test_features_are_left_out_of_rules_and_their_predictions_are_not_asked_for() -> None:
    scene = breast_cancer()
    explainer, rows = scene.explainer(), scene.rows(5)
    explainer.factual(rows)
    all_rows, before = explainer.rows_sent, explainer.rows_sent
    second = scene.explainer()
    told = second.factual(rows, focus_columns=tuple(scene.names[:2]), features_to_ignore=(scene.names[1],))
    assert {rule.features for each in told for rule in each.feature_rules} <= {(scene.names[0],)}
    assert told[0].focus_columns == (0,)
    assert second.rows_sent < all_rows == before


def test_fast_weights_of_ignored_features_are_left_out() -> None:
    scene, explainer = shared(breast_cancer)
    told = explainer.fast(scene.rows(3), features_to_ignore=tuple(scene.names[:3]))
    assert {rule.features[0] for each in told for rule in each.feature_rules} == set(scene.names[3:])


@pytest.mark.parametrize(
    ("scene", "question"),
    [
        (german_credit, Question(kind="alternative")),
        (breast_cancer, Question(conjunctions=Conjunctions(3, 2))),
        (diabetes, Question()),
    ],
    ids=["alternative", "joined", "quantity"],
)
def test_a_plot_has_the_same_bytes_each_time_and_leaves_matplotlib_as_it_was(
    scene: Any, question: Question
) -> None:
    matplotlib.use("Agg")
    first, second = (told_of(scene, question, 1)[0] for _ in range(2))
    plt.figure()
    figures, settings = plt.get_fignums(), dict(plt.rcParams)
    drawn = first.to_svg()
    assert b"<svg" in drawn
    assert second.to_svg() == drawn
    assert plt.get_fignums() == figures
    assert dict(plt.rcParams) == settings
    plt.close()


def test_an_explanation_becomes_a_plot_unless_it_comes_from_json() -> None:
    told = told_of(german_credit, Question(kind="alternative"), 1)
    assert b"<svg" in told[0].to_svg()
    with pytest.raises(ExplanationError, match="read from JSON"):
        CalibratedExplanations.from_json(told.to_json())[0].to_svg()
    with pytest.raises(ExplanationError, match="not of fast ones"):
        told_of(breast_cancer, Question(kind="fast"), 1)[0].to_svg()
