"""The model is asked seldom, its answers are checked, and odd values have a defined treatment."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from airflow_provider_cleartrace.explanations.conjunctions import Conjunctions
from airflow_provider_cleartrace.explanations.encoding import Moment
from airflow_provider_cleartrace.explanations.errors import ExplanationError
from airflow_provider_cleartrace.explanations.explainer import CalibratedExplainer
from airflow_provider_cleartrace.explanations.held_out import of_probabilities
from airflow_provider_cleartrace.explanations.predictions import RemoteClassifier, RemoteRegressor
from airflow_provider_cleartrace.explanations.question import MAX_LEVELS, Question, percentiles_of
from tests.unit.explanations.scenes import Scene, breast_cancer, diabetes, german_credit


class TestRequests:
    def test_factual_explanations_take_two_and_conjunctions_two_more(self) -> None:
        scene = breast_cancer()
        explainer = scene.explainer()
        assert len(scene.asked) == 1
        explainer.factual(scene.rows(12))
        assert len(scene.asked) == 3
        explainer.factual(scene.rows(12), conjunctions=Conjunctions(5, 2))
        assert len(scene.asked) == 6
        explainer.factual(scene.rows(12), conjunctions=Conjunctions(5, 3))
        assert len(scene.asked) == 10
        assert (explainer.calls, explainer.rows_sent) == (10, sum(scene.asked))

    def test_no_request_is_larger_than_allowed_and_several_may_be_in_flight(self) -> None:
        scene = breast_cancer()
        explainer = scene.explainer(request_rows=100, max_in_flight=3)
        alone = breast_cancer().explainer()
        told = explainer.alternatives(scene.rows(8))
        assert max(scene.asked) <= 108
        assert told.build_rules_payload() == alone.alternatives(scene.rows(8)).build_rules_payload()

    def test_rows_of_a_finished_batch_are_forgotten_and_the_calibration_is_not(self) -> None:
        scene = breast_cancer()
        explainer = scene.explainer()
        explainer.factual(scene.rows(10))
        first = list(scene.asked[1:])
        explainer.factual(scene.rows(10))
        assert scene.asked[1 + len(first) :] == first

    def test_a_row_is_explained_alike_alone_and_among_others(self) -> None:
        scene = diabetes()
        explainer = scene.explainer()
        together = explainer.alternatives(scene.rows(6)).build_rules_payload()
        alone = [
            explainer.alternatives(scene.rows(6)[index : index + 1]).build_rules_payload()[0]
            for index in range(6)
        ]
        assert together == alone


class TestAnswers:
    @pytest.mark.parametrize(
        ("spoil", "text"),
        [
            (lambda told: told[::-1], "two answers for the same row"),
            (lambda told: np.random.default_rng(1).permutation(told), "two answers for the same row"),
            (lambda told: np.roll(told, 1), "two answers for the same row"),
            (lambda told: told[:-1], "answers for"),
            (lambda told: np.where(np.arange(len(told)) == 5, np.nan, told), "no finite number"),
            (lambda told: told + 1.5, "no probabilities"),
            (lambda told: np.column_stack([told, told, told]), "3 classes apart, not 2"),
        ],
        ids=["reversed", "shuffled", "shifted", "short", "NaN", "no probability", "other classes"],
    )
    def test_an_answer_that_cannot_be_one_is_refused(self, spoil: Callable[[Any], Any], text: str) -> None:
        scene = breast_cancer()
        explainer = CalibratedExplainer(
            lambda frame: spoil(scene.predict(frame)), feature_names=scene.names, classes=scene.classes
        )
        with pytest.raises(ExplanationError, match=text):
            explainer.calibrate(scene.calibration, scene.calibration_target)

    def test_a_server_that_changes_its_order_later_is_caught_as_well(self) -> None:
        scene = diabetes()
        later: list[bool] = []
        explainer = CalibratedExplainer(
            lambda frame: scene.predict(frame)[:: -1 if later else 1], feature_names=scene.names
        )
        explainer.calibrate(scene.calibration, scene.calibration_target)
        later.append(True)
        with pytest.raises(ExplanationError, match="two answers for the same row"):
            explainer.factual(scene.rows(5))


class TestCalibrationData:
    def explainer(self, scene: Scene) -> CalibratedExplainer:
        return CalibratedExplainer(
            scene.predict, feature_names=scene.names, classes=scene.classes, categories=scene.levels
        )

    @pytest.mark.parametrize(
        ("spoil", "text"),
        [
            (lambda rows, target: (rows[:29], target[:29]), "29 calibration rows are too few: 30 are needed"),
            (
                lambda rows, target: (rows[target == 1], target[target == 1]),
                "no calibration row has the class 0",
            ),
            (lambda rows, target: (rows, target + 1), "1 values that are no classes of the model"),
            (lambda rows, target: (rows, target[:-1]), "have 188 targets"),
            (lambda rows, target: (rows.iloc[:, :5], target), "lacks the column"),
            (lambda rows, target: (rows.replace(rows.iloc[3, 0], np.inf), target), "an infinite value"),
        ],
    )
    def test_too_little_or_unfit_data_is_refused_before_the_model_is_asked(
        self, spoil: Any, text: str
    ) -> None:
        scene = breast_cancer()
        rows, target = spoil(scene.calibration, scene.calibration_target)
        with pytest.raises(ExplanationError, match=text):
            self.explainer(scene).calibrate(rows, target)
        assert scene.asked == []

    def test_rows_without_a_number_or_target_are_left_out_and_counted(self) -> None:
        scene = breast_cancer()
        rows, target = scene.calibration.copy(), scene.calibration_target.astype(float)
        rows.iloc[3, 0] = None
        target[5] = None
        explainer = self.explainer(scene).calibrate(rows, target)
        assert explainer.rows_dropped == 2
        assert explainer.rows == len(rows) - 2

    def test_a_missing_level_is_a_level(self) -> None:
        scene = german_credit()
        rows = scene.calibration.astype({"housing": object})
        rows.loc[::4, "housing"] = None
        told = []

        def predict(frame: pd.DataFrame) -> Any:
            told.append(frame["housing"].isna().any())
            return scene.predict(frame.assign(housing=frame["housing"].fillna("own")))

        explainer = CalibratedExplainer(
            predict, feature_names=scene.names, classes=[0, 1], categories=scene.levels
        )
        explainer.calibrate(rows, scene.calibration_target)
        assert explainer.rows_dropped == 0
        assert told == [True]
        (explanation,) = explainer.factual(
            scene.rows(1).assign(housing=[None]), features_to_ignore=tuple(set(scene.names) - {"housing"})
        )
        assert explanation.unplaced == ()
        assert explanation.instance[scene.names.index("housing")] is None
        assert explanation.conditions[scene.names.index("housing")] == "housing = missing"

    def test_explanations_need_a_calibration(self) -> None:
        scene = breast_cancer()
        with pytest.raises(ExplanationError, match="calibrate first"):
            self.explainer(scene).factual(scene.rows(1))


class TestRows:
    def test_a_missing_number_and_an_unknown_level_reach_the_model_and_no_rule(self) -> None:
        scene = german_credit()
        seen: list[pd.DataFrame] = []

        def predict(frame: pd.DataFrame) -> Any:
            seen.append(frame)
            known = frame["purpose"].where(
                frame["purpose"].isin(scene.levels["purpose"]), "furniture/equipment"
            )
            return scene.predict(frame.assign(purpose=known, credit_amount=frame["credit_amount"].fillna(0)))

        scene.levels["purpose"] = sorted({*scene.levels["purpose"], "furniture/equipment"})
        explainer = CalibratedExplainer(
            predict, feature_names=scene.names, classes=[0, 1], categories=scene.levels
        ).calibrate(scene.calibration, scene.calibration_target)
        rows = scene.rows(3)
        rows.loc[0, "credit_amount"] = np.nan
        rows.loc[1, "purpose"] = "a spaceship"

        for question in (
            Question(conjunctions=Conjunctions(3, 2)),
            Question(kind="alternative", conjunctions=Conjunctions(3, 2)),
            Question(kind="fast"),
        ):
            told = explainer.explain(rows, question)
            assert [each.unplaced for each in told] == [("credit_amount",), ("purpose",), ()]
            for each in told:
                assert each.feature_rules
                assert not {name for rule in each.feature_rules for name in rule.features} & set(
                    each.unplaced
                )
            assert told.x_test[0][scene.names.index("credit_amount")] is None
            assert told.x_test[1][scene.names.index("purpose")] == "a spaceship"
        assert any(frame["credit_amount"].isna().any() for frame in seen)
        assert any((frame["purpose"] == "a spaceship").any() for frame in seen)

    def test_columns_are_found_by_name_and_others_are_ignored(self) -> None:
        scene = breast_cancer()
        explainer, rows = scene.explainer(), scene.rows(3)
        turned = rows[rows.columns[::-1]].assign(note="x")
        assert explainer.factual(turned) == explainer.factual(rows)

    def test_dates_are_explained_as_dates(self) -> None:
        scene = diabetes()
        days = pd.to_datetime("2024-01-01") + pd.to_timedelta(np.arange(len(scene.frame)) % 90, unit="D")
        frame = scene.frame.assign(day=days)

        def predict(rows: pd.DataFrame) -> Any:
            assert isinstance(rows["day"].iloc[0], str)
            return pd.to_datetime(rows["day"], format="ISO8601").dt.day_of_year + 0.5 * rows["bmi"]

        explainer = CalibratedExplainer(predict, feature_names=[*scene.names, "day"])
        explainer.calibrate(frame[:200], scene.target[:200])
        for explanation in explainer.factual(frame[200:203]):
            (rule,) = [rule for rule in explanation.feature_rules if rule.features == ("day",)]
            assert str(rule.conditions[0].value).startswith("2024-0")
            assert rule.text.startswith("day ")


@pytest.mark.parametrize("kind", [RemoteClassifier, RemoteRegressor])
def test_a_learner_is_fitted_is_never_copied_and_cannot_be_trained(kind: Any) -> None:
    learner = kind(lambda rows: np.tile([0.25, 0.75], (len(rows), 1)))
    assert learner.__sklearn_is_fitted__()
    assert learner.fit([[1.0]], [1]) is learner
    assert copy.deepcopy(learner) is copy.copy(learner) is learner
    assert learner.predict([[1.0], [2.0]]).shape == (2,)
    if kind is RemoteClassifier:
        assert learner.predict_proba([[1.0]]).shape == (1, 2)


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ({"threshold": float("nan")}, "threshold must be a number"),
        ({"threshold": (2.0, 1.0)}, "two in rising order"),
        ({"percentiles": (60.0, 95.0)}, "0 < low <= 50 <= high < 100"),
        ({"percentiles": (float("-inf"), float("inf"))}, "at least one side"),
        ({"percentiles": (5.0, 95.0), "threshold": 100.0}, "of a regression's intervals"),
        ({"threshold": (1.0, 2.0, 3.0)}, "a number, or two in rising order"),
        ({"threshold": "high"}, "a number, or two in rising order, not 'high'"),
        ({"kind": "counterfactual"}, "kind must be one of"),
    ],
)
def test_an_option_that_means_nothing_is_refused_before_the_model_is_asked(question: Any, text: str) -> None:
    scene = diabetes()
    explainer = scene.explainer()
    before = list(scene.asked)
    with pytest.raises(ExplanationError, match=text):
        explainer.explain(scene.rows(1), Question(**question))
    assert scene.asked == before


def test_confidence_is_told_as_percentiles() -> None:
    assert percentiles_of(0.9) == (5, 95)
    with pytest.raises(ExplanationError, match="between 0 and 1"):
        percentiles_of(90)


def test_ninety_percent_intervals_cover_ninety_percent() -> None:
    random = np.random.default_rng(0)
    X = random.normal(size=(5_000, 4))
    y = pd.Series(X[:, 0] + np.sin(2 * X[:, 1]) + random.normal(size=5_000) * (0.5 + 0.2 * np.abs(X[:, 2])))
    frame = pd.DataFrame(X, columns=list("abcd"))
    explainer = CalibratedExplainer(
        lambda rows: rows["a"] + np.sin(2 * rows["b"]), feature_names=list("abcd")
    ).calibrate(frame[:3_000], y[:3_000])
    question = Question(percentiles=percentiles_of(0.9), focus_columns=("a",))
    told = explainer.measure(frame[3_000:], y[3_000:], question)
    assert told.rows == 2_000
    assert told.coverage == pytest.approx(0.9, abs=0.03)
    few = explainer.explain(frame[3_000:3_010], question)
    widths = [each.instance_prediction.estimate.interval.width for each in few]
    assert np.mean(widths) == explainer.measure(frame[3_000:3_010], y[3_000:3_010], question).mean_width


def test_probabilities_of_a_sound_model_agree_with_what_happens() -> None:
    random = np.random.default_rng(0)
    X = random.normal(size=(3_000, 2))
    chance = 1 / (1 + np.exp(-X[:, 0]))
    y = pd.Series((random.random(3_000) < chance).astype(int))
    frame = pd.DataFrame(X, columns=list("ab"))
    boastful = CalibratedExplainer(
        lambda rows: 1 / (1 + np.exp(-4 * rows["a"])), feature_names=list("ab"), classes=[0, 1]
    ).calibrate(frame[:1_000], y[:1_000])
    told = boastful.measure(frame[1_000:], y[1_000:], Question())
    raw = 1 / (1 + np.exp(-4 * X[1_000:, 0]))
    uncalibrated = of_probabilities(raw, raw, raw, y[1_000:].to_numpy() == 1)
    assert told.coverage is None
    assert told.calibration_error < 0.05 < 0.15 < uncalibrated.calibration_error


class TestManyLevels:
    def scene(self, levels: int) -> tuple[pd.DataFrame, pd.Series[Any], list[int], CalibratedExplainer]:
        rows = pd.DataFrame(
            {"id": [f"c{row % levels}" for row in range(300)], "x": np.linspace(0, 1, 300) ** 2}
        )
        asked: list[int] = []

        def predict(frame: pd.DataFrame) -> Any:
            asked.append(len(frame))
            return frame["x"].to_numpy()

        return rows, rows["x"], asked, CalibratedExplainer(predict, feature_names=["id", "x"])

    def test_a_text_column_with_too_many_levels_is_refused_before_the_model_is_asked(self) -> None:
        rows, target, asked, explainer = self.scene(MAX_LEVELS + 1)
        for kind in ("factual", "alternative"):
            with pytest.raises(ExplanationError, match="the category 'id' has 101 levels"):
                explainer.check(rows, target, Question(kind=kind))
        assert asked == []
        explainer.calibrate(rows, target)
        before = len(asked)
        with pytest.raises(ExplanationError, match="the category 'id' has 101 levels"):
            explainer.factual(rows[:2])
        assert len(asked) == before

    def test_it_is_no_matter_where_no_rule_about_it_is_wanted(self) -> None:
        rows, target, asked, explainer = self.scene(300)
        explainer.calibrate(rows, target)
        for question, most in (
            (Question(features_to_ignore=("id",)), 50),
            (Question(kind="alternative", focus_columns=("x",)), 50),
            (Question(kind="fast"), 4_000),
        ):
            asked.clear()
            explainer.check(rows, target, question)
            assert explainer.explain(rows[:2], question)[0].feature_rules
            assert sum(asked) <= most

    def test_the_most_levels_are_allowed(self) -> None:
        rows, target, _, explainer = self.scene(MAX_LEVELS)
        explainer.check(rows, target, Question())


def test_a_date_is_read_as_iso_and_never_guessed_at() -> None:
    column = Moment("since")
    assert column.encode(pd.Series(["1970-01-03", None, "1970-01-02T12:00:00"])).tolist()[::2] == [2.0, 1.5]
    with pytest.raises(ExplanationError, match="'since' has values that are no ISO dates"):
        column.encode(pd.Series(["02.01.1970"]))
