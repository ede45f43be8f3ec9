"""The report of a real run: what its tasks wrote becomes a page, a text and a JSON of the same numbers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pandas as pd
import pytest
from moto.server import ThreadedMotoServer

from airflow_provider_cleartrace.client import ClearTrace
from airflow_provider_cleartrace.links.report import ClearTraceReportLink
from airflow_provider_cleartrace.links.tab import HAS_TABS, tab_of
from airflow_provider_cleartrace.operators import report as report_module
from airflow_provider_cleartrace.operators.analysis import (
    ClearTraceNarrativeOperator,
    ClearTraceSegmentOperator,
)
from airflow_provider_cleartrace.operators.calibrated import ClearTraceCalibratedExplainOperator
from airflow_provider_cleartrace.operators.compare import ClearTraceCompareOperator
from airflow_provider_cleartrace.operators.inference import (
    ClearTraceExplainOperator,
    ClearTraceInterpretOperator,
    ClearTracePredictOperator,
    ClearTraceScenarioOperator,
)
from airflow_provider_cleartrace.operators.report import ClearTraceReportOperator, _address
from airflow_provider_cleartrace.reports.errors import ReportError
from airflow_provider_cleartrace.storage.errors import StorageError
from airflow_provider_cleartrace.storage.locations import locate
from tests.integration.airflow_tasks import context
from tests.integration.local_server import LocalServer
from tests.unit.reports.html_reader import Page

CREDIT = Path(__file__).parents[2] / "example_dags" / "data" / "german_credit.csv"
TARGET = "good_credit"
MODEL = "report-credit"
REASONS = [
    {"feature": "duration_in_month", "direction": "high", "code": "R01", "text": "The term is long"},
    {"feature": "purpose", "direction": "any", "code": "R02", "text": "Purpose of the loan"},
]

pytestmark = pytest.mark.usefixtures("connection")


@pytest.fixture(scope="module")
def run_folder(local_server: LocalServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the tasks of a run left behind: their files, and nothing that the tests made up."""
    folder = tmp_path_factory.mktemp("run")
    rows = pd.read_csv(CREDIT).rename_axis("application")
    rows.insert(0, "branch", "north")
    rows.to_csv(folder / "rows.csv")
    rows[:150].to_csv(folder / "calibration.csv")
    rows[150:160].to_csv(folder / "few.csv")
    with (
        pytest.MonkeyPatch.context() as patch,
        ClearTrace(local_server.base_url, local_server.api_key, poll_interval=0.05) as client,
    ):
        connection = {
            "conn_type": "cleartrace",
            "host": local_server.base_url,
            "password": local_server.api_key,
        }
        patch.setenv(
            "AIRFLOW_CONN_CLEARTRACE_DEFAULT", json.dumps(connection | {"extra": {"poll_interval": 0.1}})
        )
        training = rows.reset_index(drop=True).drop(columns="branch")
        client.fit(training, target=TARGET, model_id=MODEL, mode="fast", n_hyperopt_steps=1)
        many: dict[str, Any] = {
            "model_id": MODEL,
            "data": f"{folder}/rows.csv",
            "id_columns": ["branch", "application"],
        }
        few = many | {"data": f"{folder}/few.csv"}
        segment = ClearTraceSegmentOperator(
            task_id="segment",
            model_id=MODEL,
            data=many["data"],
            target=TARGET,
            min_clusters=2,
            max_clusters=3,
            n_search_steps=2,
            output_uri=f"{folder}/segments.json",
        )
        narrative = ClearTraceNarrativeOperator(
            task_id="narrative",
            model_id=MODEL,
            data=many["data"],
            kpi_name="Good credit",
            output_uri=f"{folder}/narrative.md",
        )
        predict = ClearTracePredictOperator(task_id="predict", output_uri=f"{folder}/predictions.csv", **many)
        explain = ClearTraceExplainOperator(
            task_id="explain",
            output_uri=f"{folder}/explanations.parquet",
            raw_gradient=False,
            reasons=REASONS,
            top_k=2,
            **many,
        )
        long = ClearTraceExplainOperator(
            task_id="long",
            output_uri=f"{folder}/long/",
            raw_gradient=False,
            layout="long",
            part_rows=400,
            **many,
        )
        scenario = ClearTraceScenarioOperator(
            task_id="scenario", output_uri=f"{folder}/scenarios.jsonl", n_walks=50, **few
        )
        interpret = ClearTraceInterpretOperator(
            task_id="interpret", model_id=MODEL, output_uri=f"{folder}/drivers.csv"
        )
        calibrated = ClearTraceCalibratedExplainOperator(
            task_id="calibrated",
            calibration_data=f"{folder}/calibration.csv",
            target=TARGET,
            output_uri=f"{folder}/calibrated/",
            **few,
        )
        for task in (segment, narrative, predict, explain, long, scenario, interpret, calibrated):
            task.execute(context(task.task_id))
    return folder


def arguments(folder: Path, output: Path, **more: Any) -> dict[str, Any]:
    given = {
        "task_id": "report",
        "model_id": MODEL,
        "output_uri": str(output / "report.html"),
        "data": f"{folder}/rows.csv",
        "predictions": f"{folder}/predictions.csv",
        "explanations": f"{folder}/explanations.parquet",
        "drivers": f"{folder}/drivers.csv",
        "scenarios": f"{folder}/scenarios.jsonl",
        "segments": f"{folder}/segments.json",
        "narrative": f"{folder}/narrative.md",
        "calibrated": f"{folder}/calibrated/",
        "audience": "business",
    }
    return given | more


def report(folder: Path, output: Path, **more: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the task returns, and the JSON that it wrote."""
    told = ClearTraceReportOperator(**arguments(folder, output, **more)).execute(context("report"))
    return told, json.loads(Path(told["json_uri"]).read_text())


def test_a_run_s_report_has_every_section_and_the_files_numbers(run_folder: Path, tmp_path: Path) -> None:
    told, facts = report(run_folder, tmp_path)

    page = Page((tmp_path / "report.html").read_bytes())
    sections = [each.attributes["id"] for each in page.all("section")]
    assert sections == told["sections"]
    assert len(sections) == 12
    predictions = pd.read_csv(run_folder / "predictions.csv")["prediction"]
    assert facts["predictions"]["mean"] == pytest.approx(predictions.mean(), rel=1e-12)
    assert told["mean_prediction"] == facts["predictions"]["mean"]
    assert facts["predictions"]["below"] == (predictions < 0.5).sum()
    shares = pd.read_csv(run_folder / "drivers.csv")
    assert [each["feature"] for each in facts["drivers"]["listed"]] == shares["feature"].tolist()
    rows = pd.read_csv(CREDIT)
    for row in facts["rows"]:
        assert row["drivers"]
        branch, _, application = row["identity"].partition(" / ")
        assert branch == "north"
        for driver in row["drivers"]:
            assert driver["value"] == str(rows[driver["feature"]][int(application)])
    codes = pd.read_parquet(run_folder / "explanations.parquet", columns=["reason_1_code", "reason_2_code"])
    counted = {each["code"]: each["rows"] for each in facts["reasons"]["listed"]}
    assert counted == {code: (codes == code).any(axis=1).sum() for code in ("R01", "R02")}
    assert facts["scenarios"]["rows"] == facts["calibrated"]["rows"] == 10
    assert facts["model"]["task"] == "binary"
    assert facts["model"]["metrics"]
    assert facts["run"] == {"dag_id": "dag", "task_id": "report", "run_id": "run"}


def test_the_long_layout_in_parts_gives_the_same_rows(run_folder: Path, tmp_path: Path) -> None:
    _, wide = report(run_folder, tmp_path / "wide")
    _, long = report(run_folder, tmp_path / "long", explanations=f"{run_folder}/long/")

    bare = [row | {"reasons": []} for row in wide["rows"]]
    for row, other in zip(bare, long["rows"], strict=True):
        assert row.keys() == other.keys()
        assert row["identity"] == other["identity"]
        assert [each["feature"] for each in row["drivers"]] == [each["feature"] for each in other["drivers"]]


def test_the_model_alone_has_a_report_of_its_own(tmp_path: Path, run_folder: Path) -> None:
    told = ClearTraceReportOperator(
        task_id="report", model_id=MODEL, output_uri=str(tmp_path / "model.html")
    ).execute(context("report"))
    assert told["sections"] == ["summary", "drivers", "caveats", "model", "terms"]


def test_the_next_run_s_report_tells_what_changed(run_folder: Path, tmp_path: Path) -> None:
    first, _ = report(run_folder, tmp_path / "2026-11-20", previous=str(tmp_path))
    assert "compared_with" not in first
    fewer = tmp_path / "fewer.csv"
    pd.read_csv(run_folder / "predictions.csv")[:500].to_csv(fewer, index=False)
    second, facts = report(
        run_folder, tmp_path / "2026-11-21", previous=str(tmp_path), predictions=str(fewer)
    )

    assert "changes" in second["sections"]
    moved = {each["name"]: (each["before"], each["after"]) for each in facts["changes"]["figures"]}
    assert moved["predictions.rows"] == (1000, 500)


def test_what_a_comparison_found_is_a_section_of_the_report(run_folder: Path, tmp_path: Path) -> None:
    rows = pd.read_parquet(run_folder / "explanations.parquet")
    rows[:400].to_parquet(tmp_path / "then.parquet")
    rows[400:].to_parquet(tmp_path / "now.parquet")
    found = ClearTraceCompareOperator(
        task_id="compare",
        reference=f"{tmp_path}/then.parquet",
        current=f"{tmp_path}/now.parquet",
        reference_model_id=MODEL,
        current_model_id=MODEL,
        reference_calibrated=f"{run_folder}/calibrated/rules.parquet",
        current_calibrated=f"{run_folder}/calibrated/rules.parquet",
        thresholds={"psi": 0, "driver_shift": 1},
        output_uri=f"{tmp_path}/drift.json",
    ).execute(context("compare"))
    told, facts = report(run_folder, tmp_path, comparison=found["output_uri"])

    assert told["verdict"] == found["verdict"] == "drift"
    assert "comparison" in told["sections"]
    assert facts["comparison"] == json.loads((tmp_path / "drift.json").read_text())
    shown = {
        float(each.attributes["value"]) for each in Page((tmp_path / "report.html").read_bytes()).all("data")
    }
    assert set(facts["comparison"]["figures"].values()) <= shown
    assert {found["psi_by_chance"], *found["share_differences"][:5]} <= shown
    assert "PSI" in (tmp_path / "report.md").read_text()


def test_another_file_is_no_comparison(run_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"segments\.json: not the JSON of a comparison"):
        report(run_folder, tmp_path, comparison=f"{run_folder}/segments.json")
    assert not list(tmp_path.iterdir())


def test_the_button_leads_to_the_tab_of_a_mapped_task_and_before_airflow_3_1_to_the_file(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = context("report", run_id="manual__2026-11-21T10:00:00+00:00", map_index=3)
    assert tab_of(told["ti"]) == (
        "dags/dag/runs/manual__2026-11-21T10%3A00%3A00%2B00%3A00/tasks/report/mapped/3/plugin/cleartrace-task"
    )
    monkeypatch.setattr(report_module, "HAS_TABS", False)
    ClearTraceReportOperator(**arguments(run_folder, tmp_path)).execute(told)
    assert told["ti"].xcom[ClearTraceReportLink.xcom_key] == (tmp_path / "report.html").as_uri()


def test_the_button_leads_to_the_tab_or_where_the_page_is_served(run_folder: Path, tmp_path: Path) -> None:
    told = context("report")
    operator = ClearTraceReportOperator(**arguments(run_folder, tmp_path))
    operator.execute(told)
    page = (tmp_path / "report.html").as_uri()
    tab = "dags/dag/runs/run/tasks/report/plugin/cleartrace-task"
    assert told["ti"].xcom[ClearTraceReportLink.xcom_key] == (tab if HAS_TABS else page)

    served = ClearTraceReportOperator(**arguments(run_folder, tmp_path, page_url="https://intra/report"))
    served.execute(told)
    assert told["ti"].xcom[ClearTraceReportLink.xcom_key] == "https://intra/report"


def test_lineage_names_what_the_report_is_made_from(run_folder: Path, tmp_path: Path) -> None:
    operator = ClearTraceReportOperator(**arguments(run_folder, tmp_path))
    read = operator.read_uris()
    assert len(read) == 8  # the model and seven files
    assert any(uri.endswith("/segments.json") for uri in read)
    assert [uri.rpartition("/")[2] for uri in operator.made_uris()] == ["report.html"]


def test_formats_that_are_not_wanted_are_not_written(run_folder: Path, tmp_path: Path) -> None:
    told = ClearTraceReportOperator(**arguments(run_folder, tmp_path, formats=["md"])).execute(
        context("report")
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.md"]
    assert "output_uri" not in told


class TestOnS3:
    @pytest.fixture
    def s3(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        client = boto3.client("s3")
        client.create_bucket(Bucket="reports")
        yield client
        server.stop()

    def test_the_same_report_is_made_from_and_written_to_objects(
        self, run_folder: Path, tmp_path: Path, s3: Any
    ) -> None:
        for path in run_folder.rglob("*"):
            if path.is_file() and (path.suffix == ".json" or not path.name.startswith(".")):
                s3.upload_file(str(path), "reports", f"run/{path.relative_to(run_folder)}")
        remote = arguments(Path("s3://reports/run"), Path("s3://reports/out"))
        remote = {
            name: value.replace("s3:/r", "s3://r") if isinstance(value, str) else value
            for name, value in remote.items()
        }
        told = context("report")
        for _ in range(2):
            ClearTraceReportOperator(**remote, previous="s3://reports/out/report.json").execute(told)
        assert _address(locate("s3://reports/out/report.html")) == (
            "https://s3.console.aws.amazon.com/s3/object/reports?prefix=out/report.html"
        )
        written = s3.list_objects_v2(Bucket="reports", Prefix="out/")["Contents"]

        assert [each["Key"].rpartition("/")[2] for each in written] == [
            "report.html",
            "report.json",
            "report.md",
        ]
        remote_facts = json.loads(s3.get_object(Bucket="reports", Key="out/report.json")["Body"].read())
        _, local_facts = report(run_folder, tmp_path)
        same = (
            "predictions",
            "rows",
            "reasons",
            "drivers",
            "segments",
            "scenarios",
            "calibrated",
            "narrative",
        )
        assert {name: remote_facts[name] for name in same} == {name: local_facts[name] for name in same}
        assert remote_facts["changes"]["same_model"]


class TestRefused:
    def test_nothing_is_written_when_an_input_is_wrong(self, run_folder: Path, tmp_path: Path) -> None:
        before = report(run_folder, tmp_path)[1]
        with pytest.raises(ReportError):
            report(run_folder, tmp_path, segments=f"{run_folder}/calibrated/manifest.json")
        assert json.loads((tmp_path / "report.json").read_text()) == before
        assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.json", "report.md"]

    def test_another_extension(self, run_folder: Path, tmp_path: Path) -> None:
        with pytest.raises(StorageError, match=r"\.html is written here"):
            report(run_folder, tmp_path, output_uri=str(tmp_path / "report.pdf"))

    @pytest.mark.parametrize("wrong", [{"audience": "expert"}, {"formats": ["pdf"]}])
    def test_unknown_words(self, run_folder: Path, tmp_path: Path, wrong: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="must be one of"):
            ClearTraceReportOperator(**arguments(run_folder, tmp_path, **wrong))

    def test_no_formats(self, run_folder: Path, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="formats: none of 'html', 'md', 'json' is left"):
            ClearTraceReportOperator(**arguments(run_folder, tmp_path, formats=[]))

    @pytest.mark.parametrize(("parameter", "name"), [("narrative", "n.md"), ("comparison", "n.json")])
    def test_a_report_never_takes_the_place_of_what_it_is_made_from(
        self, run_folder: Path, tmp_path: Path, parameter: str, name: str
    ) -> None:
        (tmp_path / name).write_text("mine")
        given = {parameter: str(tmp_path / name), "output_uri": str(tmp_path / "n.html")}
        with pytest.raises(StorageError, match=f"{name}: the output would replace the data it is made from"):
            report(run_folder, tmp_path, **given)
        assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "mine")]

    def test_what_another_model_said(self, run_folder: Path, tmp_path: Path) -> None:
        manifest = json.loads((run_folder / ".predictions.csv.manifest.json").read_text())
        manifest["made_by"]["model_id"] = "somebody-else"
        (tmp_path / "p.csv").write_bytes((run_folder / "predictions.csv").read_bytes())
        (tmp_path / ".p.csv.manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(ReportError, match="made by the model 'somebody-else', and this is a report of"):
            report(run_folder, tmp_path, predictions=f"{tmp_path}/p.csv")
        shutil.copytree(run_folder / "calibrated", tmp_path / "calibrated")
        (tmp_path / "calibrated" / "_SUCCESS").write_text(json.dumps(manifest))
        with pytest.raises(ReportError, match="made by the model 'somebody-else', and this is a report of"):
            report(run_folder, tmp_path, calibrated=f"{tmp_path}/calibrated/")

    @pytest.mark.parametrize("parameter", ["segments", "comparison"])
    def test_a_file_that_is_not_there_is_told_as_such(
        self, run_folder: Path, tmp_path: Path, parameter: str
    ) -> None:
        with pytest.raises(StorageError, match=r"nowhere\.json: no such file"):
            report(run_folder, tmp_path, **{parameter: str(tmp_path / "nowhere.json")})


def test_one_row_may_be_asked_for_as_a_text(run_folder: Path, tmp_path: Path) -> None:
    _, facts = report(run_folder, tmp_path, rows="north / 7", formats=["json"])
    assert [row["identity"] for row in facts["rows"]] == ["north / 7"]
