"""The provider as Airflow itself sees it: its commands, its metadata, a whole run of the example DAG."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from tests.integration import credit_risk_files
from tests.integration.airflow_command import ROOT, Airflow, below_3_1
from tests.integration.local_server import LocalServer

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory, local_server: LocalServer) -> Airflow:
    command = Airflow(tmp_path_factory.mktemp("airflow"), local_server, ROOT / "example_dags")
    command("db", "migrate")
    return command


def test_airflow_knows_the_provider_and_its_hook(airflow: Airflow) -> None:
    assert "0.1.0" in airflow("providers", "get", "airflow-provider-cleartrace")
    hooks = airflow("providers", "hooks", "--output", "plain")
    assert "airflow_provider_cleartrace.hooks.cleartrace.ClearTraceHook" in hooks


def test_the_connection_test_tells_good_from_bad(airflow: Airflow, local_server: LocalServer) -> None:
    for conn_id, key in (("ct_good", local_server.api_key), ("ct_bad", "canary-wrong-key")):
        airflow(
            "connections",
            "add",
            conn_id,
            "--conn-type",
            "cleartrace",
            "--conn-host",
            local_server.base_url,
            "--conn-password",
            key,
        )

    assert "Connection success!" in airflow("connections", "test", "ct_good")
    told = airflow("connections", "test", "ct_bad", fails=True)
    assert "Connection failed!" in told
    assert "refuses the API key" in told
    assert "canary-wrong-key" not in told


@below_3_1
def test_the_example_dag_runs_to_its_end(airflow: Airflow) -> None:
    told = airflow("dags", "test", "credit_risk")

    (folder,) = airflow.output.iterdir()
    credit_risk_files.assert_whole(folder)
    assert "failed" not in told.lower()


def test_the_calibrated_example_explains_loans_that_the_model_has_not_seen(airflow: Airflow) -> None:
    before = set(airflow.output.glob("*"))
    airflow("dags", "test", "calibrated")

    (folder,) = set(airflow.output.glob("*")) - before
    factual = pd.read_parquet(folder / "factual" / "rules.parquet")
    alternatives = pd.read_parquet(folder / "alternatives" / "rules.parquet")
    assert factual["loan"].nunique() == 100
    assert alternatives["is_counter"].all()
    assert (folder / "factual" / "plots" / "row-1.svg").is_file()
    assert json.loads((folder / "factual" / "manifest.json").read_text())["rows"] == 100
