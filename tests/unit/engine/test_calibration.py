"""Calibration and figures of merit: probabilities that mean what they say."""

from __future__ import annotations

import json

import numpy as np
import pytest

from airflow_provider_cleartrace.local.engine.calibration import (
    Clipped,
    Identity,
    Platt,
    TemperedSoftmax,
    calibration_from_json,
    fit_platt,
    fit_tempered_softmax,
)
from airflow_provider_cleartrace.local.engine.metrics import (
    area_under_curve,
    calibration_error,
    r_squared,
    validation_metrics,
)


def test_platt_recovers_the_sigmoid_that_made_the_labels() -> None:
    random = np.random.default_rng(0)
    scores = random.normal(3, 2, 20_000)
    positive = random.random(20_000) < 1 / (1 + np.exp(-(1.5 * scores - 4)))
    fitted = fit_platt(scores, positive)
    assert fitted.slope == pytest.approx(1.5, rel=0.05)
    assert fitted.intercept == pytest.approx(-4, rel=0.05)


@pytest.mark.parametrize(
    ("scores", "positive"),
    [
        ([0.0, 0.1, 0.9, 1.0], [False, False, True, True]),
        ([0.0, 0.1, 0.9, 1.0], [True, True, False, False]),
        ([0.5, 0.5, 0.5], [True, False, True]),
        ([0.2, 0.3], [True, True]),
    ],
)
def test_platt_keeps_the_ranking_and_stays_finite(scores: list[float], positive: list[bool]) -> None:
    fitted = fit_platt(np.array(scores), np.array(positive))
    assert fitted.slope > 0
    probabilities = fitted.predictions(np.array(scores)[:, None])
    assert ((probabilities > 0) & (probabilities < 1)).all()


def test_a_tempered_softmax_keeps_the_predicted_class_and_sums_to_one() -> None:
    random = np.random.default_rng(1)
    scores = random.normal(size=(500, 3))
    labels = (scores + random.gumbel(size=(500, 3))).argmax(axis=1)
    fitted = fit_tempered_softmax(scores, labels)
    assert fitted.rate == pytest.approx(1.0, rel=0.25)
    probabilities = fitted.predictions(scores)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0)
    np.testing.assert_array_equal(probabilities.argmax(axis=1), scores.argmax(axis=1))


def test_clipped_scores_are_probabilities() -> None:
    np.testing.assert_array_equal(Clipped().predictions(np.array([[-0.1], [0.4], [1.2]])), [0.0, 0.4, 1.0])
    several = Clipped().predictions(np.array([[0.6, 0.6, -0.2], [-1.0, -1.0, -1.0]]))
    np.testing.assert_allclose(several, [[0.5, 0.5, 0.0], [1 / 3, 1 / 3, 1 / 3]])


@pytest.mark.parametrize("calibration", [Identity(), Clipped(), Platt(2.0, -0.1), TemperedSoftmax(3.5)])
def test_a_calibration_survives_json(calibration: object) -> None:
    assert calibration_from_json(json.loads(json.dumps(calibration.to_json()))) == calibration  # type: ignore[attr-defined]


def test_figures_agree_with_scikit_learn() -> None:
    from sklearn import metrics

    random = np.random.default_rng(2)
    truth = random.integers(0, 2, 200).astype(float)
    predictions = np.round(np.clip(0.3 * truth + 0.7 * random.random(200), 0.01, 0.99), 2)
    figures = validation_metrics("binary", truth, predictions)
    assert figures["validation_auc"] == pytest.approx(metrics.roc_auc_score(truth, predictions))
    assert figures["validation_log_loss"] == pytest.approx(metrics.log_loss(truth, predictions))
    assert figures["validation_brier"] == pytest.approx(metrics.brier_score_loss(truth, predictions))
    assert figures["validation_accuracy"] == pytest.approx(metrics.accuracy_score(truth, predictions >= 0.5))
    several = random.dirichlet(np.ones(3), 200)
    labels = random.integers(0, 3, 200).astype(float)
    figures = validation_metrics("multiclass", labels, several)
    assert figures["validation_log_loss"] == pytest.approx(metrics.log_loss(labels, several))
    assert figures["validation_accuracy"] == pytest.approx(
        metrics.accuracy_score(labels, several.argmax(axis=1))
    )
    figures = validation_metrics("regression", truth, predictions)
    assert figures["validation_r2"] == pytest.approx(metrics.r2_score(truth, predictions))
    assert figures["validation_rmse"] == pytest.approx(metrics.root_mean_squared_error(truth, predictions))


def test_reliable_probabilities_have_no_calibration_error() -> None:
    random = np.random.default_rng(0)
    probabilities = random.random(20_000)
    happened = random.random(20_000) < probabilities
    assert calibration_error(probabilities, happened) < 0.015
    assert calibration_error(probabilities**3, happened) > 0.2


def test_the_calibration_error_is_the_mean_gap_of_ten_bins() -> None:
    probabilities = np.array([0.12, 0.18, 0.5, 1.0])
    happened = np.array([True, False, False, True])
    assert calibration_error(probabilities, happened) == pytest.approx((2 * 0.35 + 0.5 + 0) / 4)


def test_figures_of_degenerate_rows_are_defined() -> None:
    assert r_squared(np.ones(3), np.zeros(3)) == 0.0
    assert area_under_curve(np.array([True, False]), np.array([0.5, 0.5])) == 0.5
    assert "validation_auc" not in validation_metrics("binary", np.ones(3), np.full(3, 0.5))
