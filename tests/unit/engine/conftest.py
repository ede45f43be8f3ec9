"""Tables and fitted models that several engine tests share; fitted once a session."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from airflow_provider_cleartrace.local.engine import FitConfig, Model, Table, fit
from tests.unit.engine.engine_tables import Labelled, mixed_table

GERMAN_CREDIT = Path(__file__).parents[3] / "example_dags" / "data" / "german_credit.csv"


@pytest.fixture(scope="session")
def mixed() -> Labelled:
    return mixed_table(260, seed=1)


@pytest.fixture(scope="session")
def unseen() -> Labelled:
    return mixed_table(40, seed=2)


@pytest.fixture(scope="session")
def models(mixed: Labelled) -> dict[tuple[str, str], Model]:
    """One model for each (base model type, task), trained on `mixed`."""
    return {
        (base, task): fit(
            mixed.table,
            mixed.target(task),
            target_name="price",
            config=FitConfig(base_model_type=base, n_hyperopt_steps=3 if base == "xrfm" else 1),
        )
        for base in ("xrfm", "xgboost")
        for task in ("regression", "binary", "multiclass")
    }


@pytest.fixture(scope="session")
def german_credit() -> tuple[Table, list[float]]:
    """The demo's table: 1,000 loans, 20 features, 0/1 target."""
    with GERMAN_CREDIT.open(newline="", encoding="utf-8") as file:
        names, *rows = csv.reader(file)
    cells = [[float(cell) if cell.isdecimal() else cell for cell in row] for row in rows]
    table = Table.from_rows(names, cells)
    return table.select(names[:-1]), table["good_credit"].tolist()
