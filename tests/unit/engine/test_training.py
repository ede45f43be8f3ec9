"""Training: tasks, labels, tuning, held-out figures, and what is refused."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from airflow_provider_cleartrace.local.engine import FitConfig, InputError, Model, Table, explain, fit
from airflow_provider_cleartrace.local.engine.metrics import (
    area_under_curve,
    calibration_error,
    r_squared,
    validation_metrics,
)
from airflow_provider_cleartrace.local.engine.scenario import search
from airflow_provider_cleartrace.local.engine.segmentation import segment
from airflow_provider_cleartrace.local.engine.target import read_target
from airflow_provider_cleartrace.local.engine.tuning import split_rows
from tests.unit.engine.engine_tables import Labelled

FAST = FitConfig(mode="fast")
Models = dict[tuple[str, str], Model]


def table_of(n: int) -> Table:
    draw = np.random.default_rng(0)
    return Table.from_columns({"a": draw.normal(size=n), "b": draw.normal(size=n)})


def fit_target(values: list[Any], config: FitConfig = FAST) -> Model:
    return fit(table_of(len(values)), values, target_name="y", config=config)


class TestTask:
    @pytest.mark.parametrize(
        ("values", "task", "classes"),
        [
            ([0, 1] * 10, "binary", (0, 1)),
            ([0.0, 1.0, None, 1.0] * 5, "binary", (0, 1)),
            ([True, False] * 10, "binary", (False, True)),
            (["no", "yes"] * 10, "binary", ("no", "yes")),
            (["b", "c", "a", None] * 5, "multiclass", ("a", "b", "c")),
            ([1, 2] * 10, "regression", ()),
            ([0, 1, 2, 3] * 5, "regression", ()),
            (list(range(20)), "regression", ()),
            ([0.5, 1.5] * 10, "regression", ()),
        ],
    )
    def test_is_inferred_without_turning_numbers_into_classes(
        self, values: list[Any], task: str, classes: tuple[Any, ...]
    ) -> None:
        target = read_target("y", values, None)
        assert (target.task, target.classes) == (task, classes)
        assert [type(label) for label in target.classes] == [type(label) for label in classes]

    def test_can_be_asked_for(self) -> None:
        assert read_target("y", [5, 7, 9] * 5, "classification").classes == (5, 7, 9)
        assert read_target("y", [1.5, 2.5] * 5, "classification").classes == (1.5, 2.5)
        assert read_target("y", [0, 1] * 5, "regression").task == "regression"

    def test_of_a_number_with_few_values_is_noted(self) -> None:
        (note,) = read_target("stars", [1, 2, 3, 4, 5] * 4, None).notes
        assert "'stars'" in note
        assert 'task="classification"' in note


class TestRefusals:
    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ([], "no rows"),
            ([None] * 20, "'y' has no values"),
            ([1, 2, 3], "at least 10 rows"),
            ([1, 0] * 4 + [None] * 20, "at least 10 rows"),
            ([3.5] * 20, "same value in every row"),
            (["yes"] * 20, "same value in every row"),
            ([f"c{i}" for i in range(60)], "60 classes, more than 50"),
            ([float("inf")] * 20, "'y' holds an infinite number"),
            ([1e300, 2.0] * 10, "'y' holds numbers too large"),
        ],
    )
    def test_name_what_is_wrong_with_the_target(self, values: list[Any], message: str) -> None:
        with pytest.raises(InputError, match=message):
            fit_target(values)

    def test_a_text_target_is_no_regression(self) -> None:
        with pytest.raises(InputError, match="'y' holds texts"):
            fit_target(["a", "b"] * 10, replace(FAST, task="regression"))

    def test_a_target_of_another_length(self) -> None:
        with pytest.raises(InputError, match="y: 19 values for 20 rows"):
            fit(table_of(20), [1.0] * 19, target_name="y", config=FAST)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"n_hyperopt_step": 3}, r"\['n_hyperopt_step'\]; known are \['mode'"),
            ({"mode": "slow"}, "mode must be one of"),
            ({"base_model_type": "forest"}, "base_model_type must be one of"),
            ({"task": "ranking"}, "task must be one of"),
            ({"mode": ["fast"]}, "mode must be one of"),
            ({"n_hyperopt_steps": 0}, "n_hyperopt_steps must be an integer from 1 to 500"),
            ({"n_hyperopt_steps": 2.5}, "n_hyperopt_steps"),
            ({"n_hyperopt_steps": True}, "n_hyperopt_steps"),
            ({"random_state": -1}, "random_state"),
            ({"random_state": "1"}, "random_state"),
            ({"validation_fraction": 0.9}, "validation_fraction must be a number from 0.05 to 0.5"),
            ({"max_centers": "many"}, "max_centers"),
        ],
    )
    def test_name_the_option(self, options: dict[str, Any], message: str) -> None:
        with pytest.raises(InputError, match=message):
            FitConfig.from_mapping(options)


def test_no_random_state_is_a_fresh_one_that_is_kept(mixed: Labelled, unseen: Labelled) -> None:
    one, other = (FitConfig.from_mapping({"random_state": None, "mode": "fast"}) for _ in range(2))
    assert one.random_state != other.random_state
    model = fit(mixed.table, mixed.value, target_name="price", config=one)
    assert model.config["random_state"] == one.random_state
    again = fit(mixed.table, mixed.value, target_name="price", config=FitConfig.from_mapping(model.config))
    np.testing.assert_array_equal(again.predict(unseen.table), model.predict(unseen.table))


def test_options_come_with_defaults_by_mode() -> None:
    assert FitConfig.from_mapping({}) == FitConfig()
    assert [FitConfig(mode=mode).steps for mode in ("fast", "default", "thorough")] == [1, 8, 30]
    assert FitConfig.from_mapping({"mode": "fast", "n_hyperopt_steps": 6}).steps == 6


class TestEveryModel:
    @pytest.fixture(params=["xrfm", "xgboost"])
    def base(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    def test_predicts_unseen_rows(self, models: Models, unseen: Labelled, base: str) -> None:
        assert r_squared(unseen.value, models[base, "regression"].predict(unseen.table)) > 0.8
        assert area_under_curve(unseen.flag, models[base, "binary"].predict(unseen.table)) > 0.9
        model = models[base, "multiclass"]
        labels = np.array(model.classes)[model.predict(unseen.table).argmax(axis=1)]
        assert (labels == unseen.label).mean() > 0.7

    def test_gives_probabilities(self, models: Models, unseen: Labelled, base: str) -> None:
        binary = models[base, "binary"].predict(unseen.table)
        assert binary.shape == (40,)
        assert ((binary > 0) & (binary < 1)).all()
        several = models[base, "multiclass"].predict(unseen.table)
        assert several.shape == (40, 3)
        np.testing.assert_allclose(several.sum(axis=1), 1.0)

    @pytest.mark.parametrize("task", ["regression", "binary", "multiclass"])
    def test_reports_what_its_validation_rows_show(
        self, models: Models, mixed: Labelled, base: str, task: str
    ) -> None:
        model = models[base, task]
        target = read_target("price", mixed.target(task), None)
        split = split_rows(None if task == "regression" else target.values, 260, 0.2, 42)
        predictions = model.predict(mixed.table.take(split.validation))
        figures = validation_metrics(model.task, target.values[split.validation], predictions)
        assert figures == pytest.approx({key: model.metrics[key] for key in figures})
        assert model.metrics["training_rows"] == len(split.training)
        assert model.metrics["validation_rows"] == len(split.validation)

    def test_logs_every_tuning_step(self, models: Models, base: str) -> None:
        for task in ("regression", "binary", "multiclass"):
            assert len(models[base, task].trials) == (3 if base == "xrfm" else 1)

    def test_is_the_same_for_the_same_seed(self, mixed: Labelled, unseen: Labelled, base: str) -> None:
        config = FitConfig(n_hyperopt_steps=3, base_model_type=base, random_state=7)  # type: ignore[arg-type]
        one, other = (fit(mixed.table, mixed.flag, target_name="y", config=config) for _ in range(2))
        assert one.trials == other.trials
        np.testing.assert_array_equal(one.predict(unseen.table), other.predict(unseen.table))
        np.testing.assert_array_equal(
            explain(one, unseen.table).local_drivers, explain(other, unseen.table).local_drivers
        )

    def test_ranks_the_noise_below_the_signal(self, models: Models, base: str) -> None:
        for task in ("regression", "binary", "multiclass"):
            model = models[base, task]
            shares = dict(zip(model.schema.feature_names, model.global_drivers, strict=True))
            assert shares["listed"] < min(shares["area"], shares["rooms"])


def test_the_best_trial_is_the_one_that_was_taken(mixed: Labelled) -> None:
    model = fit(mixed.table, mixed.value, target_name="y", config=FitConfig(n_hyperopt_steps=5))
    best = min(model.trials, key=lambda trial: trial["loss"])
    assert model.encoder.scaling == best["params"]["scaling"]
    assert model.predictor.bandwidth == best["params"]["bandwidth"]  # type: ignore[attr-defined]


def test_the_best_boosted_trial_is_the_one_that_was_taken(mixed: Labelled) -> None:
    config = FitConfig(n_hyperopt_steps=4, base_model_type="xgboost")
    model = fit(mixed.table, mixed.value, target_name="y", config=config)
    losses = [trial["loss"] for trial in model.trials]
    assert len(set(losses)) == 4
    assert model.metrics["validation_rmse"] == pytest.approx(min(losses), rel=1e-5)


def test_a_small_table_is_searched_by_cross_validation(mixed: Labelled) -> None:
    searched = fit(mixed.table, mixed.value, target_name="price", config=FitConfig(n_hyperopt_steps=2))
    alone = fit(mixed.table, mixed.value, target_name="price", config=FitConfig(n_hyperopt_steps=1))
    # The same first configuration: judged on the validation rows alone, and on four more folds as well.
    assert searched.trials[0]["params"] == alone.trials[0]["params"]
    assert searched.trials[0]["loss"] != alone.trials[0]["loss"]
    assert searched.trials[0]["loss"] == pytest.approx(alone.trials[0]["loss"], rel=1.0)


def test_heavy_tails_are_searched_away() -> None:
    draw = np.random.default_rng(0)
    amounts = np.exp(2.0 * draw.normal(size=(700, 5)))
    likely = draw.random(700) < 1 / (1 + np.exp(-2 * np.log(amounts[:, 0]) + np.log(amounts[:, 1])))
    table = Table.from_columns({f"amount_{j}": amounts[:, j] for j in range(5)})
    training, unseen = np.arange(500), np.arange(500, 700)
    model = fit(table.take(training), likely[:500], target_name="late")
    assert model.encoder.scaling != "standard"
    plain = min(trial["loss"] for trial in model.trials if trial["params"]["scaling"] == "standard")
    assert plain > min(trial["loss"] for trial in model.trials)
    assert area_under_curve(likely[500:], model.predict(table.take(unseen))) > 0.9


def test_rows_without_a_target_are_left_out_and_counted(mixed: Labelled) -> None:
    target = [None if row % 4 == 0 else value for row, value in enumerate(mixed.value)]
    model = fit(mixed.table, target, target_name="y", config=FAST)
    kept = np.array([value is not None for value in target])
    only = fit(mixed.table.take(kept), mixed.value[kept], target_name="y", config=FAST)
    assert model.metrics["dropped_rows"] == 65
    assert model.notes == ("65 rows without a target value were left out.",)
    np.testing.assert_array_equal(model.predict(mixed.table), only.predict(mixed.table))


def test_a_column_named_like_the_target_is_no_feature(mixed: Labelled) -> None:
    table = Table.from_columns({**mixed.table.columns, "y": mixed.value})
    model = fit(table, mixed.value, target_name="y", config=FAST)
    assert model.schema.feature_names == mixed.table.names


def test_labels_come_back_as_they_were_given(mixed: Labelled) -> None:
    for given in ([False, True], ["no", "yes"], [0, 1], [-5, 30]):
        target = [given[int(flag)] for flag in mixed.flag]
        model = fit(mixed.table, target, target_name="y", config=replace(FAST, task="classification"))
        guesses = [model.classes[guess] for guess in model.predicted_classes(model.predict(mixed.table))]
        assert {type(guess) for guess in guesses} == {type(given[0])}
        assert np.mean([guess == truth for guess, truth in zip(guesses, target, strict=True)]) > 0.9


@pytest.mark.parametrize("base", ["xrfm", "xgboost"])
@pytest.mark.parametrize("given", [["low", "mid", "high"], [-5, 30, 7], [2.5, 0.5, 1.5]])
def test_three_labels_come_back_as_they_were_given(
    mixed: Labelled, tmp_path: Path, base: Any, given: list[Any]
) -> None:
    target = [given[["low", "mid", "high"].index(label)] for label in mixed.label]
    config = FitConfig(mode="fast", base_model_type=base, task="classification")
    fit(mixed.table, target, target_name="y", config=config).save(tmp_path)
    model = Model.load(tmp_path)
    guesses = [model.classes[guess] for guess in model.predicted_classes(model.predict(mixed.table))]
    assert sorted(model.classes) == sorted(given)
    assert {type(guess) for guess in guesses} == {type(given[0])}
    assert np.mean([guess == truth for guess, truth in zip(guesses, target, strict=True)]) > 0.8


@pytest.mark.parametrize("base", ["xrfm", "xgboost"])
def test_whole_numbers_are_learned_as_numbers(mixed: Labelled, base: Any) -> None:
    target = np.round(2 * mixed.value).astype(int)
    model = fit(mixed.table, target, target_name="y", config=FitConfig(mode="fast", base_model_type=base))
    predictions = model.predict(mixed.table)
    assert (model.task, model.classes, predictions.shape) == ("regression", (), (260,))
    assert np.abs(predictions - np.round(predictions)).max() > 0.1
    assert r_squared(target.astype(float), predictions) > 0.8


@pytest.mark.parametrize("base", ["xrfm", "xgboost"])
def test_training_draws_from_no_generator_but_its_own(mixed: Labelled, base: Any) -> None:
    random.seed(5)
    np.random.seed(5)
    before = random.getstate(), np.random.get_state()[1].tolist()
    config = FitConfig(n_hyperopt_steps=2, base_model_type=base)
    model = fit(mixed.table, mixed.value, target_name="y", config=config)
    segment(model, n_search_steps=2)
    search(model, mixed.table.take(np.arange(2)), n_walks=5, max_steps=2)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before


@pytest.mark.parametrize("base", ["xrfm", "xgboost"])
def test_probabilities_are_frequencies_on_rows_of_noisy_labels(base: Any) -> None:
    draw = np.random.default_rng(5)
    x = draw.normal(size=(2500, 4))
    likely = 1 / (1 + np.exp(-1.5 * x[:, 0] + x[:, 1] * x[:, 2]))
    labels = draw.random(2500) < likely
    table = Table.from_columns({f"x{column}": x[:, column] for column in range(4)})
    config = FitConfig(mode="fast", base_model_type=base)
    model = fit(table.take(np.arange(1000)), labels[:1000], target_name="y", config=config)
    predictions = model.predict(table.take(np.arange(1000, 2500)))
    assert calibration_error(predictions, labels[1000:]) < 0.07


@pytest.mark.parametrize("base", ["xrfm", "xgboost"])
@pytest.mark.parametrize("task", ["regression", "binary", "multiclass"])
def test_reported_figures_beat_the_mean_and_the_majority(
    models: Models, mixed: Labelled, base: str, task: str
) -> None:
    metrics = models[base, task].metrics
    if task == "regression":
        assert metrics["validation_r2"] > 0.5
        return
    shares = np.unique(mixed.target(task), return_counts=True)[1] / 260
    assert metrics["validation_accuracy"] > shares.max() + 0.15
    assert metrics["validation_log_loss"] < -(shares * np.log(shares)).sum()


def test_a_class_of_one_row_is_trained_on() -> None:
    values = ["a", "b"] * 15 + ["c"]
    model = fit_target(values)
    assert model.classes == ("a", "b", "c")
    assert np.isfinite(model.predict(table_of(31))).all()


def test_validation_rows_keep_the_share_of_each_class() -> None:
    classes = np.array([0.0] * 900 + [1.0] * 100)
    split = split_rows(classes, 1000, 0.2, 0)
    assert len(split.validation) == 200
    assert classes[split.validation].sum() == 20
    assert not set(split.training) & set(split.validation)


def test_gaps_in_new_rows_never_reach_a_prediction(models: Models, unseen: Labelled) -> None:
    empty = Table.from_columns({name: [None] * 3 for name in unseen.table.names})
    for model in models.values():
        assert np.isfinite(model.predict(empty)).all()


def test_absurd_values_in_new_rows_never_break_a_prediction(models: Models, unseen: Labelled) -> None:
    absurd = Table.from_columns({**unseen.table.columns, "area": [1e300] * 20 + [-1e300] * 20})
    for model in models.values():
        explanation = explain(model, absurd)
        assert np.isfinite(explanation.predictions).all()
        assert np.isfinite(explanation.local_drivers).all()


def test_missing_feature_columns_are_named(models: Models, unseen: Labelled) -> None:
    with pytest.raises(InputError, match=r"\['area', 'country'\]"):
        models["xrfm", "binary"].predict(unseen.table.select(["income", "rooms", "town", "garden", "listed"]))


def test_progress_is_told_and_ends_at_one(mixed: Labelled) -> None:
    heard: list[float] = []
    fit(
        mixed.table,
        mixed.value,
        target_name="y",
        config=FitConfig(n_hyperopt_steps=3),
        progress=lambda share, message: heard.append(share),
    )
    assert heard == sorted(heard)
    assert heard[-1] == 1.0
    assert len(heard) == 5


def test_a_long_table_is_searched_on_a_sample_and_fitted_on_everything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from airflow_provider_cleartrace.local.engine import training, tuning

    monkeypatch.setattr(tuning, "SEARCH_ROWS", 100)
    monkeypatch.setattr(training, "REFERENCE_ROWS", 50)
    table = table_of(500)
    config = FitConfig(n_hyperopt_steps=2, max_centers=300)
    model = fit(table, table["a"] ** 2 + table["b"], target_name="y", config=config)
    assert len(model.predictor.centers) == 300  # type: ignore[attr-defined]
    assert model.notes == ("The kernel machine has 300 centres for 400 training rows.",)
    assert model.reference.shape[0] == len(model.reference_table) == 50
    np.testing.assert_array_equal(model.encode(model.reference_table), model.reference)
    assert model.metrics["validation_r2"] > 0.9


def test_reference_rows_cannot_be_changed(models: Models) -> None:
    with pytest.raises(ValueError, match="read-only"):
        models["xrfm", "binary"].reference[0, 0] = 1.0


class TestAccuracy:
    def test_german_credit_on_held_out_rows(self, german_credit: tuple[Table, list[float]]) -> None:
        table, target = german_credit
        order = np.random.default_rng(0).permutation(len(table))
        test, training = order[:300], order[300:]
        truth = np.array(target)
        model = fit(table.take(training), truth[training], target_name="good_credit")
        assert area_under_curve(truth[test] == 1, model.predict(table.take(test))) > 0.75

    def test_diabetes_beats_the_mean_by_far(self) -> None:
        from sklearn.datasets import load_diabetes

        bunch = load_diabetes()
        columns = dict(zip(bunch.feature_names, bunch.data.T, strict=True))
        table = Table.from_columns(columns)
        model = fit(table.take(np.arange(330)), bunch.target[:330], target_name="progression")
        assert r_squared(bunch.target[330:], model.predict(table.take(np.arange(330, 442)))) > 0.4

    def test_wine_is_told_apart(self) -> None:
        from sklearn.datasets import load_wine

        bunch = load_wine(as_frame=False)
        table = Table.from_columns(dict(zip(bunch.feature_names, bunch.data.T, strict=True)))
        names = bunch.target_names[bunch.target]
        test = np.arange(len(names)) % 3 == 0
        model = fit(table.take(~test), names[~test], target_name="cultivar")
        guesses = np.array(model.classes)[model.predict(table.take(test)).argmax(axis=1)]
        assert (guesses == names[test]).mean() > 0.93
