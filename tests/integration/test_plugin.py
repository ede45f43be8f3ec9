"""The pages of the ClearTrace tab, under Airflow's authentication: what they show, and what they refuse."""

from __future__ import annotations

import datetime as dt
import hashlib
import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from airflow_provider_cleartrace.plugin.tabs import HAS_TABS, PREFIX, TABS, ClearTracePlugin
from tests.unit.reports.html_reader import Page

pytestmark = pytest.mark.skipif(not HAS_TABS, reason="Airflow's UI takes tabs from 3.1 on")

DAG, OTHER_DAG, RUN = "loans", "secret", "manual__2026-11-01T00:00:00+00:00"
MODEL = "loans-fit-0123456789ab"
REPORT = b"<!doctype html><title>Loans</title><script>alert(1)</script><p>a report</p>"
BUCKET = "reports"
ROOT = "/airflow"


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Airflow's tables in a file of their own."""
    from airflow import settings
    from airflow.models import import_all_models
    from airflow.models.base import Base
    from sqlalchemy import event

    file = tmp_path_factory.mktemp("database") / "airflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__API_AUTH__JWT_SECRET", "of-the-test-" * 6)
        patch.setattr(settings, "SQL_ALCHEMY_CONN", f"sqlite:///{file}")
        patch.setattr(settings, "SQL_ALCHEMY_CONN_ASYNC", f"sqlite+aiosqlite:///{file}")
        settings.dispose_orm()
        settings.configure_orm()
        import_all_models()
        Base.metadata.create_all(settings.engine)
        # The rows stand alone: without the versions and files of a DAG that task instances refer to.
        event.listen(settings.engine, "connect", lambda raw, _: raw.execute("PRAGMA foreign_keys=OFF"))
        settings.engine.dispose()
        yield
        settings.dispose_orm()
    settings.configure_orm()


class Airflow:
    """An API server that holds nothing but the plugin, and the rows that runs would have left."""

    def __init__(self, folder: Path) -> None:
        from airflow.api_fastapi.app import create_auth_manager
        from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
        from fastapi import FastAPI
        from fastapi.testclient import TestClient

        self.folder = folder
        self.manager = create_auth_manager()
        (mounted,) = ClearTracePlugin().fastapi_apps
        server = FastAPI()
        server.mount(mounted["url_prefix"], mounted["app"])
        self.client = TestClient(server, raise_server_exceptions=False, root_path=ROOT)
        self.token = self.manager.generate_jwt(SimpleAuthManagerUser(username="ann", role="viewer"))
        self._ids = itertools.count()

    def get(self, path: str = "", *, dag_id: str = DAG, run_id: str = RUN, token: str | None = "") -> Any:
        token = self.token if token == "" else token
        self.client.cookies.clear()
        if token:
            self.client.cookies.set("_token", token)
        return self.client.get(f"{ROOT}{PREFIX}/dags/{dag_id}/runs/{run_id}{path}")

    def page(self, path: str = "", **named: Any) -> Page:
        answer = self.get(path, **named)
        assert answer.status_code == 200, answer.text
        return Page(answer.content)

    def run(self, dag_id: str = DAG, run_id: str = RUN, days: int = 0) -> None:
        """A run of the DAG, some days after the first."""
        from airflow.models.dagrun import DagRun
        from airflow.utils.session import create_session
        from airflow.utils.state import DagRunState
        from airflow.utils.types import DagRunTriggeredByType, DagRunType

        when = dt.datetime(2026, 11, 1, tzinfo=dt.UTC) + dt.timedelta(days=days)
        with create_session() as session:
            session.add(
                DagRun(
                    dag_id=dag_id,
                    run_id=run_id,
                    run_after=when,
                    run_type=DagRunType.MANUAL,
                    state=DagRunState.SUCCESS,
                    triggered_by=DagRunTriggeredByType.TEST,
                )
            )

    def returned(
        self,
        value: Any,
        task_id: str = "report",
        *,
        dag_id: str = DAG,
        run_id: str = RUN,
        map_index: int = -1,
    ) -> None:
        """What a task of the run returned, as the worker stores it."""
        from airflow.models.dagrun import DagRun
        from airflow.models.xcom import XComModel
        from airflow.utils.session import create_session
        from sqlalchemy import select

        with create_session() as session:
            key = session.scalar(select(DagRun.id).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id))
            session.add(
                XComModel(
                    dag_run_id=key,
                    dag_id=dag_id,
                    run_id=run_id,
                    task_id=task_id,
                    map_index=map_index,
                    key="return_value",
                    value=json.dumps(value),
                    timestamp=dt.datetime(2026, 11, 1, 12, tzinfo=dt.UTC)
                    + dt.timedelta(seconds=next(self._ids)),
                )
            )

    def write(self, name: str = "report.html", content: bytes = REPORT) -> Path:
        file = self.folder / name
        file.write_bytes(content)
        return file


@pytest.fixture
def airflow(database: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Airflow]:
    from airflow.api_fastapi.app import purge_cached_app
    from airflow.models.dagrun import DagRun
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import delete

    monkeypatch.setenv("AIRFLOW__CORE__AUTH_MANAGER", "tests.integration.one_dag.OneDag")
    made = Airflow(tmp_path)
    made.run()
    yield made
    purge_cached_app()
    with create_session() as session:
        session.execute(delete(XComModel))
        session.execute(delete(DagRun))


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A folder on S3 with the report in it."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    client = boto3.client("s3")
    client.create_bucket(Bucket=BUCKET)
    client.put_object(Bucket=BUCKET, Key="a/report.html", Body=REPORT)
    yield f"s3://{BUCKET}/a"
    server.stop()


def manifest(output_uri: object = None, content: bytes = REPORT, **more: Any) -> dict[str, Any]:
    """What a Report task returns."""
    return {
        "schema_version": 1,
        "model_id": MODEL,
        "title": "Loans <of> November",
        "sections": ["summary"],
        "output_uri": str(output_uri),
        "sha256": hashlib.sha256(content).hexdigest(),
        **more,
    }


def drivers(*features: str, model_id: str = MODEL) -> dict[str, Any]:
    """What an Interpret task returns."""
    shares = [round(0.5 / place, 3) for place in range(1, len(features) + 1)]
    return {"schema_version": 1, "model_id": model_id, "top_features": list(features), "top_shares": shares}


def training(auc: float, **more: Any) -> dict[str, Any]:
    """What a Fit task returns."""
    told = {"schema_version": 1, "model_id": MODEL, "target": "good", "n_features": 20, "metric_auc": auc}
    return told | more


def frames(page: Page) -> list[str]:
    return [frame.attributes["src"] for frame in page.all("iframe")]


REPORT_PATH = "/tasks/report/-1/report"


class TestTheReport:
    def test_a_task_s_tab_frames_the_file_that_the_task_wrote(self, airflow: Airflow) -> None:
        airflow.returned(manifest(airflow.write()))

        page = airflow.page("/tasks/report/-1")
        (frame,) = page.all("iframe")
        assert frame.attributes["sandbox"] == ""
        assert frame.attributes["title"] == "Loans <of> November"
        root = f"{ROOT}{PREFIX}/dags/{DAG}/runs/manual__2026-11-01T00%3A00%3A00%2B00%3A00"
        assert frame.attributes["src"] == f"{root}{REPORT_PATH}"
        answer = airflow.get(REPORT_PATH)
        assert answer.status_code == 200
        assert answer.content == REPORT
        assert answer.headers["content-type"] == "text/html; charset=utf-8"

    def test_airflow_s_placeholder_for_a_task_that_is_not_mapped_is_understood(
        self, airflow: Airflow
    ) -> None:
        airflow.returned(manifest(airflow.write()))
        assert len(frames(airflow.page("/tasks/report/{MAP_INDEX}"))) == 1

    def test_a_mapped_task_has_its_own(self, airflow: Airflow) -> None:
        for index, content in enumerate((b"<p>first", b"<p>second")):
            airflow.returned(manifest(airflow.write(f"{index}.html", content), content), map_index=index)
        assert airflow.get("/tasks/report/1/report").content == b"<p>second"
        assert airflow.get("/tasks/report/2/report").status_code == 404

    def test_a_run_s_tab_shows_the_newest_and_links_to_all(self, airflow: Airflow) -> None:
        for task in ("weekly", "daily"):
            airflow.returned(manifest(airflow.write(), title=f"the {task} one"), task)
        page = airflow.page()
        assert [src.split("/tasks/")[1] for src in frames(page)] == ["daily/-1/report"]
        assert [(link.text, "aria-current" in link.attributes) for link in page.all("a")][:2] == [
            ("the weekly one", False),
            ("the daily one", True),
        ]

    def test_nothing_in_it_runs_or_reaches_out(self, airflow: Airflow) -> None:
        airflow.returned(manifest(airflow.write()))
        policy = airflow.get(REPORT_PATH).headers["content-security-policy"].split("; ")
        assert {"sandbox", "default-src 'none'", "frame-ancestors 'self'", "form-action 'none'"} <= set(
            policy
        )
        assert not [rule for rule in policy if "script" in rule or "allow-" in rule]

    def test_on_s3_is_read_with_the_server_s_own_credentials(self, airflow: Airflow, s3: str) -> None:
        airflow.returned(manifest(f"{s3}/report.html"))
        airflow.returned(manifest(f"{s3}/none.html"), "gone")
        assert airflow.get(REPORT_PATH).content == REPORT
        assert airflow.get("/tasks/gone/-1/report").status_code == 404

    def test_on_s3_is_read_through_the_connection_that_is_configured(
        self, airflow: Airflow, s3: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pytest.importorskip("airflow.providers.amazon")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
            monkeypatch.delenv(name)
        monkeypatch.setenv("AIRFLOW__CLEARTRACE__REPORTS_AWS_CONN_ID", "aws_reports")
        monkeypatch.setenv("AIRFLOW_CONN_AWS_REPORTS", "aws://id:secret@/?region_name=us-east-1")
        airflow.returned(manifest(f"{s3}/report.html"))
        assert airflow.get(REPORT_PATH).content == REPORT


PAGES = ["", "/models", "/history", "/tasks/report/-1", REPORT_PATH]


class TestWhoMayRead:
    @pytest.mark.parametrize("path", PAGES)
    def test_nobody_without_signing_in(self, airflow: Airflow, path: str) -> None:
        airflow.returned(manifest(airflow.write()))
        answer = airflow.get(path, token=None)
        assert answer.status_code == 401
        assert "Sign in to Airflow" in answer.text
        assert MODEL not in answer.text

    @pytest.mark.parametrize("path", PAGES)
    def test_nobody_without_a_right_to_the_xcoms_of_the_dag(self, airflow: Airflow, path: str) -> None:
        airflow.run(OTHER_DAG)
        airflow.returned(manifest(airflow.write()), dag_id=OTHER_DAG)
        answer = airflow.get(path, dag_id=OTHER_DAG)
        assert answer.status_code == 403
        assert MODEL not in answer.text

    @pytest.mark.parametrize("path", PAGES)
    def test_the_right_to_one_dag_opens_no_other_through_the_query(self, airflow: Airflow, path: str) -> None:
        airflow.run(OTHER_DAG)
        airflow.returned(manifest(airflow.write()), dag_id=OTHER_DAG)
        assert airflow.get(f"{path}?dag_id={DAG}", dag_id=OTHER_DAG).status_code == 403
        assert airflow.get(path, dag_id="~").status_code == 403

    def test_a_token_of_somebody_else_s_making_is_refused(self, airflow: Airflow) -> None:
        header, claims, _ = airflow.token.split(".")
        assert airflow.get(token=f"{header}.{claims}.AAAA").status_code in {401, 403}

    def test_a_token_in_the_header_counts_as_well(self, airflow: Airflow) -> None:
        airflow.client.cookies.clear()
        bearer = {"Authorization": f"Bearer {airflow.token}"}
        address = f"{ROOT}{PREFIX}/dags/{DAG}/runs/{RUN}"
        assert airflow.client.get(address, headers=bearer).status_code == 200
        assert airflow.client.post(address, headers=bearer).status_code == 405


class TestWhatIsNotRead:
    @pytest.mark.parametrize(
        "path",
        [
            "/tasks/none/-1/report",
            "/tasks/report/7/report",
            "/tasks/report/x/report",
            "/tasks/..%2F..%2Fetc%2Fpasswd/-1/report",
            "/tasks/%2e%2e/-1/report",
            "/tasks/report/-1/../../../../../../etc/passwd",
            "/../../../../etc/passwd",
            "/tasks/report/-1/report/etc/passwd",
            "/nothing",
        ],
    )
    def test_an_address_that_names_no_task_of_the_run(self, airflow: Airflow, path: str) -> None:
        airflow.returned(manifest(airflow.write()))
        answer = airflow.get(path)
        assert answer.status_code == 404
        assert b"a report" not in answer.content

    @pytest.mark.parametrize("run_id", ["none", "..", "%2e%2e", "..%2F..%2Fsecret"])
    def test_a_run_that_does_not_exist(self, airflow: Airflow, run_id: str) -> None:
        assert airflow.get("/models", run_id=run_id).status_code == 404

    @pytest.mark.parametrize(
        "place",
        ["/etc/passwd", "file:///etc/passwd", "{folder}/../{name}/notes.txt", "https://x.invalid/r.html"],
    )
    def test_a_manifest_that_names_something_else(self, airflow: Airflow, place: str) -> None:
        notes = airflow.write("notes.txt")
        content = notes.read_bytes() if "notes" in place else REPORT
        airflow.returned(manifest(place.format(folder=airflow.folder, name=airflow.folder.name), content))
        answer = airflow.get(REPORT_PATH)
        assert answer.status_code == 404
        assert b"a report" not in answer.content

    def test_a_file_that_the_checksum_is_not_of(self, airflow: Airflow) -> None:
        airflow.returned(manifest(airflow.write(content=b"<p>somebody else's"), REPORT))
        answer = airflow.get(REPORT_PATH)
        assert answer.status_code == 404
        assert "somebody else" not in answer.text
        assert "was written anew" in answer.text

    def test_a_page_that_leads_to_another_file(self, airflow: Airflow) -> None:
        (airflow.folder / "passwd.html").symlink_to("/etc/passwd")
        airflow.returned(manifest(airflow.folder / "passwd.html"))
        answer = airflow.get(REPORT_PATH)
        assert answer.status_code == 404
        assert "root:" not in answer.text

    def test_a_missing_file_a_folder_and_a_pipe_are_told_alike(self, airflow: Airflow) -> None:
        (airflow.folder / "folder.html").mkdir()
        os.mkfifo(airflow.folder / "pipe.html")
        texts = set()
        for place in ("none.html", "folder.html", "pipe.html"):
            airflow.returned(manifest(airflow.folder / place), place.removesuffix(".html"))
            answer = airflow.get(f"/tasks/{place.removesuffix('.html')}/-1/report")
            assert answer.status_code == 404
            texts.add(answer.text)
        assert len(texts) == 1

    def test_a_file_that_would_fill_the_memory(
        self, airflow: Airflow, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        from airflow_provider_cleartrace.plugin import files

        monkeypatch.setattr(files, "MAX_BYTES", len(REPORT) - 1)
        airflow.returned(manifest(airflow.write()))
        assert airflow.get(REPORT_PATH).status_code == 404
        assert "larger than" in caplog.text

    @pytest.mark.parametrize(
        "value",
        [
            None,
            "text",
            [1, 2],
            {"output_uri": "report.html"},
            manifest("r.html", schema_version=2),
            manifest("r.html", model_id=None),
            manifest("r.html", sha256="abc"),
            manifest("r.html", sections="all"),
        ],
    )
    def test_a_return_value_that_is_no_report_s(self, airflow: Airflow, value: Any) -> None:
        airflow.returned(value)
        assert frames(airflow.page()) == []
        assert airflow.get(REPORT_PATH).status_code == 404

    def test_a_return_value_larger_than_any_manifest(self, airflow: Airflow) -> None:
        airflow.returned(manifest(airflow.write(), padding="x" * 200_000))
        assert frames(airflow.page()) == []


class TestOurPages:
    @pytest.mark.parametrize("path", ["", "/models", "/history", "/tasks/report/-1", "/tasks/none/0/report"])
    def test_allow_one_style_sheet_and_a_frame(self, airflow: Airflow, path: str) -> None:
        airflow.returned(manifest(airflow.write()))
        answer = airflow.get(path)
        policy = answer.headers["content-security-policy"]
        assert re.fullmatch(
            r"default-src 'none'; frame-src 'self'; base-uri 'none'; form-action 'none'; "
            r"frame-ancestors 'self'; style-src 'sha256-[\w+/=]+'",
            policy,
        )
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        page = Page(answer.content)
        assert not page.all("script", "link", "form")
        assert not [each for each in page.elements if "style" in each.attributes]

    def test_say_of_a_failure_only_that(self, airflow: Airflow, monkeypatch: pytest.MonkeyPatch) -> None:
        from airflow_provider_cleartrace.plugin import lookup

        monkeypatch.setattr(lookup, "find_run", lambda *_: 1 / 0)
        answer = airflow.get()
        assert answer.status_code == 500
        assert "division" not in answer.text
        assert "default-src 'none'" in answer.headers["content-security-policy"]

    def test_show_hostile_names_as_text(self, airflow: Airflow) -> None:
        evil = "\"><script>alert(1)</script><img src=x onerror='alert(1)'>"
        airflow.returned(drivers(evil, model_id=evil), "interpret")
        airflow.returned(training(0.9, model_id=evil, target=evil) | {f"metric_{evil}": evil}, "fit")
        airflow.returned(manifest(airflow.write(), title=evil))
        for path in ("", "/models", "/history"):
            page = airflow.page(path)
            assert not page.all("script", "img")
            assert any(evil in each.text for each in page.elements)

    def test_show_half_a_character_as_a_question_mark(self, airflow: Airflow) -> None:
        airflow.returned(drivers("a\ud800b"), "interpret")
        assert "a?b" in airflow.get("/models").text

    def test_a_model_s_figures_drivers_and_tasks_stand_together(self, airflow: Airflow) -> None:
        airflow.returned(training(0.91234, fidelity=0.5), "fit")
        airflow.returned(drivers("age", "amount"), "interpret")
        airflow.returned({"schema_version": 1, "model_id": "another"}, "predict")
        page = airflow.page("/models")
        first, second = page.all("article")
        assert [each.text for each in page.all("dt", "dd")] == [
            *("Target", "good", "Features", "20", "Fidelity", "0.5", "auc", "0.9123"),
        ]
        assert "age" in first.text
        assert "50.0%" in first.text
        assert "another" in second.text
        own = airflow.page("/tasks/predict/-1").all("article")[0].text
        assert "another" in own
        assert "(this task)" in own

    def test_a_run_without_results_says_so(self, airflow: Airflow) -> None:
        assert "No task of this run has handed on" in airflow.page().all("main")[0].text


class TestTheHistory:
    def test_ranks_stand_beside_those_of_the_runs_before(self, airflow: Airflow) -> None:
        airflow.run(run_id="second", days=1)
        airflow.run(run_id="third", days=2)
        airflow.returned(drivers("age", "amount"), "interpret")
        airflow.returned(drivers("amount", "age", "city"), "interpret", run_id="second")
        airflow.returned(drivers("amount", "city"), "interpret", run_id="third")

        page = airflow.page("/history", run_id="second")
        dates = [link.text for link in page.all("a") if link.text.startswith("2026")]
        assert dates == ["2026-11-0200:00", "2026-11-0100:00"]
        rows = {row.text.split()[0]: row.text.split()[1:] for row in page.all("tr")[1:]}
        assert rows == {
            "amount": ["1", "(50.0%)", "2", "(25.0%)"],
            "age": ["2", "(25.0%)", "1", "(50.0%)"],
            "city": ["3", "(16.7%)", "-"],
        }
        moved = [each.text for each in page.all("td") if "moved" in each.attributes["class"].split()]
        assert moved == ["1 (50.0%)", "2 (25.0%)"]

    def test_metrics_too(self, airflow: Airflow) -> None:
        airflow.run(run_id="second", days=1)
        airflow.returned(training(0.8), "fit")
        airflow.returned(training(0.9), "fit", run_id="second")
        page = airflow.page("/history", run_id="second")
        assert ["auc", "0.9", "0.8"] in [row.text.split() for row in page.all("tr")]

    def test_only_this_dag_s(self, airflow: Airflow) -> None:
        airflow.run(OTHER_DAG)
        airflow.returned(drivers("hidden"), dag_id=OTHER_DAG)
        airflow.returned(drivers("age"))
        assert "hidden" not in airflow.get("/history").text


def test_the_tabs_lead_to_pages_of_the_plugin(airflow: Airflow) -> None:
    airflow.returned(manifest(airflow.write()))
    filled = {"{DAG_ID}": DAG, "{RUN_ID}": RUN, "{TASK_ID}": "report", "{MAP_INDEX}": "-1"}
    assert {tab["destination"] for tab in TABS} == {"dag_run", "task_instance"}
    assert len({tab["url_route"] for tab in TABS}) == len(TABS)
    airflow.client.cookies.set("_token", airflow.token)
    for tab in TABS:
        href = tab["href"]
        for name, value in filled.items():
            href = href.replace(name, value)
        assert airflow.client.get(f"{ROOT}/{href}").status_code == 200


def test_the_extra_for_reports_is_not_needed_to_show_them() -> None:
    program = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from airflow_provider_cleartrace.plugin.tabs import ClearTracePlugin\n"
        "assert ClearTracePlugin().fastapi_apps\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
