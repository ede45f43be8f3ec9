"""Lineage names data sets by OpenLineage's rules, and nothing in it ever reaches the task."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_provider_cleartrace.assets.model import cleartrace_model_asset
from airflow_provider_cleartrace.operators.inference import (
    ClearTraceExplainOperator,
    ClearTracePredictOperator,
)
from airflow_provider_cleartrace.operators.training import ClearTraceFitOperator
from tests.integration.airflow_tasks import context
from tests.integration.row_server import row_server

METHODS = ("on_start", "on_complete", "on_failure")

WITHOUT_THE_PROVIDER = """
import sys
from airflow_provider_cleartrace.operators.training import ClearTraceFitOperator
sys.modules["airflow.providers.openlineage.extractors"] = sys.modules["openlineage"] = None
operator = ClearTraceFitOperator(task_id="fit", data="/data/loans.csv", target="approved")
assert operator.get_openlineage_facets_on_start() is None
assert operator.get_openlineage_facets_on_complete(None) is None
assert operator.get_openlineage_facets_on_failure(None) is None
"""


def test_without_the_provider_there_is_none_and_nothing_fails() -> None:
    subprocess.run([sys.executable, "-c", WITHOUT_THE_PROVIDER], check=True)


class TestWithTheProvider:
    @pytest.fixture(autouse=True)
    def _provider(self) -> None:
        pytest.importorskip("airflow.providers.openlineage", reason="the extra openlineage is not installed")

    @pytest.fixture(autouse=True)
    def _connection(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(
            "AIRFLOW_CONN_CLEARTRACE_DEFAULT",
            json.dumps({"conn_type": "cleartrace", "host": "https://api.example.com", "password": "canary"}),
        )

    @pytest.mark.parametrize("method", METHODS)
    def test_follows_the_arguments_without_a_word_to_the_service(self, method: str) -> None:
        operator = ClearTracePredictOperator(
            task_id="predict",
            model_id="loans",
            data="/data/new loans.csv",
            output_uri="s3://bucket/a/b#1.parquet",
        )
        call = getattr(operator, f"get_openlineage_facets_{method}")
        told = call() if method == "on_start" else call(None)
        assert [(data.namespace, data.name) for data in told.inputs] == [
            ("cleartrace://api.example.com", "models/loans"),
            ("file", "/data/new loans.csv"),
        ]
        assert [(data.namespace, data.name) for data in told.outputs] == [("s3://bucket", "a/b#1.parquet")]
        assert told.run_facets["cleartrace_model"].modelId == "loans"

    def test_tells_the_columns_that_each_driver_comes_from(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        (tmp_path / "d.csv").write_text("id,age,income,region\n1,2,3,north\n")
        operator = ClearTraceExplainOperator(
            task_id="explain",
            model_id="m",
            data=str(tmp_path / "d.csv"),
            output_uri=str(tmp_path / "o.parquet"),
            id_columns=["id"],
            columns=["region"],
        )
        with row_server({"age": {"dtype": "number"}, "income": {"dtype": "number"}}) as served:
            told = {"conn_type": "cleartrace", "host": served.url}
            monkeypatch.setenv("AIRFLOW_CONN_CLEARTRACE_DEFAULT", json.dumps(told))
            operator.execute(context())
            lineage = operator.get_openlineage_facets_on_complete(None)
        assert lineage is not None
        (output,) = lineage.outputs
        fields = output.facets["columnLineage"].fields
        assert {name: [source.field for source in field.inputFields] for name, field in fields.items()} == {
            "id": ["id"],
            "region": ["region"],
            "prediction": ["age", "income"],
            "driver_age": ["age"],
            "driver_income": ["income"],
            "agop_age": ["age"],
            "agop_income": ["income"],
        }
        assert {source.name for field in fields.values() for source in field.inputFields} == {
            str(tmp_path / "d.csv")
        }

    def test_of_a_training_on_an_upload_leads_from_the_model_to_the_model(self) -> None:
        told = ClearTraceFitOperator(
            task_id="fit", model_id="loans", target="approved"
        ).get_openlineage_facets_on_start()
        assert told is not None
        assert told.inputs == told.outputs
        assert [data.name for data in told.inputs] == ["models/loans"]

    def test_is_empty_when_the_connection_cannot_be_read(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        broken = {"conn_type": "cleartrace", "password": "canary", "extra": {"timeout": "soon"}}
        monkeypatch.setenv("AIRFLOW_CONN_CLEARTRACE_DEFAULT", json.dumps(broken))
        operator = ClearTracePredictOperator(
            task_id="predict", model_id="loans", data="/data/a.csv", output_uri="/data/b.csv"
        )
        with caplog.at_level(logging.DEBUG):
            told = operator.get_openlineage_facets_on_complete(None)
        assert told is not None
        assert (told.inputs, told.outputs, told.run_facets) == ([], [], {})
        assert "canary" not in caplog.text

    def test_has_the_figures_of_a_distillation_too(self) -> None:
        from airflow_provider_cleartrace.lineage.facets import model_facet

        manifest = {"metric_auc": 0.8, "metric_note": None, "fidelity": {"r2": 0.9}, "rows": 7}
        assert model_facet("m", "fit_distill", manifest).metrics == {"auc": 0.8, "fidelity_r2": 0.9}

    def test_of_an_asset_is_that_of_the_tasks(self) -> None:
        from airflow.providers.common.compat.openlineage.utils.utils import translate_airflow_asset

        dataset = translate_airflow_asset(cleartrace_model_asset("loans", "https://api.example.com"), None)
        assert (dataset.namespace, dataset.name) == ("cleartrace://api.example.com", "models/loans")
