"""Distillation: a student that imitates its teacher, says how well, and never looks at the labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from airflow_provider_cleartrace.local.engine import FitConfig, InputError, Model, Table, distill, explain
from airflow_provider_cleartrace.local.engine.metrics import r_squared
from airflow_provider_cleartrace.local.engine.rfm import KernelMachine
from airflow_provider_cleartrace.local.engine.tuning import split_rows
from tests.unit.engine.engine_tables import Labelled

FAST = FitConfig(mode="fast")


def probabilities(data: Labelled) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-2 * (data.value - np.median(data.value)))))


def several(data: Labelled) -> NDArray[np.float64]:
    weights = np.exp(np.column_stack([data.value, np.full(len(data.value), 4.0), 8.0 - data.value]))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def held_out(data: Labelled) -> NDArray[np.intp]:
    return split_rows(None, len(data.table), 0.2, 42).validation


def test_a_teacher_of_values_makes_a_regression_student(mixed: Labelled, unseen: Labelled) -> None:
    student = distill(mixed.table, mixed.value)
    assert (student.task, student.classes) == ("regression", ())
    assert r_squared(unseen.value, student.predict(unseen.table)) > 0.85
    rows = held_out(mixed)
    assert student.fidelity == {
        "r2": pytest.approx(r_squared(mixed.value[rows], student.predict(mixed.table.take(rows))))
    }


def test_a_teacher_of_probabilities_makes_a_binary_student(mixed: Labelled) -> None:
    teacher = probabilities(mixed)
    student = distill(mixed.table, teacher)
    assert (student.task, student.classes) == ("binary", (0, 1))
    predictions = student.predict(mixed.table)
    assert predictions.shape == (260,)
    assert predictions.min() >= 0
    assert predictions.max() <= 1
    rows = held_out(mixed)
    scores = student.scores(student.encode(mixed.table.take(rows)))[:, 0]
    assert student.fidelity == {
        "r2": pytest.approx(r_squared(teacher[rows], scores)),
        "agreement": pytest.approx(((predictions >= 0.5) == (teacher >= 0.5))[rows].mean()),
    }
    assert student.fidelity["r2"] > 0.85
    assert student.fidelity["agreement"] > 0.85


def test_a_teacher_of_class_probabilities_makes_a_multiclass_student(mixed: Labelled) -> None:
    teacher = several(mixed)
    student = distill(mixed.table, teacher)
    assert (student.task, student.classes) == ("multiclass", (0, 1, 2))
    predictions = student.predict(mixed.table)
    assert predictions.min() >= 0
    np.testing.assert_allclose(predictions.sum(axis=1), 1.0)
    assert (predictions.argmax(axis=1) == teacher.argmax(axis=1)).mean() > 0.9
    rows = held_out(mixed)
    scores = student.scores(student.encode(mixed.table.take(rows)))
    assert student.fidelity == {
        "r2": pytest.approx(r_squared(teacher[rows], scores)),
        "agreement": pytest.approx((predictions.argmax(axis=1) == teacher.argmax(axis=1))[rows].mean()),
    }
    assert student.fidelity["agreement"] > 0.8


def test_two_columns_of_probabilities_are_a_binary_teacher(mixed: Labelled) -> None:
    teacher = probabilities(mixed)
    both = distill(mixed.table, np.column_stack([1 - teacher, teacher]), config=FAST)
    one = distill(mixed.table, teacher[:, None], config=FAST)
    assert both.task == one.task == "binary"
    np.testing.assert_array_equal(both.predict(mixed.table), one.predict(mixed.table))


def test_probabilities_can_be_values_if_asked(mixed: Labelled) -> None:
    student = distill(mixed.table, probabilities(mixed), config=FitConfig(mode="fast", task="regression"))
    assert student.task == "regression"


@pytest.mark.parametrize("teach", [probabilities, several])
def test_labels_change_the_metrics_and_nothing_else(mixed: Labelled, teach: Any) -> None:
    labels = [None if row % 5 == 0 else bool(flag) for row, flag in enumerate(mixed.flag)]
    if teach is several:
        labels = [None if row % 5 == 0 else row % 3 for row in range(260)]
    without = distill(mixed.table, teach(mixed), config=FAST)
    with_labels = distill(mixed.table, teach(mixed), labels=labels, config=FAST)
    np.testing.assert_array_equal(with_labels.predict(mixed.table), without.predict(mixed.table))
    np.testing.assert_array_equal(with_labels.global_agop, without.global_agop)
    one, other = with_labels.predictor, without.predictor
    assert isinstance(one, KernelMachine)
    assert isinstance(other, KernelMachine)
    for part in ("centers", "coefficients", "offset", "root", "bandwidth"):
        np.testing.assert_array_equal(getattr(one, part), getattr(other, part))
    assert with_labels.trials == without.trials
    assert with_labels.fidelity == without.fidelity
    assert "validation_accuracy" in with_labels.metrics
    assert "validation_accuracy" not in without.metrics


def test_a_stored_student_is_the_same_student(mixed: Labelled, unseen: Labelled, tmp_path: Path) -> None:
    student = distill(mixed.table, several(mixed), config=FAST)
    student.save(tmp_path)
    loaded = Model.load(tmp_path)
    np.testing.assert_array_equal(loaded.predict(unseen.table), student.predict(unseen.table))
    assert loaded.fidelity == student.fidelity
    assert loaded.warnings == student.warnings


def test_a_linear_teacher_has_its_gradient_recovered() -> None:
    random = np.random.default_rng(3)
    x = random.normal(size=(600, 5)) * [1, 2, 5, 1, 1]
    weights = np.array([1.0, -0.5, 0.4, 0.0, 0.0])
    table = Table.from_columns({f"x{column}": x[:, column] for column in range(5)})
    student: Model = distill(table, x @ weights)
    drivers = np.median(explain(student, table).local_drivers, axis=0)
    np.testing.assert_allclose(drivers, weights, atol=0.05)


def test_a_student_that_follows_loosely_warns_in_every_explanation(mixed: Labelled, unseen: Labelled) -> None:
    noise = np.random.default_rng(0).normal(size=len(mixed.value))
    config = FitConfig(mode="fast")
    loose = distill(mixed.table, mixed.value + 3 * noise, config=config)
    assert loose.fidelity is not None
    assert loose.fidelity["r2"] < 0.9
    (warning,) = explain(loose, unseen.table).warnings
    assert f"{loose.fidelity['r2']:.2f}" in warning
    faithful = distill(mixed.table, mixed.value, config=config)
    assert explain(faithful, unseen.table).warnings == faithful.warnings == ()


class TestRefusals:
    @pytest.mark.parametrize(
        ("teacher", "message"),
        [
            (np.zeros(19), "19 values for 20 rows"),
            (np.full(20, 0.3), "same for every row"),
            ([0.1] * 18 + [float("nan"), 0.2], "no finite prediction for 1 of 20 rows"),
            (["high"] * 20, "must be numbers"),
            ([10**400] * 20, "must be numbers"),
            (np.zeros((20, 2, 2)), "not 3-dimensional"),
            (np.random.default_rng(0).random((20, 3)), "sum to 1"),
        ],
    )
    def test_name_what_is_wrong_with_the_teacher(self, teacher: Any, message: str) -> None:
        with pytest.raises(InputError, match=message):
            distill(Table.from_columns({"a": range(20)}), teacher)

    def test_options_that_contradict_the_teacher(self) -> None:
        table = Table.from_columns({"a": range(20)})
        teacher = np.arange(20.0)
        with pytest.raises(InputError, match=r"leave \[0, 1\]"):
            distill(table, teacher, config=FitConfig(task="classification"))
        with pytest.raises(InputError, match="'xrfm'"):
            distill(table, teacher, config=FitConfig(base_model_type="xgboost"))
        shares = np.column_stack([teacher, 19 - teacher, teacher * 0]) / 19
        with pytest.raises(InputError, match="class probabilities"):
            distill(table, shares, config=FitConfig(task="regression"))

    def test_labels_that_do_not_fit(self) -> None:
        table = Table.from_columns({"a": range(20)})
        with pytest.raises(InputError, match="labels: 3 values for 20 rows"):
            distill(table, np.arange(20.0), labels=[1, 2, 3])
        with pytest.raises(InputError, match="labels hold 4 classes, but the teacher knows 2"):
            distill(table, np.linspace(0, 1, 20), labels=["a", "b", "c", "d"] * 5)
