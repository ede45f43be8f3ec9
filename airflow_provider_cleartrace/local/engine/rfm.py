"""Recursive feature machine: kernel ridge regression whose metric is learned from its own gradients.

Radhakrishnan, Beaglehole, Pandit and Belkin, "Mechanism for feature learning in neural networks and
backpropagation-free machine learning models", Science 383 (2024). The kernel is k(x, z) = exp(-|x - z|_M / L)
with |x - z|_M^2 = (x - z)^T M (x - z); M starts as the identity and becomes the average gradient outer
product (AGOP) of the last fit, divided by its largest entry. Beyond `max_centers` rows the Nystroem method
keeps one smooth function: a seeded random sample of the rows as centres, whitened by their own kernel matrix.
Its metric is learned on the sample, where a step is cheap, and relearned once from the fit to all rows.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve, cholesky, get_blas_funcs, solve_triangular
from threadpoolctl import ThreadpoolController

Floats = NDArray[np.floating[Any]]

_FILE = "kernel.npz"
_ITERATIONS = 5
"""The metric settles within a few steps; validation picks the best of them."""
_SETTLED = 0.995
"""A step that brings the validation loss to no less than this share of the last one ends the iteration."""
_SMALL_PROBLEM = 3000
"""Centres up to which one BLAS thread is faster than several, which spin on small matrices."""
_DOUBLE_PRECISION = 16_000_000
"""Rows x centres up to which arithmetic is float64; beyond, float32 halves time and memory."""
_AGOP_ROWS = 20_000
"""Rows that estimate the AGOP; the mean of more changes no digit that matters."""
_AGOP_BATCH = 1024
"""Rows whose gradients are in memory at once while their outer products are summed."""
_METRIC_ROWS = 4000
"""Centres on which a Nystroem fit learns its first metric."""
_NYSTROEM_WORK = 2e11
"""Rows x centres^2 of a Nystroem fit: some 5 seconds of one core. More rows get fewer centres."""
_FEWEST_CENTERS = 3000
"""A Nystroem fit never takes fewer centres than this, if `max_centers` allows."""
_BLOCK_ENTRIES = 131_072
"""Entries of a kernel block that is worked on at once: it stays in a core's cache (1 MB of float64)."""
_SLAB_ENTRIES = 4_000_000
"""Entries of a block of Nystroem features: wide enough for BLAS, and bounds memory."""
_JITTERS = (0.0, 1e-6, 1e-4, 1e-2)
"""Added to the diagonal, in turn, until a Cholesky factor exists, which duplicate rows can prevent."""
_ROUND_OFF = 32.0
"""Machine epsilons, relative to the squared norm, within which a squared distance is rounding."""


@dataclass(frozen=True, eq=False)
class KernelMachine:
    """A fitted machine: f(z) = offset + sum_i coefficients_i exp(-|centre_i - z|_M / bandwidth).

    Attributes:
        centers: (m, p) encoded training rows.
        coefficients: (m, outputs).
        offset: (outputs,).
        root: (p, p), the symmetric root of the metric M.
        bandwidth: L.
    """

    kind: ClassVar[str] = "xrfm"

    centers: Floats
    coefficients: Floats
    offset: Floats
    root: Floats
    bandwidth: float

    def scores(self, encoded: NDArray[np.float64]) -> NDArray[np.float64]:
        """Evaluate f, (n, p) -> (n, outputs)."""
        scores = np.empty((len(encoded), self.coefficients.shape[1]))
        with blas_threads(len(self.centers)):
            for rows, block in self._blocks(encoded):
                scores[rows] = self._kernel(*block)[0] @ self.coefficients + self.offset
        return scores

    def gradients(self, encoded: NDArray[np.float64]) -> NDArray[np.float64]:
        """Differentiate f in closed form, (n, p) -> (n, outputs, p).

        The gradient of one kernel is -(1/L) k/d M (z - centre). It has no limit at the centre itself, where
        the kernel has its peak; that term is left out, which is what a symmetric difference gives there.
        """
        return self.scores_and_gradients(encoded)[1]

    def scores_and_gradients(
        self, encoded: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Evaluate f and its gradient from one kernel, (n, p) -> (n, outputs) and (n, outputs, p)."""
        outputs, p = self.coefficients.shape[1], encoded.shape[1]
        scores = np.empty((len(encoded), outputs))
        gradients = np.empty((len(encoded), outputs, p))
        with blas_threads(len(self.centers)):
            for rows, (projected, distance, weight) in self._blocks(encoded):
                kernel, touching = self._kernel(projected, distance, weight)
                scores[rows] = kernel @ self.coefficients + self.offset
                np.copyto(distance, np.inf, where=touching)
                weight /= distance
                for output in range(outputs):
                    pull = np.multiply(weight, self.coefficients[:, output], out=distance)
                    pulled = pull @ self._pulling_centers
                    direction = pulled[:, :p] - pulled[:, p:] * (projected @ self.root)
                    gradients[rows, output] = direction * (1.0 / self.bandwidth)
        return scores, gradients

    def agop(self, encoded: NDArray[np.float64]) -> NDArray[np.float64]:
        """Average the outer products of the gradients at rows (n, p), summed over outputs, -> (p, p)."""
        total = np.zeros((encoded.shape[1], encoded.shape[1]))
        for start in range(0, len(encoded), _AGOP_BATCH):
            gradients = self.gradients(encoded[start : start + _AGOP_BATCH]).reshape(-1, encoded.shape[1])
            total += gradients.T @ gradients
        return total / len(encoded)

    def rescaled(self, factor: float, shift: NDArray[np.float64]) -> KernelMachine:
        """Give the machine of factor * f + shift, shift (outputs,)."""
        dtype = self.root.dtype
        coefficients = (self.coefficients * factor).astype(dtype)
        offset = (self.offset * factor + shift).astype(np.float64)
        return KernelMachine(self.centers, coefficients, offset, self.root, self.bandwidth)

    def save(self, folder: Path) -> None:
        """Write the machine's arrays into the folder."""
        np.savez_compressed(
            folder / _FILE,
            centers=self.centers,
            coefficients=self.coefficients,
            offset=self.offset,
            root=self.root,
            bandwidth=np.float64(self.bandwidth),
        )

    @classmethod
    def load(cls, folder: Path) -> KernelMachine:
        """Read what `save` wrote."""
        with np.load(folder / _FILE, allow_pickle=False) as arrays:
            bandwidth = float(arrays["bandwidth"])
            return cls(arrays["centers"], arrays["coefficients"], arrays["offset"], arrays["root"], bandwidth)

    @functools.cached_property
    def _measured_centers(self) -> Floats:
        """The projected centres as the right-hand side of `_distances`, (p + 2, m)."""
        return _right_factor(self.centers @ self.root)

    @functools.cached_property
    def _pulling_centers(self) -> Floats:
        """The centres times M, and ones, (m, p + 1)."""
        pulling = self.centers @ self.root @ self.root
        return np.column_stack([pulling, np.ones(len(pulling), dtype=pulling.dtype)])

    def _blocks(self, encoded: NDArray[np.float64]) -> Iterator[tuple[slice, tuple[Floats, Floats, Floats]]]:
        """Give slices of the rows, each projected and with room for two arrays (rows, m).

        The room is reused: fresh memory for every block would cost as much as the arithmetic.
        """
        n, m, dtype = len(encoded), len(self.centers), self.root.dtype
        size = min(n, max(1, _BLOCK_ENTRIES // m))
        distance, weight = np.empty((size, m), dtype), np.empty((size, m), dtype)
        for start in range(0, n, max(1, size)):
            projected = encoded[start : start + size].astype(dtype, copy=False) @ self.root
            k = len(projected)
            yield slice(start, start + k), (projected, distance[:k], weight[:k])

    def _kernel(
        self, projected: Floats, distance: Floats, kernel: Floats
    ) -> tuple[Floats, NDArray[np.bool_]]:
        """Fill in distances and kernel (n, m); mark where a row and a centre are the same up to rounding."""
        left = _left_factor(projected)
        np.matmul(left, self._measured_centers, out=distance)
        # Rounding enters a squared distance relative to the squared norms.
        touching = distance <= _ROUND_OFF * np.finfo(distance.dtype).eps * left[:, -2:-1]
        np.copyto(distance, 0.0, where=touching)
        np.sqrt(distance, out=distance)
        np.multiply(distance, -1.0 / self.bandwidth, out=kernel)
        return np.exp(kernel, out=kernel), touching


@dataclass(frozen=True, eq=False)
class FittedMachine:
    """A machine and the validation losses of its metric's steps on the rows it was fitted to.

    An exact fit starts with the identity metric, a Nystroem fit with the metric of its sample.
    """

    machine: KernelMachine
    losses: tuple[float, ...]

    @property
    def loss(self) -> float:
        """The validation loss of the machine, the smallest of all steps."""
        return min(self.losses)


@dataclass(frozen=True, eq=False)
class _Problem:
    """Rows to fit, and the validation rows that judge a fit."""

    encoded: NDArray[np.float64]
    targets: NDArray[np.float64]
    validation: NDArray[np.float64]
    validation_targets: NDArray[np.float64]
    bandwidth: float
    ridge: float

    def on(self, rows: NDArray[np.intp]) -> _Problem:
        """The same problem for some of the rows."""
        return replace(self, encoded=self.encoded[rows], targets=self.targets[rows])

    def solve(self, centers: Floats, root: Floats) -> KernelMachine:
        """Fit the coefficients for a metric; exact if the centres are all the rows."""
        dtype = root.dtype
        offset = self.targets.mean(axis=0)
        projected = centers @ root
        rows = None if len(centers) == len(self.encoded) else self.encoded.astype(dtype, copy=False) @ root
        coefficients = _solve(
            rows, projected, (self.targets - offset).astype(dtype), self.bandwidth, self.ridge
        )
        return KernelMachine(centers, coefficients, offset, root, self.bandwidth)

    def loss(self, machine: KernelMachine) -> float:
        """The mean squared error on the validation rows."""
        return float(np.mean((machine.scores(self.validation) - self.validation_targets) ** 2))


def fit_kernel_machine(
    encoded: NDArray[np.float64],
    targets: NDArray[np.float64],
    validation: NDArray[np.float64],
    validation_targets: NDArray[np.float64],
    *,
    bandwidth: float,
    ridge: float,
    max_centers: int,
    seed: int,
) -> FittedMachine:
    """Fit kernel ridge regression and its metric in turn, and keep the best step.

    The best step is the one with the smallest mean squared error on the validation rows.

    Args:
        encoded: training rows, (n, p).
        targets: (n, outputs), of about unit scale.
        validation: rows that choose the step, (v, p).
        validation_targets: (v, outputs).
        bandwidth: L, in units of the metric.
        ridge: added to the kernel's diagonal.
        max_centers: rows up to which the fit is exact; beyond, it has at most that many Nystroem centres,
            see `n_centers`.
        seed: draws the centres and the rows of the AGOP.
    """
    random = np.random.default_rng(seed)
    n, p = encoded.shape
    problem = _Problem(encoded, targets, validation, validation_targets, bandwidth, ridge)
    agop_rows = encoded if n <= _AGOP_ROWS else encoded[np.sort(random.choice(n, _AGOP_ROWS, replace=False))]
    m = n_centers(n, max_centers)
    with blas_threads(m):
        if m == n:
            return _alternate(problem, encoded, np.eye(p), agop_rows, _ITERATIONS)
        drawn = random.choice(n, m, replace=False)
        sample = problem.on(np.sort(drawn[:_METRIC_ROWS]))
        metric = _alternate(sample, sample.encoded, np.eye(p), sample.encoded, _ITERATIONS).machine.root
        return _alternate(problem, encoded[np.sort(drawn)], metric, agop_rows, 1)


def n_centers(rows: int, max_centers: int) -> int:
    """Give the number of centres: all rows up to `max_centers`; beyond, as many as bounded work allows."""
    if rows <= max_centers:
        return rows
    return min(max_centers, max(_FEWEST_CENTERS, int((_NYSTROEM_WORK / rows) ** 0.5)))


def _alternate(
    problem: _Problem,
    centers: NDArray[np.float64],
    root: Floats,
    agop_rows: NDArray[np.float64],
    iterations: int,
) -> FittedMachine:
    """Fit, and relearn the metric from the fit, until the validation loss settles."""
    entries = len(problem.encoded) * len(centers)
    dtype = np.float64 if entries <= _DOUBLE_PRECISION else np.float32
    narrow: Floats = centers.astype(dtype, copy=False)
    losses: list[float] = []
    while True:
        machine = problem.solve(narrow, root.astype(dtype, copy=False))
        losses.append(problem.loss(machine))
        if losses[-1] <= min(losses):
            best = machine
        if len(losses) > iterations or (len(losses) > 1 and losses[-1] > _SETTLED * losses[-2]):
            break
        metric = machine.agop(agop_rows)
        largest = np.abs(metric).max()
        if largest <= 0:
            break
        root = _symmetric_root(metric / largest)
    return FittedMachine(best, tuple(losses))


def blas_threads(centers: int) -> AbstractContextManager[Any]:
    """Limit BLAS to one thread while a problem with this many centres is small."""
    if centers > _SMALL_PROBLEM:
        return nullcontext()
    limit: AbstractContextManager[Any] = _threadpools().limit(limits=1, user_api="blas")
    return limit


@functools.cache
def _threadpools() -> ThreadpoolController:
    return ThreadpoolController()


def _solve(rows: Floats | None, centers: Floats, targets: Floats, bandwidth: float, ridge: float) -> Floats:
    """Solve for the coefficients (m, outputs) in projected coordinates; rows None: they are the centres."""
    if rows is None:
        factor = _factorised_kernel(centers, bandwidth, ridge)
        return np.asarray(cho_solve((factor, True), targets, check_finite=False))
    # Normal equations in whitened features L^-1 k: without whitening they are numerically indefinite.
    whitening = _factorised_kernel(centers, bandwidth, _JITTERS[1])
    gram = np.zeros((len(centers), len(centers)), dtype=rows.dtype, order="F")
    np.fill_diagonal(gram, ridge)
    moment = np.zeros((len(centers), targets.shape[1]))
    (rank_update,) = get_blas_funcs(("syrk",), (gram,))
    slab = max(1, _SLAB_ENTRIES // len(centers))
    for start in range(0, len(rows), slab):
        # Transposed, the rows' kernel is in the order LAPACK works on without a copy.
        kernel = _laplace_kernel(rows[start : start + slab], centers, bandwidth).T
        features = solve_triangular(whitening, kernel, lower=True, overwrite_b=True, check_finite=False)
        gram = rank_update(1.0, features, beta=1.0, c=gram, lower=1, overwrite_c=1)
        moment += features @ targets[start : start + slab]
    weights = _solve_positive(gram, moment.astype(rows.dtype))
    solution = solve_triangular(whitening, weights, lower=True, trans=1, check_finite=False)
    return np.asarray(solution)


def _factorised_kernel(points: Floats, bandwidth: float, ridge: float) -> Floats:
    """Give the lower Cholesky factor of the kernel matrix plus ridge, with as little jitter as it takes."""
    for jitter in _JITTERS:
        kernel = _laplace_kernel(points, points, bandwidth)
        np.fill_diagonal(kernel, 1.0 + ridge + jitter)
        try:
            return np.asarray(cholesky(kernel.T, lower=True, overwrite_a=True, check_finite=False))
        except LinAlgError:
            continue
    raise LinAlgError(
        "the kernel matrix has no Cholesky factor even with jitter; a feature may hold extreme values"
    )


def _solve_positive(gram: Floats, moment: Floats) -> Floats:
    """Solve gram @ weights = moment, of which only the lower triangle is given."""
    scale = float(np.diagonal(gram).mean())
    for jitter in _JITTERS:
        shifted = gram.copy(order="F")
        shifted[np.diag_indices_from(shifted)] += jitter * scale
        try:
            factor = cho_factor(shifted, lower=True, overwrite_a=True, check_finite=False)
        except LinAlgError:
            continue
        return np.asarray(cho_solve(factor, moment, check_finite=False))
    raise LinAlgError("the normal equations have no Cholesky factor even with jitter")


def _laplace_kernel(left: Floats, right: Floats, bandwidth: float) -> Floats:
    """Give exp(-|left - right| / bandwidth), (n, m), worked out in blocks that stay in the cache."""
    factor = _right_factor(right)
    kernel = np.empty((len(left), len(right)), dtype=left.dtype)
    block = max(1, _BLOCK_ENTRIES // len(right))
    for start in range(0, len(left), block):
        part = kernel[start : start + block]
        np.matmul(_left_factor(left[start : start + block]), factor, out=part)
        np.maximum(part, 0, out=part)
        np.sqrt(part, out=part)
        part *= -1.0 / bandwidth
        np.exp(part, out=part)
    return kernel


def _left_factor(points: Floats) -> Floats:
    """Together with `_right_factor`, squared distances are one matrix product: (n, p) -> (n, p + 2)."""
    norms = np.einsum("ij,ij->i", points, points)
    return np.column_stack([points, norms, np.ones_like(norms)])


def _right_factor(points: Floats) -> Floats:
    """The other factor, (m, p) -> (p + 2, m)."""
    norms = np.einsum("ij,ij->i", points, points)
    return np.vstack([-2 * points.T, np.ones_like(norms), norms])


def _symmetric_root(metric: NDArray[np.float64]) -> NDArray[np.float64]:
    values, vectors = np.linalg.eigh(metric)
    return np.asarray((vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T)
