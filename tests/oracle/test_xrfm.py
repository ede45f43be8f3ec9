"""The engine beside `xrfm`, the authors' own implementation: same rows, same parameters, same answers.

`make oracle` installs it and runs this file; nothing else collects it.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn import datasets
from xrfm.rfm_src import RFM

from airflow_provider_cleartrace.local.engine.encoding import Encoder
from airflow_provider_cleartrace.local.engine.rfm import fit_kernel_machine
from airflow_provider_cleartrace.local.engine.schema import infer_schema
from airflow_provider_cleartrace.local.engine.table import Table

Floats = NDArray[np.float64]

ROOT = Path(__file__).parents[2]
GERMAN_CREDIT = ROOT / "example_dags/data/german_credit.csv"
ADULT = ROOT.parent / "shared/data/adult.csv.gz"
ADULT_ROWS = 6000
BANDWIDTH, RIDGE, ITERATIONS = 10.0, 1e-3, 5
NAMES = ["breast_cancer", "wine", "german_credit", "adult", "diabetes", "friedman1"]


@dataclass(frozen=True, eq=False)
class Answer:
    """What one implementation says of the unseen rows, (n, outputs), and its AGOP."""

    scores: Floats
    agop: Floats


def read_csv(lines: Iterable[str]) -> tuple[Table, Floats]:
    names, *rows = csv.reader(lines)
    cells = [[float(cell) if cell.lstrip("-").isdecimal() else cell for cell in row] for row in rows]
    table = Table.from_rows(names, cells)
    return table.select(names[:-1]), table[names[-1]]


def data(name: str) -> tuple[Table, Floats, bool]:
    """Give features, target and whether it is of classes."""
    if name == "german_credit":
        return *read_csv(GERMAN_CREDIT.read_text("utf-8").splitlines()), True
    if name == "adult":
        if not ADULT.exists():
            pytest.skip(f"{ADULT} is not there")
        with gzip.open(ADULT, "rt", encoding="utf-8") as lines:
            table, target = read_csv(lines)
        rows = np.random.default_rng(0).choice(len(table), ADULT_ROWS, replace=False)
        return table.take(rows), target[rows], True
    if name == "friedman1":
        x, y = datasets.make_friedman1(2000, noise=1.0, random_state=0)
    else:
        loaded = getattr(datasets, f"load_{name}")()
        x, y = loaded.data, loaded.target
    table = Table.from_columns({f"x{j:02}": x[:, j] for j in range(x.shape[1])})
    return table, np.asarray(y, dtype=np.float64), name in ("breast_cancer", "wine")


@cache
def answers(name: str) -> tuple[Answer, Answer, Floats, bool]:
    """Fit both on 60% of the rows, let 20% choose the step, and ask about the rest."""
    table, target, classes = data(name)
    outputs = target[:, None]
    if classes and target.max() > 1:
        outputs = np.eye(int(target.max()) + 1)[target.astype(int)]
    outputs = (outputs - outputs.mean(axis=0)) / outputs.std()
    x = Encoder.fit(table, infer_schema(table), "standard").encode(table)
    order = np.random.default_rng(0).permutation(len(x))
    training, validation, unseen = np.split(order, [len(x) * 6 // 10, len(x) * 8 // 10])
    ours = fit_kernel_machine(
        x[training],
        outputs[training],
        x[validation],
        outputs[validation],
        bandwidth=BANDWIDTH,
        ridge=RIDGE,
        max_centers=ADULT_ROWS,
        seed=0,
    ).machine
    torch.manual_seed(0)
    theirs = RFM(kernel="l2", iters=ITERATIONS, bandwidth=BANDWIDTH, device="cpu", diag=False, verbose=False)
    tensors = [torch.tensor(array, dtype=torch.float32) for array in (x, outputs)]
    theirs.fit(
        tuple(tensor[training] for tensor in tensors),
        tuple(tensor[validation] for tensor in tensors),
        iters=ITERATIONS,
        reg=RIDGE,
        verbose=False,
        early_stop_rfm=False,
        tuning_metric="mse",
    )
    gradients = theirs.get_grads(tensors[0][training]).double().numpy().reshape(-1, x.shape[1])
    predicted = theirs.predict(tensors[0][unseen]).double().numpy().reshape(len(unseen), -1)
    return (
        Answer(ours.scores(x[unseen]), ours.agop(x[training])),
        Answer(predicted, gradients.T @ gradients / len(training)),
        outputs[unseen],
        classes,
    )


def accuracy(scores: Floats, truth: Floats, classes: bool) -> float:
    """Give the share of right classes, or r2."""
    if not classes:
        return float(1 - ((truth - scores) ** 2).sum() / ((truth - truth.mean()) ** 2).sum())
    if truth.shape[1] > 1:
        return float((scores.argmax(axis=1) == truth.argmax(axis=1)).mean())
    middle = (truth.min() + truth.max()) / 2
    return float(((scores > middle) == (truth > middle)).mean())


@pytest.mark.parametrize("name", NAMES)
def test_predictions_correlate(name: str) -> None:
    ours, theirs, _, _ = answers(name)
    assert np.corrcoef(ours.scores.ravel(), theirs.scores.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("name", NAMES)
def test_the_agop_points_the_same_way(name: str) -> None:
    ours, theirs, _, _ = answers(name)
    cosine = (ours.agop * theirs.agop).sum() / np.linalg.norm(ours.agop) / np.linalg.norm(theirs.agop)
    assert cosine > 0.99


@pytest.mark.parametrize("name", NAMES)
def test_the_accuracy_is_the_same(name: str) -> None:
    ours, theirs, truth, classes = answers(name)
    expected = accuracy(theirs.scores, truth, classes)
    assert accuracy(ours.scores, truth, classes) == pytest.approx(expected, abs=0.005)
