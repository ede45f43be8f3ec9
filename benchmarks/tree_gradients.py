"""Which gradient explains boosted trees: the box-smoothed derivative, or that of a kernel machine from them?

Three functions with known gradients. "truth": mean cosine to the true gradient. "AGOP": cosine of the AGOPs.
"own": correlation of gradient x step with what the trees' own prediction does over random steps of half a
standard deviation.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from airflow_provider_cleartrace.local.engine import FitConfig, Model, Table, distill, fit

TRAINING, QUERIES = 2000, 1000
STEP = 0.5


def multi_index(random: np.random.Generator, n: int) -> tuple[Any, Any, Any]:
    axes = np.linalg.qr(np.random.default_rng(5).normal(size=(12, 3)))[0]
    x = random.normal(size=(n, 12))
    a, b, c = (x @ axes).T
    gradient = (
        np.outer(2 / np.cosh(2 * a) ** 2, axes[:, 0]) + np.outer(c, axes[:, 1]) + np.outer(b, axes[:, 2])
    )
    return x, np.tanh(2 * a) + b * c, gradient


def friedman1(random: np.random.Generator, n: int) -> tuple[Any, Any, Any]:
    x = random.random((n, 10))
    phase = np.pi * x[:, 0] * x[:, 1]
    y = 10 * np.sin(phase) + 20 * (x[:, 2] - 0.5) ** 2 + 10 * x[:, 3] + 5 * x[:, 4]
    gradient = np.zeros_like(x)
    gradient[:, :2] = (10 * np.pi * np.cos(phase))[:, None] * x[:, 1::-1]
    gradient[:, 2] = 40 * (x[:, 2] - 0.5)
    gradient[:, 3], gradient[:, 4] = 10, 5
    return x, y, gradient


def additive(random: np.random.Generator, n: int) -> tuple[Any, Any, Any]:
    x = random.normal(size=(n, 8))
    gradient = np.zeros_like(x)
    gradient[:, 0], gradient[:, 1], gradient[:, 2] = 2 * np.cos(2 * x[:, 0]), np.sign(x[:, 1]), 1
    return x, np.sin(2 * x[:, 0]) + np.abs(x[:, 1]) + x[:, 2], gradient


def table(x: Any) -> Table:
    return Table.from_columns({f"x{j:02}": x[:, j] for j in range(x.shape[1])})


def swapped(random: np.random.Generator, x: Any) -> Any:
    """Give the rows and two copies in which half of the cells come from other rows."""
    copies = [np.where(random.random(x.shape) < 0.5, x, x[random.permutation(len(x))]) for _ in range(2)]
    return np.concatenate([x, *copies])


def main() -> None:
    """Print a Markdown table."""
    print("| function | gradient of | truth | AGOP | own | fidelity |\n|---|---|---|---|---|---|")
    for make in (multi_index, friedman1, additive):
        random = np.random.default_rng(0)
        x, y, _ = make(random, TRAINING)
        at, _, truth = make(random, QUERIES)
        noisy = y + 0.1 * y.std() * random.normal(size=len(y))
        config = FitConfig(mode="fast", base_model_type="xgboost")
        trees = fit(table(x), noisy, target_name="y", config=config)
        more = swapped(random, x)
        models = {
            "the trees, box-smoothed": trees,
            "a student": student(trees, x),
            "a student, 3x queries": student(trees, more),
        }
        sd = x.std(axis=0)
        step = STEP * random.normal(size=at.shape)
        change = trees.predict(table(at + step * sd)) - trees.predict(table(at))
        for name, model in models.items():
            found = model.feature_gradients(model.encode(table(at)))[:, 0]
            fidelity = f"{model.fidelity['r2']:.3f}" if model.fidelity else "-"
            figures = agreement(found, truth * sd, step, change)
            print(
                f"| {make.__name__} | {name} | "
                + " | ".join(f"{f:.3f}" for f in figures)
                + f" | {fidelity} |"
            )


def student(trees: Model, x: Any) -> Model:
    return distill(table(x), trees.predict(table(x)), config=FitConfig(mode="fast"))


def agreement(found: Any, truth: Any, step: Any, change: Any) -> tuple[float, float, float]:
    norms = np.linalg.norm(found, axis=1) * np.linalg.norm(truth, axis=1)
    cosine = np.mean((found * truth).sum(axis=1) / np.maximum(norms, 1e-12))
    a, b = found.T @ found, truth.T @ truth
    agop = (a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b)
    own = np.corrcoef((found * step).sum(axis=1), change)[0, 1]
    return float(cosine), float(agop), float(own)


if __name__ == "__main__":
    main()
