"""Links, asset events and lineage, as a real Airflow records them in a run of deferred and blocking tasks."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import jsonschema
import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_cleartrace.links.model import ClearTraceModelLink
from airflow_provider_cleartrace.operators.training import ClearTraceFitOperator
from tests.integration.airflow_command import ROOT, Airflow
from tests.integration.airflow_tasks import context
from tests.integration.local_server import LocalServer

pytestmark = pytest.mark.timeout(600)

CREDIT = ROOT / "example_dags" / "data" / "german_credit.csv"

RECORDED = """
import json
from airflow.utils.session import create_session
try:
    from airflow.models.asset import AssetEvent
    uri = lambda event: event.asset.uri
except ImportError:
    from airflow.models.dataset import DatasetEvent as AssetEvent
    uri = lambda event: event.dataset.uri
with create_session() as session:
    events = [[event.source_task_id, uri(event), event.extra] for event in session.query(AssetEvent)]
print("recorded " + json.dumps(events))
"""

LINKED = """
import json, sys
from airflow.models import TaskInstance
from airflow.utils.session import create_session
try:
    from airflow.serialization.serialized_objects import DagSerialization
except ImportError:
    from airflow.serialization.serialized_objects import SerializedDAG as DagSerialization
sys.path.insert(0, sys.argv[1])
import model_outlets
dag = DagSerialization.from_dict(DagSerialization.to_dict(model_outlets.fit.dag))
with create_session() as session:
    links = {
        ti.task_id: dag.get_task(ti.task_id).get_extra_links(ti, "ClearTrace model")
        for ti in session.query(TaskInstance)
    }
print("linked " + json.dumps(links))
"""


def told(output: str, marker: str) -> Any:
    (line,) = (line for line in output.splitlines() if line.startswith(f"{marker} "))
    return json.loads(line.removeprefix(f"{marker} "))


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory, local_server: LocalServer) -> Airflow:
    """An Airflow in which the DAG has run."""
    home = tmp_path_factory.mktemp("outlets")
    transport = {"type": "file", "log_file_path": str(home / "lineage.jsonl"), "append": True}
    command = Airflow(
        home,
        local_server,
        ROOT / "tests" / "integration" / "dags",
        AIRFLOW__OPENLINEAGE__TRANSPORT=json.dumps(transport),
        AIRFLOW__OPENLINEAGE__NAMESPACE="tests",
    )
    command("db", "migrate")
    command.output.mkdir()
    (command.output / "failing.csv").write_text("x,y\r\n" + "1,\r\n" * 30)
    command("dags", "reserialize")  # Airflow 2.11 records events of known assets alone
    command("dags", "test", "model_outlets", fails=True)  # the exit code tells of the failing task
    return command


@pytest.fixture(scope="module")
def events(airflow: Airflow) -> dict[str, list[tuple[str, dict[str, Any]]]]:
    """The asset events of each task."""
    recorded: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for task, uri, extra in told(airflow.python(RECORDED), "recorded"):
        recorded.setdefault(task, []).append((uri, extra))
    return recorded


class TestLinks:
    def test_lead_to_the_model_of_every_task_deferred_failed_or_not(
        self, airflow: Airflow, local_server: LocalServer
    ) -> None:
        links = told(airflow.python(LINKED, str(ROOT / "tests" / "integration" / "dags")), "linked")
        page = f"{local_server.base_url}/#"
        assert {links[task] for task in ("fit", "segment", "explain", "wait")} == {f"{page}outlets-credit"}
        assert links["derived"].startswith(f"{page}model_outlets-derived-")
        assert links["failing"].startswith(f"{page}model_outlets-failing-")

    @pytest.mark.usefixtures("connection")
    def test_are_stored_before_a_task_defers(self, local_server: LocalServer) -> None:
        operator = ClearTraceFitOperator(
            task_id="fit", data=str(CREDIT), target="good_credit", model_id="linked", deferrable=True
        )
        running = context()
        with pytest.raises(TaskDeferred):
            operator.execute(running)
        assert running["ti"].xcom[ClearTraceModelLink.xcom_key] == f"{local_server.base_url}/#linked"


class TestAssetEvents:
    def test_of_a_model_carry_what_training_it_told(
        self, events: dict[str, list[tuple[str, dict[str, Any]]]], local_server: LocalServer
    ) -> None:
        ((uri, extra),) = events["fit"]
        assert uri == f"cleartrace://{local_server.base_url.removeprefix('http://')}/models/outlets-credit"
        assert (extra["model_id"], extra["job"], extra["target"]) == ("outlets-credit", "fit", "good_credit")
        assert extra["fingerprint"].startswith("sha256:")
        assert 0.6 < extra["metric_validation_auc"] <= 1
        assert all(isinstance(value, str | int | float) for value in extra.values())

    def test_of_an_alias_name_the_model_that_was_made(
        self, events: dict[str, list[tuple[str, dict[str, Any]]]]
    ) -> None:
        ((uri, extra),) = events["derived"]
        assert uri.endswith(f"/models/{extra['model_id']}")
        assert extra["model_id"].startswith("model_outlets-derived-")

    def test_of_an_alias_name_the_file_that_was_written(
        self, airflow: Airflow, events: dict[str, list[tuple[str, dict[str, Any]]]]
    ) -> None:
        ((uri, extra),) = events["explain"]
        assert uri == (airflow.output / "explanations.parquet").as_uri()
        assert extra["output_uri"] == str(airflow.output / "explanations.parquet")
        assert extra["rows"] == 1000

    def test_of_other_outlets_carry_the_figures_as_well(
        self, events: dict[str, list[tuple[str, dict[str, Any]]]]
    ) -> None:
        ((uri, extra),) = events["segment"]
        assert uri == "x-reports://segments"
        assert (extra["job"], extra["rows"]) == ("segment", 1000)
        assert extra["n_clusters"] >= 4
        assert 0 <= extra["quality"] <= 1

    def test_there_is_none_of_a_task_that_failed(
        self, events: dict[str, list[tuple[str, dict[str, Any]]]]
    ) -> None:
        assert set(events) == {"fit", "derived", "explain", "segment"}


@pytest.fixture(scope="module")
def lineage(airflow: Airflow) -> dict[tuple[str, str], dict[str, Any]]:
    """The last OpenLineage event of each task and type."""
    pytest.importorskip("openlineage", reason="the extra openlineage is not installed")
    lines = (airflow.home / "lineage.jsonl").read_text().splitlines()
    emitted = [json.loads(line) for line in lines]
    return {(event["job"]["name"].partition(".")[2], event["eventType"]): event for event in emitted}


def datasets(event: dict[str, Any], side: str) -> list[tuple[str, str]]:
    return [(dataset["namespace"], dataset["name"]) for dataset in event.get(side, [])]


class TestLineage:
    def test_of_a_training_is_the_same_deferred_or_not(
        self, lineage: dict[tuple[str, str], dict[str, Any]], local_server: LocalServer
    ) -> None:
        deferred, blocking = lineage["fit", "COMPLETE"], lineage["derived", "COMPLETE"]
        assert datasets(deferred, "inputs") == datasets(blocking, "inputs") == [("file", str(CREDIT))]
        (made,), (derived,) = datasets(deferred, "outputs"), datasets(blocking, "outputs")
        assert made == (
            f"cleartrace://{local_server.base_url.removeprefix('http://')}",
            "models/outlets-credit",
        )
        assert derived[0] == made[0]
        assert derived[1].startswith("models/model_outlets-derived-")
        facets = [event["run"]["facets"]["cleartrace_model"] for event in (deferred, blocking)]
        assert [f"models/{facet.pop('modelId')}" for facet in facets] == [made[1], derived[1]]
        assert facets[0] == facets[1]
        assert facets[0]["metrics"]["validation_auc"] > 0.6

    def test_of_a_failed_training_names_the_model_that_it_was_to_make(
        self, airflow: Airflow, lineage: dict[tuple[str, str], dict[str, Any]]
    ) -> None:
        failed = lineage["failing", "FAIL"]
        assert datasets(failed, "inputs") == [("file", str(airflow.output / "failing.csv"))]
        ((_, name),) = datasets(failed, "outputs")
        assert name == f"models/{failed['run']['facets']['cleartrace_model']['modelId']}"

    def test_leads_from_the_model_and_the_data_to_the_files_written(
        self, airflow: Airflow, lineage: dict[tuple[str, str], dict[str, Any]]
    ) -> None:
        model = datasets(lineage["fit", "COMPLETE"], "outputs")
        assert datasets(lineage["segment", "COMPLETE"], "inputs") == model
        assert datasets(lineage["explain", "COMPLETE"], "inputs") == [*model, ("file", str(CREDIT))]
        for task, name in (("segment", "segments.json"), ("explain", "explanations.parquet")):
            assert datasets(lineage[task, "START"], "outputs") == [("file", str(airflow.output / name))]
            assert datasets(lineage[task, "COMPLETE"], "outputs") == [("file", str(airflow.output / name))]

    def test_has_facets_of_the_schema_that_the_package_ships(
        self, lineage: dict[tuple[str, str], dict[str, Any]]
    ) -> None:
        schema = json.loads(
            files("airflow_provider_cleartrace.lineage").joinpath("model_run_facet.json").read_text()
        )
        facets = [event["run"]["facets"].get("cleartrace_model") for event in lineage.values()]
        told = [facet for facet in facets if facet is not None]
        assert len(told) >= 10
        for facet in told:
            jsonschema.validate(facet, schema)
            assert facet["_schemaURL"] == schema["$id"]
