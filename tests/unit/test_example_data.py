"""The synthetic data of the examples is what its generator draws."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

DATA = Path(__file__).parents[2] / "example_dags" / "data"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    runpy.run_path(str(DATA / "synthetic.py"))["write"](folder)
    return folder


@pytest.mark.parametrize("name", ["customers.csv", "leads.csv"])
def test_the_same_seed_draws_the_same_rows(drawn: Path, name: str) -> None:
    assert (drawn / name).read_bytes() == (DATA / name).read_bytes()
