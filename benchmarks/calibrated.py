"""What calibrated explanations of a remote model cost, beside the library called plainly with the same model.

A model of ten features is trained on ClearTrace Local, which runs on this machine. Both sides ask it through
the same client; requests are counted, and in the second round each waits 40 ms more, as on a wide-area
network. Then 1,000 rows are explained with 500 calibration rows, and 20,000 rows by the operator's batches,
with the memory that takes.
"""

from __future__ import annotations

import resource
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
from calibrated_explanations import WrapCalibratedExplainer

from airflow_provider_cleartrace.client import ClearTrace
from airflow_provider_cleartrace.explanations.conjunctions import Conjunctions
from airflow_provider_cleartrace.explanations.explainer import CalibratedExplainer

FEATURES, CALIBRATION, ROWS = 10, 500, 100
LATENCY = 0.04
NAMES = [f"x{index}" for index in range(FEATURES)]


class Plain:
    """The remote model as the library takes one, with nothing between."""

    def __init__(self, predict: Callable[[pd.DataFrame], Any]) -> None:
        self._predict = predict

    def fit(self, X: Any, y: Any) -> Plain:
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __deepcopy__(self, memo: Any) -> Plain:
        return self

    def predict_proba(self, X: Any) -> Any:
        positive = self._predict(pd.DataFrame(X, columns=NAMES))
        return np.column_stack([1 - positive, positive])

    def predict(self, X: Any) -> Any:
        return self.predict_proba(X).argmax(axis=1)


class Counted:
    """Asks the model, counts requests, and waits for the latency of a network."""

    def __init__(self, client: ClearTrace, latency: float = 0.0) -> None:
        self._client = client
        self._latency = latency
        self.calls = 0
        self.rows = 0

    def __call__(self, frame: pd.DataFrame) -> Any:
        self.calls += 1
        self.rows += len(frame)
        time.sleep(self._latency)
        return self._client.predict(frame)


@contextmanager
def server() -> Iterator[ClearTrace]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "airflow_provider_cleartrace.local.cli", "serve"]
        process = subprocess.Popen(
            [*command, "--data-dir", folder, "--port", str(port)], stderr=subprocess.DEVNULL
        )
        try:
            with ClearTrace(f"http://127.0.0.1:{port}", poll_interval=0.1) as client:
                for _ in range(300):
                    try:
                        client.health()
                        break
                    except Exception:
                        time.sleep(0.1)
                yield client
        finally:
            process.terminate()
            process.wait()


def timed(work: Callable[[], Any], asked: Counted) -> tuple[float, int, int]:
    calls, rows, start = asked.calls, asked.rows, time.perf_counter()
    work()
    return time.perf_counter() - start, asked.calls - calls, asked.rows - rows


def side_by_side(client: ClearTrace, calibration: Any, rows: pd.DataFrame, latency: float) -> None:
    X, y = calibration
    plainly, ours = Counted(client, latency), Counted(client, latency)
    wrapped = WrapCalibratedExplainer(Plain(plainly))
    wrapped.calibrate(X.to_numpy(), y, feature_names=NAMES, mode="classification")
    explainer = CalibratedExplainer(ours, feature_names=NAMES, classes=[0, 1]).calibrate(X, y)
    joined = Conjunctions(5, 2)

    def whole(kind: str) -> None:
        getattr(wrapped, kind)(rows.to_numpy()).add_conjunctions(5, 2)

    for label, theirs, mine in (
        ("factual", lambda: wrapped.explain_factual(rows.to_numpy()), lambda: explainer.factual(rows)),
        (
            "factual, conjunctions (5, 2)",
            lambda: whole("explain_factual"),
            lambda: explainer.factual(rows, conjunctions=joined),
        ),
        (
            "alternatives, conjunctions (5, 2)",
            lambda: whole("explore_alternatives"),
            lambda: explainer.alternatives(rows, conjunctions=joined),
        ),
    ):
        their_time, their_calls, their_rows = timed(theirs, plainly)
        our_time, our_calls, our_rows = timed(mine, ours)
        print(
            f"| {label}, +{latency * 1000:.0f} ms | {their_calls} / {their_rows} | {their_time:.2f} s"
            f" | {our_calls} / {our_rows} | {our_time:.2f} s | {their_time / our_time:.1f}x |"
        )


def many_rows(client: ClearTrace, calibration: Any, random: np.random.Generator) -> None:
    X, y = calibration
    asked = Counted(client)
    explainer = CalibratedExplainer(asked, feature_names=NAMES, classes=[0, 1], max_in_flight=4)
    rows = pd.DataFrame(random.normal(size=(20_000, FEATURES)), columns=NAMES)
    start = time.perf_counter()
    explainer.calibrate(X, y)
    told = [
        explainer.factual(rows[first : first + 200]).build_rules_payload() for first in range(0, 1_000, 200)
    ]
    print(
        f"1,000 factual rows: {time.perf_counter() - start:.1f} s, {asked.calls} requests,"
        f" {len(told)} batches"
    )
    del told
    start = time.perf_counter()
    peaks = []
    for first in range(0, len(rows), 200):
        explainer.factual(rows[first : first + 200]).build_rules_payload()
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    print(
        f"20,000 factual rows: {time.perf_counter() - start:.0f} s; peak memory {peaks[9]:.0f} MB after 2,000"
        f" rows, {peaks[-1]:.0f} MB after all"
    )


def main() -> None:
    warnings.simplefilter("ignore")
    random = np.random.default_rng(0)
    X = pd.DataFrame(random.normal(size=(2_000, FEATURES)), columns=NAMES)
    y = (X["x0"] + X["x1"] * X["x2"] + random.normal(size=len(X)) > 0).astype(int)
    with server() as client:
        client.fit(X[:1_000].assign(y=y[:1_000]), target="y", mode="fast", n_hyperopt_steps=1)
        calibration = X[1_000:1_500].reset_index(drop=True), y[1_000:1_500].to_numpy()
        print("| what | plain: calls / rows | time | ours: calls / rows | time | ratio |")
        print("|---|---|---|---|---|---|")
        for latency in (0.0, LATENCY):
            side_by_side(client, calibration, X[1_500 : 1_500 + ROWS].reset_index(drop=True), latency)
        many_rows(client, calibration, random)


if __name__ == "__main__":
    main()
