"""Identities of gradients and AGOP as properties of random machines; the recovery of planted directions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from airflow_provider_cleartrace.local.engine import FitConfig, Table, explain, fit
from airflow_provider_cleartrace.local.engine.rfm import KernelMachine, fit_kernel_machine

Floats = NDArray[np.float64]
PROPERTY = settings(max_examples=60, deadline=None)


@st.composite
def machines(draw: st.DrawFn) -> tuple[KernelMachine, Floats]:
    """Give any machine, fitted or not: random centres, coefficients and metric; and rows to look at."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    m, p, outputs = draw(st.integers(1, 40)), draw(st.integers(1, 8)), draw(st.integers(1, 4))
    half = random.normal(size=(p, draw(st.integers(1, p))))
    values, vectors = np.linalg.eigh(half @ half.T)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    machine = KernelMachine(
        random.normal(size=(m, p)),
        random.normal(size=(m, outputs)),
        random.normal(size=outputs),
        root,
        draw(st.floats(0.5, 30.0)),
    )
    return machine, random.normal(size=(draw(st.integers(1, 12)), p))


def complex_step_gradient(machine: KernelMachine, at: Floats, step: float = 1e-20) -> Floats:
    """Differentiate the same function by a complex step, which has no cancellation: (n, outputs, p)."""
    columns = []
    for column in range(at.shape[1]):
        moved = at.astype(complex)
        moved[:, column] += 1j * step
        gap = (moved[:, None, :] - machine.centers) @ machine.root
        kernel = np.exp(-np.sqrt((gap**2).sum(axis=2)) / machine.bandwidth)
        columns.append((kernel @ machine.coefficients).imag / step)
    return np.stack(columns, axis=2)


@PROPERTY
@given(machines())
def test_the_closed_form_gradient_is_the_complex_step(drawn: tuple[KernelMachine, Floats]) -> None:
    machine, at = drawn
    expected = complex_step_gradient(machine, at)
    np.testing.assert_allclose(machine.gradients(at), expected, rtol=1e-4, atol=1e-6 * np.abs(expected).max())


@PROPERTY
@given(machines())
def test_the_agop_is_symmetric_positive_and_the_mean_of_the_local_ones(
    drawn: tuple[KernelMachine, Floats],
) -> None:
    machine, at = drawn
    agop = machine.agop(at)
    scale = np.abs(agop).max()
    np.testing.assert_allclose(agop, agop.T, atol=1e-12 * scale)
    assert np.linalg.eigvalsh(agop).min() >= -1e-10 * scale
    local = [gradient.T @ gradient for gradient in machine.gradients(at)]
    np.testing.assert_allclose(agop, np.mean(local, axis=0), rtol=1e-9, atol=1e-12 * scale)
    for outer, gradient in zip(local, machine.gradients(at), strict=True):
        assert np.linalg.matrix_rank(outer) <= machine.coefficients.shape[1]
        assert np.trace(outer) == pytest.approx((gradient**2).sum())


@settings(max_examples=8, deadline=None)
@given(st.permutations(range(5)), st.lists(st.sampled_from([1e-4, 0.1, 7.0, 1e5]), min_size=5, max_size=5))
def test_drivers_follow_their_columns_and_ignore_their_units(order: list[int], units: list[float]) -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(120, 5))
    y = np.sin(x[:, 0]) + x[:, 1] * x[:, 2]
    config = FitConfig(mode="fast")

    def trained(table: Table) -> tuple[Floats, Floats]:
        model = fit(table, y, target_name="y", config=config)
        return model.global_drivers, explain(model, table, raw_gradient=False).local_drivers

    names = "abcde"
    plain = Table.from_columns({names[j]: x[:, j] for j in range(5)})
    changed = Table.from_columns({names[j]: 3.0 + units[j] * x[:, j] for j in order})
    (drivers, local), (moved_drivers, moved_local) = trained(plain), trained(changed)
    np.testing.assert_allclose(moved_drivers, drivers[list(order)], atol=1e-6)
    np.testing.assert_allclose(moved_local, local[:, list(order)], atol=1e-5)


@pytest.mark.parametrize(
    "link", [np.tanh, np.sin, np.square, np.sign], ids=["tanh", "sin", "square", "labels"]
)
@pytest.mark.parametrize(("n", "seeds", "bound"), [(300, 5, 0.9), (1000, 5, 0.97), (3000, 1, 0.99)])
def test_the_direction_of_a_single_index_is_recovered(
    link: Callable[[Floats], Floats], n: int, seeds: int, bound: float
) -> None:
    for seed in range(seeds):
        random = np.random.default_rng(seed)
        direction = np.linalg.qr(random.normal(size=(20, 1)))[0]
        x = random.normal(size=(n, 20))
        y, held_out = link(x @ direction), n // 5
        machine = fit_kernel_machine(
            x[held_out:],
            y[held_out:],
            x[:held_out],
            y[:held_out],
            bandwidth=10.0,
            ridge=1e-3,
            max_centers=1000,
            seed=0,
        ).machine
        leading = np.linalg.eigh(machine.agop(x))[1][:, -1:]
        assert abs(float((leading.T @ direction).item())) > bound


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_directions_of_a_multi_index_are_recovered(seed: int) -> None:
    random = np.random.default_rng(seed)
    directions = np.linalg.qr(random.normal(size=(15, 3)))[0]
    x = random.normal(size=(1500, 15))
    z = x @ directions
    y = (np.tanh(2 * z[:, 0]) + z[:, 1] * z[:, 2])[:, None]
    machine = fit_kernel_machine(
        x[300:], y[300:], x[:300], y[:300], bandwidth=10.0, ridge=1e-3, max_centers=6000, seed=0
    ).machine
    leading = np.linalg.eigh(machine.agop(x))[1][:, -3:]
    # The cosines of the principal angles between the planted and the found subspace.
    assert np.linalg.svd(leading.T @ directions)[1].min() > 0.95
