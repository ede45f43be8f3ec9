"""Recursive feature machine: kernel ridge regression whose metric is learned from its own gradients.

Radhakrishnan, Beaglehole, Pandit and Belkin, "Mechanism for feature learning in neural networks and
backpropagation-free machine learning models", Science 383 (2024). The kernel is k(x, z) = exp(-|x - z|_M / L)
with |x - z|_M^2 = (x - z)^T M (x - z); M starts as the identity and becomes the average gradient outer
product (AGOP) of the last fit, divided by its largest entry. Beyond `max_centers` rows the Nystroem method
keeps one smooth function: a seeded random sample of the rows as centres, whitened by their own kernel matrix.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve, cholesky, solve_triangular
from threadpoolctl import ThreadpoolController

Floats = NDArray[np.floating[Any]]

_FILE = "kernel.npz"
_ITERATIONS = 5
"""The metric settles within a few steps; validation picks the best of them."""
_SETTLED = 0.995
"""A step that brings the validation loss to no less than this share of the last one ends the iteration."""
_SMALL_PROBLEM = 3000
"""Centres up to which one BLAS thread is faster than several, which spin on small matrices."""
_DOUBLE_PRECISION = 4000
"""Centres up to which arithmetic is float64; beyond, float32 halves time and memory."""
_AGOP_ROWS = 20_000
"""Rows that estimate the AGOP; the mean of more changes no digit that matters."""
_KERNEL_ENTRIES = 8_000_000
"""Entries of a kernel block or of a gradient block (64 MB of float64): bounds memory."""
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
            for rows in self._batches(len(encoded)):
                distance = self._distances(encoded[rows].astype(self.root.dtype) @ self.root)
                scores[rows] = _laplace(distance, self.bandwidth) @ self.coefficients + self.offset
        return scores

    def gradients(self, encoded: NDArray[np.float64]) -> NDArray[np.float64]:
        """Differentiate f in closed form, (n, p) -> (n, outputs, p).

        The gradient of one kernel is -(1/L) k/d M (z - centre). It has no limit at the centre itself, where
        the kernel has its peak; that term is left out, which is what a symmetric difference gives there.
        """
        outputs = self.coefficients.shape[1]
        gradients = np.empty((len(encoded), outputs, encoded.shape[1]))
        with blas_threads(len(self.centers)):
            for rows in self._batches(len(encoded)):
                projected = encoded[rows].astype(self.root.dtype) @ self.root
                distance = self._distances(projected)
                at_centre = distance == 0
                distance[at_centre] = 1.0
                weight = _laplace(distance, self.bandwidth) / (-self.bandwidth * distance)
                weight[at_centre] = 0.0
                for output in range(outputs):
                    pull = weight * self.coefficients[:, output]
                    direction = pull.sum(axis=1)[:, None] * projected - pull @ self._projected_centers
                    gradients[rows, output] = direction @ self.root
        return gradients

    def agop(self, encoded: NDArray[np.float64]) -> NDArray[np.float64]:
        """Average the outer products of the gradients at rows (n, p), summed over outputs, -> (p, p)."""
        total = np.zeros((encoded.shape[1], encoded.shape[1]))
        for rows in self._batches(len(encoded)):
            gradients = self.gradients(encoded[rows]).reshape(-1, encoded.shape[1])
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
    def _projected_centers(self) -> Floats:
        return self.centers @ self.root

    def _distances(self, projected: Floats) -> Floats:
        """Distances (n, m); exactly 0 where a row and a centre are the same up to rounding."""
        squared = _squared_distances(projected, self._projected_centers)
        # Rounding enters a squared distance relative to the squared norms.
        norms = np.einsum("ij,ij->i", projected, projected)[:, None]
        squared[squared <= _ROUND_OFF * np.finfo(projected.dtype).eps * norms] = 0.0
        return np.asarray(np.sqrt(squared))

    def _batches(self, n: int) -> Iterator[slice]:
        widest = max(len(self.centers), self.coefficients.shape[1] * len(self.root))
        size = max(1, _KERNEL_ENTRIES // widest)
        return (slice(start, start + size) for start in range(0, n, size))


@dataclass(frozen=True, eq=False)
class FittedMachine:
    """A machine and the validation losses of the metric's steps, the first with the identity metric."""

    machine: KernelMachine
    losses: tuple[float, ...]

    @property
    def loss(self) -> float:
        """The validation loss of the machine, the smallest of all steps."""
        return min(self.losses)


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
        max_centers: rows up to which the fit is exact; beyond, that many Nystroem centres.
        seed: draws the centres and the rows of the AGOP.
    """
    random = np.random.default_rng(seed)
    n, p = encoded.shape
    centers = encoded if n <= max_centers else encoded[np.sort(random.choice(n, max_centers, replace=False))]
    agop_rows = encoded if n <= _AGOP_ROWS else encoded[np.sort(random.choice(n, _AGOP_ROWS, replace=False))]
    dtype = np.float64 if len(centers) <= _DOUBLE_PRECISION else np.float32
    offset = targets.mean(axis=0)
    centred = (targets - offset).astype(dtype)
    rows: Floats = encoded.astype(dtype)
    centers = centers.astype(dtype)
    root: Floats = np.eye(p, dtype=dtype)
    losses: list[float] = []
    with blas_threads(len(centers)):
        while True:
            coefficients = _solve(
                rows @ root, centers @ root, centred, bandwidth, ridge, exact=n == len(centers)
            )
            machine = KernelMachine(centers, coefficients, offset, root, bandwidth)
            losses.append(float(np.mean((machine.scores(validation) - validation_targets) ** 2)))
            if losses[-1] <= min(losses):
                best = machine
            if len(losses) > _ITERATIONS or (len(losses) > 1 and losses[-1] > _SETTLED * losses[-2]):
                break
            metric = machine.agop(agop_rows)
            largest = np.abs(metric).max()
            if largest <= 0:
                break
            root = _symmetric_root(metric / largest).astype(dtype)
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


def _solve(
    rows: Floats, centers: Floats, targets: Floats, bandwidth: float, ridge: float, *, exact: bool
) -> Floats:
    """Solve for the coefficients (m, outputs) in projected coordinates."""
    if exact:
        kernel = _laplace(np.sqrt(_squared_distances(centers, centers)), bandwidth)
        np.fill_diagonal(kernel, 1.0 + ridge)
        factor = _factorise(kernel)
        return np.asarray(cho_solve((factor, True), targets, check_finite=False))
    # Normal equations in whitened features L^-1 k: without whitening they are numerically indefinite.
    among = _laplace(np.sqrt(_squared_distances(centers.astype(float), centers.astype(float))), bandwidth)
    np.fill_diagonal(among, 1.0 + _JITTERS[1])
    whitening = _factorise(among)
    gram = ridge * np.eye(len(centers))
    moment = np.zeros((len(centers), targets.shape[1]))
    narrow = whitening.astype(rows.dtype)
    batch = max(1, _KERNEL_ENTRIES // len(centers))
    for start in range(0, len(rows), batch):
        kernel = _laplace(np.sqrt(_squared_distances(centers, rows[start : start + batch])), bandwidth)
        features = solve_triangular(narrow, kernel, lower=True, overwrite_b=True, check_finite=False)
        gram += features @ features.T
        moment += features @ targets[start : start + batch]
    weights = cho_solve(cho_factor(gram, lower=True, check_finite=False), moment, check_finite=False)
    solution = solve_triangular(whitening, weights, lower=True, trans=1, check_finite=False)
    return np.asarray(solution, dtype=rows.dtype)


def _factorise(kernel: Floats) -> Floats:
    """Factorise a kernel matrix, with as little jitter on its diagonal as it takes."""
    for jitter in _JITTERS:
        try:
            shifted = kernel + jitter * np.eye(len(kernel), dtype=kernel.dtype) if jitter else kernel
            return np.asarray(cholesky(shifted, lower=True, check_finite=False))
        except LinAlgError:
            continue
    raise LinAlgError(
        "the kernel matrix has no Cholesky factor even with jitter; a feature may hold extreme values"
    )


def _laplace(distance: Floats, bandwidth: float) -> Floats:
    return np.asarray(np.exp(distance * (-1.0 / bandwidth)))


def _squared_distances(left: Floats, right: Floats) -> Floats:
    squared = left @ right.T
    squared *= -2
    squared += np.einsum("ij,ij->i", left, left)[:, None]
    squared += np.einsum("ij,ij->i", right, right)[None, :]
    return np.maximum(squared, 0, out=squared)


def _symmetric_root(metric: NDArray[np.float64]) -> NDArray[np.float64]:
    values, vectors = np.linalg.eigh(metric)
    return np.asarray((vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T)
