"""The status page of ClearTrace Local, and the list of models that it shows."""

from __future__ import annotations

import base64
import hashlib
import random
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.local_server import LocalServer

SECOND_KEY, THIRD_KEY = "another-team-key", "a-third-key"
ODD_NAME = "<script>alert('x')</script>"
LISTED_DRIVERS = 6


def records(n: int = 60) -> list[dict[str, Any]]:
    draw = random.Random(5)
    rows = []
    for _ in range(n):
        row: dict[str, Any] = {ODD_NAME: draw.uniform(-1, 1)}
        row |= {f"x{position}": draw.uniform(-1, 1) for position in range(8)}
        rows.append(row | {"y": row[ODD_NAME] + row["x0"] / 2})
    return rows


def trained(client: httpx.Client, model_id: str, **changes: Any) -> None:
    body = {"model_id": model_id, "data": records(), "target": "y", "mode": "fast", **changes}
    assert client.post("/v1/fit", json=body).status_code == 200
    deadline = time.monotonic() + 60
    while client.get(f"/v1/models/{model_id}/status").json()["status"] not in ("completed", "failed"):
        assert time.monotonic() < deadline
        time.sleep(0.03)


def listed(client: httpx.Client, **parameters: Any) -> dict[str, Any]:
    answer = client.get("/v1/models", params=parameters)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    folder = tmp_path_factory.mktemp("page") / "data"
    with LocalServer(folder, api_keys=("first-key", SECOND_KEY, THIRD_KEY)) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: LocalServer) -> Iterator[httpx.Client]:
    """The first key, with one model that is trained and one that waits for its file."""
    with server.client() as opened:
        trained(opened, "odd-names")
        opened.post("/v1/uploads", json={"model_id": "announced", "file_format": "csv"})
        yield opened


class TestTheListOfModels:
    def test_needs_a_key_of_the_server(self, server: LocalServer) -> None:
        assert httpx.get(f"{server.base_url}/v1/models", trust_env=False).status_code == 401
        with server.client("wrong") as stranger:
            assert stranger.get("/v1/models").status_code == 401

    def test_holds_the_models_of_this_key_alone(self, server: LocalServer, client: httpx.Client) -> None:
        with server.client(THIRD_KEY) as other:
            assert listed(other) == {"models": [], "total": 0}
            other.post("/v1/uploads", json={"model_id": "theirs", "file_format": "csv"})
            assert [model["model_id"] for model in listed(other)["models"]] == ["theirs"]
        assert "theirs" not in {model["model_id"] for model in listed(client)["models"]}

    def test_says_of_each_what_its_status_says(self, client: httpx.Client) -> None:
        models = listed(client)["models"]
        assert {"odd-names", "announced"} <= {model["model_id"] for model in models}
        for model in models:
            status = client.get(f"/v1/models/{model['model_id']}/status").json()
            assert {name: model[name] for name in status} == status
            created, updated = (datetime.fromisoformat(model[name]) for name in ("created", "updated"))
            assert created <= updated <= datetime.now(UTC) < created + timedelta(hours=1)

    def test_gives_the_largest_of_the_drivers_that_interpret_gives(self, client: httpx.Client) -> None:
        (model,) = (model for model in listed(client)["models"] if model["model_id"] == "odd-names")
        interpreted = client.get("/v1/models/odd-names/interpret").json()
        shares = dict(zip(interpreted["feature_names"], interpreted["global_drivers"], strict=True))
        largest = sorted(shares, key=lambda name: -shares[name])[:LISTED_DRIVERS]
        assert largest[0] == ODD_NAME
        assert [driver["feature"] for driver in model["drivers"]] == largest
        assert [driver["share"] for driver in model["drivers"]] == pytest.approx(
            [shares[name] for name in largest]
        )
        assert (model["task"], model["target"], model["n_features"]) == ("regression", "y", 9)

    def test_has_no_drivers_of_a_model_that_is_not_trained(self, client: httpx.Client) -> None:
        (model,) = (model for model in listed(client)["models"] if model["model_id"] == "announced")
        assert (model["job"], model["status"]) == ("upload", "pending")
        assert (model["task"], model["drivers"]) == (None, None)

    def test_keeps_the_drivers_of_a_model_whose_new_training_failed(self, client: httpx.Client) -> None:
        trained(client, "kept")
        before = listed(client)["models"][0]
        # That every target is missing shows when the job reads the file.
        upload = client.post("/v1/uploads", json={"model_id": "kept", "file_format": "csv"}).json()
        httpx.put(
            upload["upload_url"],
            content="x,y\r\n" + "1,\r\n" * 30,
            headers={"Content-Type": upload["content_type"]},
            trust_env=False,
        )
        trained(client, "kept", data=None)
        after = listed(client)["models"][0]
        assert (after["model_id"], after["status"]) == ("kept", "failed")
        assert after["error"]
        assert after["drivers"] == before["drivers"]

    def test_is_led_by_what_changed_last_and_bounded(self, server: LocalServer) -> None:
        with server.client(SECOND_KEY) as other:
            for position in range(103):
                other.post("/v1/uploads", json={"model_id": f"m{position}", "file_format": "csv"})
            document = listed(other)
            assert document["total"] >= 103
            assert [model["model_id"] for model in document["models"]] == [f"m{i}" for i in range(102, 2, -1)]
            assert [model["model_id"] for model in listed(other, limit=2)["models"]] == ["m102", "m101"]
            for limit in (0, 101, "many"):
                assert other.get("/v1/models", params={"limit": limit}).status_code == 422

    def test_is_in_the_openapi_document(self, server: LocalServer) -> None:
        document = httpx.get(f"{server.base_url}/openapi.json", trust_env=False).json()
        assert document["paths"]["/v1/models"]["get"]["operationId"] == "list_models"


class Elements(HTMLParser):
    """What a page is made of: elements with their attributes, and the text of scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.attributes: list[tuple[str, str, str]] = []
        self.inline: dict[str, str] = {}
        self._inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside in ("script", "style"):
            assert self._inside not in self.inline
            self.inline[self._inside] = data


@pytest.fixture(scope="module")
def page(server: LocalServer) -> httpx.Response:
    return httpx.get(f"{server.base_url}/", trust_env=False)


class TestThePage:
    def test_is_given_without_a_key_and_holds_no_model(
        self, page: httpx.Response, client: httpx.Client
    ) -> None:
        assert page.status_code == 200
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert page.headers["cache-control"] == "no-store"
        assert page.headers["referrer-policy"] == "no-referrer"
        assert page.headers["x-content-type-options"] == "nosniff"
        assert "odd-names" not in page.text

    def test_runs_nothing_but_its_own_script_and_style(self, page: httpx.Response) -> None:
        elements = Elements(page.text)
        policy = dict(
            part.partition(" ")[::2] for part in page.headers["content-security-policy"].split("; ")
        )
        for element in ("script", "style"):
            digest = base64.b64encode(hashlib.sha256(elements.inline[element].encode()).digest()).decode()
            assert policy[f"{element}-src"] == f"'sha256-{digest}'"
        assert policy["default-src"] == policy["frame-ancestors"] == policy["form-action"] == "'none'"
        assert policy["connect-src"] == "'self'"
        assert policy["require-trusted-types-for"] == "'script'"
        assert not [name for _, name, _ in elements.attributes if name.startswith("on") or name == "style"]

    def test_names_no_other_host(self, page: httpx.Response) -> None:
        assert not re.search(r"https?:|[\"'(]//", page.text)
        targets = {value for _, name, value in Elements(page.text).attributes if name in ("href", "src")}
        assert targets == {"data:,", "docs"}

    def test_never_reads_a_text_as_markup(self, page: httpx.Response) -> None:
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", page.text)

    def test_asks_for_a_key_where_the_server_has_keys(self, page: httpx.Response, tmp_path: Any) -> None:
        assert 'data-needs-key="yes"' in page.text
        with LocalServer(tmp_path / "open", api_keys=("",)) as server:
            opened = httpx.get(f"{server.base_url}/", trust_env=False)
            assert 'data-needs-key="no"' in opened.text
            assert httpx.get(f"{server.base_url}/v1/models", trust_env=False).json()["total"] == 0


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """A server without keys, with one model that is trained and one that waits for its file."""
    folder = tmp_path_factory.mktemp("opened") / "data"
    with LocalServer(folder, api_keys=("",)) as server, server.client("none") as client:
        trained(client, "odd-names")
        client.post("/v1/uploads", json={"model_id": "announced", "file_format": "csv"})
        yield server


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
class TestTheAddressOfAModel:
    """``/#<model_id>``, as a browser shows it."""

    def shown(self, server: LocalServer, fragment: str, profile: Path) -> str:
        command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=4000"]
        command += [f"--user-data-dir={profile}", "--dump-dom", f"{server.base_url}/#{fragment}"]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout

    def test_opens_that_model_alone_with_all_of_its_drivers(
        self, opened: LocalServer, tmp_path: Path
    ) -> None:
        dom = self.shown(opened, "odd-names", tmp_path)
        rows = re.findall(r"<tr[^>]*data-status.*?</tr>", dom, re.DOTALL)
        assert len(rows) == 2
        (current,) = (row for row in rows if 'aria-current="true"' in row)
        assert 'href="#odd-names"' in current
        assert current.count("<li>") == 9 > LISTED_DRIVERS

    def test_of_none_says_so(self, opened: LocalServer, tmp_path: Path) -> None:
        dom = self.shown(opened, "%3Cb%3Enobody", tmp_path)
        assert "aria-current=" not in dom
        assert "There is no model &lt;b&gt;nobody of this key." in dom
