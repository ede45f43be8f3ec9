"""What the API server itself answers about a run's tab: to whom, and with which files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from airflow_provider_cleartrace.plugin.tabs import PREFIX
from tests.system.up.conftest import DAG_ID
from tests.system.up.program import Up
from tests.unit.reports.html_reader import Page

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]


class Visitor:
    """Sends what a browser sends that is signed in to Airflow: the cookie, and no other credential."""

    def __init__(self, up: Up, *, signed_in: bool = True) -> None:
        self._host = urlsplit(up.url).netloc
        self._headers: dict[str, str] = {}
        if signed_in:
            login = json.dumps({"username": up.user, "password": up.password})
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
def visitor(up: Up) -> Visitor:
    return Visitor(up)


@pytest.fixture
def pages(finished_run: str) -> str:
    """The address of the run's pages."""
    return f"{PREFIX}/dags/{DAG_ID}/runs/{quote(finished_run, safe='')}"


def tabs(up: Up, **known: str) -> dict[str, str]:
    """The addresses of the tabs, with the placeholders filled as Airflow's UI does."""
    plugins = up.api().request("GET", "/plugins")["plugins"]
    (plugin,) = (each for each in plugins if each["name"] == "cleartrace")
    made = {}
    for view in plugin["external_views"]:
        href = view["href"]
        for name, value in known.items():
            href = href.replace(f"{{{name}}}", quote(value, safe=""))
        made[view["destination"]] = f"/{href}"
    return made


def test_both_tabs_frame_the_report_that_the_run_wrote(up: Up, visitor: Visitor, finished_run: str) -> None:
    assert up.api().request("GET", "/plugins/importErrors")["import_errors"] == []
    # The UI leaves {MAP_INDEX} as it is where a task is not mapped.
    addresses = tabs(up, DAG_ID=DAG_ID, RUN_ID=finished_run, TASK_ID="report")
    assert addresses.keys() == {"dag_run", "task_instance"}
    frames = [frame for address in addresses.values() for frame in visitor.page(address).all("iframe")]
    (source,) = {frame.attributes["src"] for frame in frames}

    answer, content = visitor.get(source)
    assert answer.status == 200
    assert (answer.getheader("Content-Security-Policy") or "").startswith("sandbox; default-src 'none'")
    assert content == (up.output / finished_run / "report.html").read_bytes()


def test_models_and_history_tell_what_the_tasks_told(
    up: Up, visitor: Visitor, finished_run: str, pages: str
) -> None:
    told = up.api().return_value(DAG_ID, finished_run, "interpret")
    (model,) = visitor.page(f"{pages}/models").all("article")
    assert told["model_id"] in model.text
    assert told["top_features"][0] in model.text
    names = [row.text.strip().split("\n")[0] for row in visitor.page(f"{pages}/history").all("tr")]
    assert told["top_features"][0] in names


def test_without_signing_in_there_is_nothing(up: Up, pages: str) -> None:
    stranger = Visitor(up, signed_in=False)
    for path in ("", "/models", "/history", "/tasks/report/-1", "/tasks/report/-1/report"):
        answer, content = stranger.get(f"{pages}{path}")
        assert answer.status == 401
        assert b"model_id" not in content


@pytest.fixture
def forged_entry(up: Up, finished_run: str) -> Iterator[str]:
    """What the task `upload` returned, in Airflow's API; it is put back at the end."""
    run = f"/dags/{DAG_ID}/dagRuns/{quote(finished_run, safe='')}"
    entry = f"{run}/taskInstances/upload/xcomEntries/return_value"
    before = up.api().return_value(DAG_ID, finished_run, "upload")
    yield entry
    up.api().request("PATCH", entry, {"value": before, "map_index": -1})


@pytest.mark.parametrize(
    "place", ["/etc/passwd", "{folder}/airflow.cfg", "{folder}/link.html", "{folder}/other.html"]
)
def test_a_forged_manifest_opens_no_file(
    up: Up, visitor: Visitor, forged_entry: str, pages: str, tmp_path: Path, place: str
) -> None:
    (tmp_path / "airflow.cfg").write_text("not for you", encoding="utf-8")
    (tmp_path / "other.html").write_text("<p>not for you", encoding="utf-8")
    (tmp_path / "link.html").symlink_to("/etc/passwd")
    forged = {
        "schema_version": 1,
        "model_id": "m",
        "title": "t",
        "sections": [],
        "output_uri": place.format(folder=tmp_path),
        "sha256": hashlib.sha256(b"").hexdigest(),
    }
    up.api().request("PATCH", forged_entry, {"value": forged, "map_index": -1})

    answer, content = visitor.get(f"{pages}/tasks/upload/-1/report")

    assert answer.status == 404
    assert b"root:" not in content
    assert b"not for you" not in content


def test_the_ui_s_own_pages_are_as_they_were(visitor: Visitor) -> None:
    answer, content = visitor.get("/")
    assert answer.status == 200
    assert b'<div id="root"' in content
    missing, _ = visitor.get(f"{PREFIX}/nothing")
    assert missing.status == 404
