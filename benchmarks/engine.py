"""The engine's kernel machine on one thread: time and memory of a fit beside `xrfm`; rows explained a second.

Each measurement is a process of its own, for its peak memory. `xrfm` needs `make oracle` once; without it the
engine is measured alone. Targets: 0.6x the time and 0.5x the memory of xrfm at 10,000 x 20; 50,000 x 20 in
40 s and 600 MB; 100,000 rows explained a second at 1,000 centres.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
BANDWIDTH, RIDGE, MAX_CENTERS = 10.0, 1e-3, 6000
EXPLAINED_ROWS = 50_000


def problem(n: int) -> tuple[Any, Any]:
    """Give 20 standard normal columns and a target of unit variance that depends on four of them."""
    random = np.random.default_rng(0)
    x = random.normal(size=(n, 20))
    y = np.sin(2 * x[:, 0]) + x[:, 1] * x[:, 2] + 0.5 * x[:, 3] ** 2 + 0.1 * random.normal(size=n)
    return x, (y - y.mean()) / y.std()


def fit_engine(n: int) -> dict[str, float]:
    from airflow_provider_cleartrace.local.engine.rfm import fit_kernel_machine

    x, y = problem(n)
    k = n * 4 // 5
    start = time.perf_counter()
    fitted = fit_kernel_machine(
        x[:k],
        y[:k, None],
        x[k:],
        y[k:, None],
        bandwidth=BANDWIDTH,
        ridge=RIDGE,
        max_centers=MAX_CENTERS,
        seed=0,
    )
    return {"seconds": time.perf_counter() - start, "r2": 1 - fitted.loss / float(y[k:].var())}


def fit_xrfm(n: int) -> dict[str, float]:
    import torch
    from xrfm import xRFM

    torch.set_num_threads(1)
    x, y = (array.astype(np.float32) for array in problem(n))
    k = n * 4 // 5
    start = time.perf_counter()
    model = xRFM(
        {
            "model": {"kernel": "l2", "bandwidth": BANDWIDTH, "exponent": 1.0, "diag": False},
            "fit": {"reg": RIDGE, "iters": 5, "verbose": False, "early_stop_rfm": True},
        },
        random_state=0,
        verbose=False,
    )
    model.fit(x[:k], y[:k, None], x[k:], y[k:, None])
    seconds = time.perf_counter() - start
    error = float(np.mean((np.asarray(model.predict(x[k:])).ravel() - y[k:]) ** 2))
    return {"seconds": seconds, "r2": 1 - error / float(y[k:].var())}


def explain_rows(n: int) -> dict[str, float]:
    """Explain rows of 20 columns with a machine of n centres."""
    from airflow_provider_cleartrace.local.engine import FitConfig, Table, explain, fit

    def table(x: Any) -> Table:
        return Table.from_columns({f"x{j:02}": x[:, j] for j in range(20)})

    x, y = problem(n * 5 // 4)
    model = fit(table(x), y, target_name="y", config=FitConfig(mode="fast"))
    rows = table(np.random.default_rng(1).normal(size=(EXPLAINED_ROWS, 20)))
    best = 0.0
    for _ in range(5):
        start = time.perf_counter()
        explain(model, rows)
        best = max(best, EXPLAINED_ROWS / (time.perf_counter() - start))
    return {"rows_per_second": best}


MEASUREMENTS = {"engine": fit_engine, "xrfm": fit_xrfm, "explain": explain_rows}


def measured(python: str, name: str, n: int) -> dict[str, float]:
    """Run one measurement in a fresh interpreter on one thread."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [python, __file__, "--measure", name, "--rows", str(n)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    figures: dict[str, float] = json.loads(run.stdout.splitlines()[-1])
    return figures


def show(label: str, figures: dict[str, float]) -> None:
    print(f"{label:24} {figures['seconds']:6.1f} s {figures['megabytes']:7.0f} MB   r2 {figures['r2']:.4f}")


def main() -> None:
    """Print every figure, and the ratios of this run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--oracle", default=str(ROOT / ".venv-oracle/bin/python"), help="a Python with xrfm")
    parser.add_argument("--measure", choices=sorted(MEASUREMENTS), help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        figures = MEASUREMENTS[arguments.measure](arguments.rows)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({**figures, "megabytes": peak}))
        return
    ours = measured(sys.executable, "engine", 10_000)
    show("fit 10,000 x 20, engine", ours)
    if Path(arguments.oracle).exists():
        theirs = measured(arguments.oracle, "xrfm", 10_000)
        show("fit 10,000 x 20, xrfm", theirs)
        time_ratio, memory_ratio = (ours[key] / theirs[key] for key in ("seconds", "megabytes"))
        print(f"{'':24} {time_ratio:.2f}x the time, {memory_ratio:.2f}x the memory")
    else:
        print(f"xrfm is not measured: {arguments.oracle} is not there (`make oracle` installs it)")
    show("fit 50,000 x 20, engine", measured(sys.executable, "engine", 50_000))
    speed = measured(sys.executable, "explain", 1000)["rows_per_second"]
    print(f"explain, 1,000 centres   {speed:,.0f} rows a second")


if __name__ == "__main__":
    main()
