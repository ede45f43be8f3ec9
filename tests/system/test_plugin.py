"""The ClearTrace tab on a whole Airflow: its API server mounts the pages, and serves a real run's report."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from airflow_provider_cleartrace.plugin.tabs import PREFIX
from example_dags.demo.stack import Stack
from tests.unit.reports.html_reader import Page

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

DAG_ID = "scored"
RUN_LIMIT = 240.0
DATA = Path(__file__).parents[2] / "example_dags" / "data" / "german_credit.csv"
DAG = f"""
from datetime import timedelta

from airflow.sdk import DAG, task

from airflow_provider_cleartrace.operators.inference import ClearTraceInterpretOperator
from airflow_provider_cleartrace.operators.report import ClearTraceReportOperator
from airflow_provider_cleartrace.operators.training import ClearTraceFitOperator

OUTPUT = "{{{{ var.value.cleartrace_output }}}}/{{{{ run_id }}}}"

with DAG("{DAG_ID}", default_args={{"retries": 2, "retry_delay": timedelta(seconds=1)}}):
    fit = ClearTraceFitOperator(
        task_id="fit", data="{DATA}", target="good_credit", config={{"mode": "fast"}}
    )
    model_id = fit.output["model_id"]
    interpret = ClearTraceInterpretOperator(task_id="interpret", model_id=model_id)
    report = ClearTraceReportOperator(
        task_id="report", model_id=model_id, output_uri=f"{{OUTPUT}}/report.html", data="{DATA}"
    )

    @task
    def plain():
        return {{"schema_version": 1, "no": "manifest"}}

    [interpret, plain()] >> report
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("plugin")
    dags = folder / "dags"
    dags.mkdir()
    (dags / f"{DAG_ID}.py").write_text(DAG, encoding="utf-8")
    with Stack(folder / "run", dags) as running:
        yield running


def finished(stack: Stack) -> str:
    """Run the DAG to its end."""
    stack.api.wait_for_dag(DAG_ID)
    run_id = stack.api.trigger(DAG_ID)
    deadline = time.monotonic() + RUN_LIMIT
    while (state := stack.api.run_state(DAG_ID, run_id)) not in {"success", "failed"}:
        stack.check()
        assert time.monotonic() < deadline, stack.api.task_instances(DAG_ID, run_id)
        time.sleep(0.5)
    assert state == "success", stack.api.task_instances(DAG_ID, run_id)
    return run_id


@pytest.fixture(scope="module")
def run_id(stack: Stack) -> str:
    return finished(stack)


class Browser:
    """What a browser sends that is signed in to Airflow: the cookie, and no other credential."""

    def __init__(self, stack: Stack, *, signed_in: bool = True) -> None:
        self._host = urlsplit(stack.url).netloc
        self._headers: dict[str, str] = {}
        if signed_in:
            login = json.dumps({"username": stack.user, "password": stack.password})
            _, told = self._send("POST", "/auth/token", login, {"Content-Type": "application/json"})
            self._headers = {"Cookie": f"_token={json.loads(told)['access_token']}"}

    def get(self, path: str) -> tuple[HTTPResponse, bytes]:
        return self._send("GET", path, None, self._headers)

    def _send(
        self, method: str, path: str, body: str | None, headers: dict[str, str]
    ) -> tuple[HTTPResponse, bytes]:
        connection = HTTPConnection(self._host, timeout=60)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer, answer.read()
        finally:
            connection.close()

    def page(self, path: str) -> Page:
        answer, content = self.get(path)
        assert answer.status == 200, content
        assert "default-src 'none'" in (answer.getheader("Content-Security-Policy") or "")
        return Page(content)


@pytest.fixture(scope="module")
def browser(stack: Stack) -> Browser:
    return Browser(stack)


def tabs(stack: Stack, **known: str) -> dict[str, str]:
    """The addresses of the tabs, with the placeholders filled as Airflow's UI does."""
    (plugin,) = (
        each for each in stack.api.request("GET", "/plugins")["plugins"] if each["name"] == "cleartrace"
    )
    made = {}
    for view in plugin["external_views"]:
        href = view["href"]
        for name, value in known.items():
            href = href.replace(f"{{{name}}}", quote(value, safe=""))
        made[view["destination"]] = f"/{href}"
    return made


def test_both_tabs_frame_the_report_that_the_run_wrote(stack: Stack, browser: Browser, run_id: str) -> None:
    assert stack.api.request("GET", "/plugins/importErrors")["import_errors"] == []
    # The UI leaves {MAP_INDEX} as it is where a task is not mapped.
    addresses = tabs(stack, DAG_ID=DAG_ID, RUN_ID=run_id, TASK_ID="report")
    assert addresses.keys() == {"dag_run", "task_instance"}
    frames = [frame for address in addresses.values() for frame in browser.page(address).all("iframe")]
    (source,) = {frame.attributes["src"] for frame in frames}

    answer, content = browser.get(source)
    assert answer.status == 200
    assert (answer.getheader("Content-Security-Policy") or "").startswith("sandbox; default-src 'none'")
    assert content == (stack.output / run_id / "report.html").read_bytes()


def test_models_and_history_tell_what_the_tasks_told(stack: Stack, browser: Browser, run_id: str) -> None:
    told = stack.api.return_value(DAG_ID, run_id, "interpret")
    pages = f"{PREFIX}/dags/{DAG_ID}/runs/{quote(run_id, safe='')}"
    (model,) = browser.page(f"{pages}/models").all("article")
    assert told["model_id"] in model.text
    assert told["top_features"][0] in model.text

    later = finished(stack)
    history = browser.page(f"{PREFIX}/dags/{DAG_ID}/runs/{quote(later, safe='')}/history")
    rows = {row.text.strip().split("\n")[0]: row.text.count("%") for row in history.all("tr")}
    assert rows[told["top_features"][0]] == 2


def test_without_signing_in_there_is_nothing(stack: Stack, run_id: str) -> None:
    stranger = Browser(stack, signed_in=False)
    for path in ("", "/models", "/history", "/tasks/report/-1", "/tasks/report/-1/report"):
        answer, content = stranger.get(f"{PREFIX}/dags/{DAG_ID}/runs/{quote(run_id, safe='')}{path}")
        assert answer.status == 401
        assert b"model_id" not in content


@pytest.mark.parametrize(
    "place", ["/etc/passwd", "{folder}/airflow/airflow.cfg", "{folder}/link.html", "{folder}/other.html"]
)
def test_a_forged_manifest_opens_no_file(stack: Stack, browser: Browser, run_id: str, place: str) -> None:
    (stack.folder / "other.html").write_text("<p>not for you", encoding="utf-8")
    link = stack.folder / "link.html"
    link.unlink(missing_ok=True)
    link.symlink_to("/etc/passwd")
    forged = {
        "schema_version": 1,
        "model_id": "m",
        "title": "t",
        "sections": [],
        "output_uri": place.format(folder=stack.folder),
        "sha256": hashlib.sha256(b"").hexdigest(),
    }
    run = f"/dags/{DAG_ID}/dagRuns/{quote(run_id, safe='')}"
    entry = f"{run}/taskInstances/plain/xcomEntries/return_value"
    stack.api.request("PATCH", entry, {"value": forged, "map_index": -1})

    answer, content = browser.get(f"{PREFIX}{run.replace('dagRuns', 'runs')}/tasks/plain/-1/report")

    assert answer.status == 404
    assert b"root:" not in content
    assert b"not for you" not in content


def test_the_ui_s_own_pages_are_as_they_were(browser: Browser) -> None:
    answer, content = browser.get("/")
    assert answer.status == 200
    assert b'<div id="root"' in content
    missing, _ = browser.get(f"{PREFIX}/nothing")
    assert missing.status == 404
