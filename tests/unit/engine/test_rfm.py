"""The kernel machine: exact gradients, the learned metric, and the Nystroem approximation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from airflow_provider_cleartrace.local.engine import rfm
from airflow_provider_cleartrace.local.engine.rfm import FittedMachine, KernelMachine, fit_kernel_machine

Floats = NDArray[np.float64]


def sample(n: int = 300, p: int = 6, seed: int = 0) -> tuple[Floats, Floats]:
    """Two outputs that depend on the first three of p columns."""
    x = np.random.default_rng(seed).normal(size=(n, p))
    return x, np.column_stack([np.sin(2 * x[:, 0]) + x[:, 1], x[:, 1] * x[:, 2]])


def fitted(x: Floats, y: Floats, **options: Any) -> FittedMachine:
    held_out = len(x) // 5
    settings = {"bandwidth": 5.0, "ridge": 1e-2, "max_centers": 6000, "seed": 0, **options}
    return fit_kernel_machine(x[held_out:], y[held_out:], x[:held_out], y[:held_out], **settings)


def central_difference(machine: KernelMachine, at: Floats, step: float = 1e-5) -> Floats:
    columns = []
    for column in range(at.shape[1]):
        move = np.zeros(at.shape[1])
        move[column] = step
        columns.append((machine.scores(at + move) - machine.scores(at - move)) / (2 * step))
    return np.stack(columns, axis=2)


@pytest.mark.parametrize("max_centers", [6000, 60])
def test_the_gradient_is_the_derivative_of_the_score(max_centers: int) -> None:
    machine = fitted(*sample(), max_centers=max_centers).machine
    at = np.random.default_rng(9).normal(size=(25, 6))
    np.testing.assert_allclose(machine.gradients(at), central_difference(machine, at), rtol=1e-5, atol=1e-7)


def test_at_a_centre_the_gradient_is_the_symmetric_difference() -> None:
    machine = fitted(*sample()).machine
    at = np.asarray(machine.centers[:20], dtype=np.float64)
    np.testing.assert_allclose(machine.gradients(at), central_difference(machine, at, step=1e-4), atol=1e-4)


def test_the_agop_is_the_mean_outer_product_of_the_gradients() -> None:
    machine = fitted(*sample()).machine
    at = np.random.default_rng(3).normal(size=(50, 6))
    gradients = machine.gradients(at)
    expected = sum(g.T @ g for g in gradients) / len(at)
    np.testing.assert_allclose(machine.agop(at), expected, rtol=1e-12)


def test_an_exact_fit_solves_the_ridge_equations() -> None:
    x, y = sample(120)
    machine = fitted(x, y, ridge=0.5).machine
    training, targets = x[24:], y[24:]
    residual = targets - machine.scores(training)
    np.testing.assert_allclose(residual, 0.5 * np.asarray(machine.coefficients), atol=1e-8)


def test_nystroem_with_every_row_as_a_centre_is_the_exact_fit() -> None:
    x, y = sample(100)
    exact = rfm._solve(None, x, y, 5.0, 0.1)
    nystroem = rfm._solve(x, x, y, 5.0, 0.1)
    kernel = np.exp(-np.linalg.norm(x[:, None] - x[None], axis=2) / 5.0)
    np.testing.assert_allclose(kernel @ nystroem, kernel @ exact, atol=1e-4)


def test_few_centres_come_close_to_the_exact_fit() -> None:
    x, y = sample(1500, 4)
    exact, few = fitted(x, y), fitted(x, y, max_centers=300)
    assert len(few.machine.centers) == 300
    assert few.loss < 3 * exact.loss
    assert few.loss < 0.1 * y.var()


def test_centres_beyond_the_exact_limit_are_bounded_by_work() -> None:
    assert rfm.n_centers(6000, 6000) == 6000
    assert rfm.n_centers(8000, 6000) == 5000
    assert rfm.n_centers(1_000_000, 6000) == 3000
    assert rfm.n_centers(1_000_000, 50) == 50


def test_scores_and_gradients_from_one_kernel_are_those_of_each() -> None:
    x, y = sample()
    machine = fitted(x, y).machine
    scores, gradients = machine.scores_and_gradients(x)
    np.testing.assert_array_equal(scores, machine.scores(x))
    np.testing.assert_array_equal(gradients, machine.gradients(x))


def test_the_learned_metric_finds_the_columns_that_matter() -> None:
    x, y = sample(600, 12)
    result = fitted(x, y)
    assert result.loss < 0.5 * result.losses[0]
    metric = np.diag(np.asarray(result.machine.root @ result.machine.root))
    assert metric[:3].min() > 20 * metric[3:].max()


def test_duplicate_rows_and_a_tiny_ridge_are_no_obstacle() -> None:
    x, y = sample(100)
    twice, targets = np.repeat(x, 3, axis=0), np.repeat(y, 3, axis=0)
    for max_centers in (6000, 50):
        machine = fitted(twice, targets, ridge=1e-12, max_centers=max_centers).machine
        assert np.isfinite(machine.scores(twice)).all()


def test_a_row_scores_the_same_alone_and_in_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = sample()
    machine = fitted(x, y).machine
    together, gradients = machine.scores(x), machine.gradients(x)
    monkeypatch.setattr(rfm, "_BLOCK_ENTRIES", 1)
    np.testing.assert_allclose(machine.scores(x), together, atol=1e-9)
    np.testing.assert_allclose(machine.gradients(x), gradients, atol=1e-9)


def test_single_precision_agrees_with_double(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = sample()
    double = fitted(x, y).machine
    monkeypatch.setattr(rfm, "_DOUBLE_PRECISION", 10)
    single = fitted(x, y).machine
    assert single.root.dtype == np.float32
    np.testing.assert_allclose(single.scores(x), double.scores(x), atol=5e-3)
    np.testing.assert_allclose(single.gradients(x), double.gradients(x), atol=5e-2)


def test_the_same_seed_gives_the_same_machine() -> None:
    x, y = sample()
    one, other = (fitted(x, y, max_centers=80, seed=5).machine for _ in range(2))
    np.testing.assert_array_equal(one.scores(x), other.scores(x))
    different = fitted(x, y, max_centers=80, seed=6).machine
    assert not np.array_equal(different.scores(x), one.scores(x))


def test_any_number_of_threads_gives_the_same_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = sample(250)
    alone = fitted(x, y).machine
    monkeypatch.setattr(rfm, "_SMALL_PROBLEM", 0)
    with threadpool_limits(2, user_api="blas"):
        together = fitted(x, y).machine
        np.testing.assert_allclose(together.scores(x), alone.scores(x), atol=1e-8)
        np.testing.assert_allclose(together.gradients(x), alone.gradients(x), atol=1e-8)


def test_a_target_without_any_signal_in_the_columns_is_fitted_as_a_constant() -> None:
    x = np.zeros((50, 3))
    machine = fitted(x, np.arange(50.0)[:, None]).machine
    assert np.isfinite(machine.scores(x)).all()
    np.testing.assert_array_equal(machine.gradients(x), np.zeros((50, 1, 3)))


def test_a_rescaled_machine_scores_in_other_units() -> None:
    x, y = sample()
    machine = fitted(x, y).machine
    shift = np.array([1.0, -2.0])
    np.testing.assert_allclose(
        machine.rescaled(3.0, shift).scores(x), 3.0 * machine.scores(x) + shift, atol=1e-9
    )


def test_a_stored_machine_scores_the_same(tmp_path: Path) -> None:
    x, y = sample()
    machine = fitted(x, y).machine
    machine.save(tmp_path)
    np.testing.assert_array_equal(KernelMachine.load(tmp_path).scores(x), machine.scores(x))
