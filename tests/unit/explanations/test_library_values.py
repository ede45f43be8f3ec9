"""Every value is the library's own, and says what the model predicts when it is asked again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from airflow_provider_cleartrace.explanations.conjunctions import Conjunctions
from airflow_provider_cleartrace.explanations.question import Question
from tests.unit.explanations.scenes import Scene, breast_cancer, diabetes, german_credit, shared, wine

SCENES = {"breast cancer": breast_cancer, "wine": wine, "diabetes": diabetes, "german credit": german_credit}
COLUMNS = ("predict", "predict_low", "predict_high", "weight", "weight_low", "weight_high")
ROWS = 3

JOINED = Conjunctions(n_top_features=3, max_rule_size=3)


def texts(rules: Any) -> list[str]:
    return [text.replace(" & \n", " & ") for text in rules["rule"]]


def assert_equal(ours: Any, theirs: Any) -> None:
    assert len(ours) == len(theirs) == ROWS
    for own, told in zip(ours, theirs, strict=True):
        mine, its = own._get_rules(), told.get_rules()
        assert list(mine["rule"]) == texts(its)
        for name in COLUMNS:
            assert list(mine[name]) == [float(value) for value in its[name]], name
        for name in ("base_predict", "base_predict_low", "base_predict_high"):
            assert list(mine[name]) == [float(value) for value in its[name]]


@pytest.mark.parametrize("conjunctions", [None, JOINED], ids=["single", "joined"])
@pytest.mark.parametrize(
    ("name", "kind", "threshold"),
    [
        ("breast cancer", "factual", None),
        ("breast cancer", "alternative", None),
        ("wine", "factual", None),
        ("wine", "alternative", None),
        ("diabetes", "factual", None),
        ("diabetes", "alternative", None),
        ("diabetes", "factual", 140.0),
        ("diabetes", "alternative", (100.0, 200.0)),
        ("german credit", "factual", None),
    ],
)
def test_values_and_texts_are_the_library_s(
    name: str, kind: Any, threshold: Any, conjunctions: Conjunctions | None
) -> None:
    scene, explainer = shared(SCENES[name])
    question = Question(kind=kind, threshold=threshold, conjunctions=conjunctions)
    ours = explainer.explain(scene.rows(ROWS), question)
    theirs = scene.library(kind, ROWS, **({"threshold": threshold} if threshold else {}))
    if conjunctions is not None:
        theirs.add_conjunctions(conjunctions.n_top_features, conjunctions.max_rule_size)
    assert_equal(ours, theirs)


@pytest.mark.parametrize("name", SCENES)
def test_fast_weights_are_the_library_s(name: str) -> None:
    scene, explainer = shared(SCENES[name])
    assert_equal(explainer.fast(scene.rows(ROWS)), scene.library("fast", ROWS))


@pytest.mark.parametrize("kind", ["factual", "alternative"])
@pytest.mark.parametrize("name", ["breast cancer", "wine", "diabetes"])
def test_the_payload_has_every_value_of_the_library_s_payload(name: str, kind: Any) -> None:
    scene, explainer = shared(SCENES[name])
    ours = explainer.explain(scene.rows(ROWS), Question(kind=kind)).build_rules_payload()
    for mine, its in zip(ours, scene.library(kind, ROWS).build_rules_payload(), strict=True):
        own_rules = zip(mine["core"]["feature_rules"], mine["metadata"]["feature_rules"], strict=True)
        its_rules = zip(its["core"]["feature_rules"], its["metadata"]["feature_rules"], strict=True)
        for (rule, details), (told, more) in zip(own_rules, its_rules, strict=True):
            assert rule["condition"] == told["condition"]
            assert details["weight_uncertainty"] == more["weight_uncertainty"]
            assert details["prediction_uncertainty"] == more["prediction_uncertainty"]
            assert details["feature_index"] == [more["feature_index"]]
            assert details["condition_text"] == more["condition_text"]
            assert details["prediction_value"] == more["prediction_value"]
            for part in ("weight", "prediction"):
                if part in told:
                    interval = told[part]["uncertainty_interval"]
                    assert rule[part]["value"] == told[part]["value"]
                    assert rule[part]["uncertainty_interval"] == [interval["lower"], interval["upper"]]
            if kind == "alternative":
                assert details["weight_value"] == more["weight_value"]
                assert details["sampled_values"] == [more["instance_value"]]
                assert details["value"] == [more["alternative_value"]]
            else:
                assert details["instance_value"] == [more["instance_value"]]
        assert mine["metadata"]["prediction_uncertainty"] == its["metadata"]["prediction_uncertainty"]
        if kind == "factual":
            baseline = its["metadata"]["baseline_interval"]
            assert mine["metadata"]["baseline_prediction"] == {
                "value": its["metadata"]["baseline_prediction"],
                "uncertainty_interval": [baseline["lower"], baseline["upper"]],
            }


@pytest.mark.parametrize("name", SCENES)
def test_an_alternative_s_prediction_is_the_mean_of_predictions_for_its_sampled_values(name: str) -> None:
    scene, explainer = shared(SCENES[name])
    told = explainer.alternatives(scene.rows(3))
    for explanation in told:
        own = dict(zip(told.feature_names, explanation.instance, strict=True))
        label = explanation.prediction["classes"]
        changed = [
            {**own, rule.features[0]: value}
            for rule in explanation.feature_rules
            for value in rule.sampled_values[0]
        ]
        again = iter(predicted(explainer, scene, pd.DataFrame(changed), label))
        for rule in explanation.feature_rules:
            mean = np.mean([next(again) for _ in rule.sampled_values[0]])
            assert rule.prediction.value == pytest.approx(mean, abs=1e-12)
            if rule.features[0] in scene.levels:
                assert list(rule.sampled_values[0]) == [rule.conditions[0].value]
        assert explanation.feature_rules


def predicted(explainer: Any, scene: Scene, rows: pd.DataFrame, label: Any) -> list[float]:
    """The calibrated prediction of each row: of a class's probability, or of the quantity."""
    told = explainer.factual(rows, focus_columns=(scene.names[0],))
    if scene.classes is None:
        return [each.prediction["predict"] for each in told]
    position = scene.classes.index(label)
    return [each.prediction["__full_probabilities__"][position] for each in told]


def test_alternatives_of_a_category_name_every_other_level_that_changes_the_prediction() -> None:
    scene, explainer = shared(german_credit)
    known = set(scene.calibration["purpose"])
    for explanation in explainer.alternatives(scene.rows(4), focus_columns=("purpose",)):
        own = dict(zip(scene.names, explanation.instance, strict=True))
        told = {rule.conditions[0].value: rule.prediction for rule in explanation.feature_rules}
        base = explanation.instance_prediction.estimate
        levels = sorted(known - {own["purpose"]})
        changed = pd.DataFrame([{**own, "purpose": level} for level in levels])
        for level, again in zip(levels, explainer.factual(changed, focus_columns=("housing",)), strict=True):
            if again.instance_prediction.estimate.interval != base.interval:
                assert told.pop(level) == again.instance_prediction.estimate
        assert not told


@pytest.mark.parametrize("kind", ["factual", "alternative"])
def test_what_was_asked_about_some_features_leaves_what_is_told_of_all(kind: Any) -> None:
    scene, explainer = shared(german_credit)
    rows, some, other = scene.rows(3), tuple(scene.names[:2]), tuple(scene.names[2:])
    fresh = scene.explainer()
    whole = fresh.explain(rows, Question(kind=kind)).build_rules_payload()
    part = explainer.explain(rows, Question(kind=kind, focus_columns=some)).build_rules_payload()
    fresh.explain(rows, Question(kind=kind, focus_columns=other))
    assert fresh.explain(rows, Question(kind=kind)).build_rules_payload() == whole
    fresh.explain(rows, Question(kind=kind, focus_columns=other))
    assert fresh.explain(rows, Question(kind=kind, focus_columns=some)).build_rules_payload() == part
    assert all(payload["core"]["feature_rules"] for payload in part)


def test_the_order_of_kinds_does_not_matter() -> None:
    scene, explainer = shared(breast_cancer)
    rows = scene.rows(5)
    before = explainer.factual(rows).build_rules_payload()
    explainer.fast(rows)
    explainer.alternatives(rows)
    assert explainer.factual(rows).build_rules_payload() == before
