"""Clients that mean harm: odd paths and ids, slow and huge requests, one key after the work of another."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from airflow_provider_cleartrace.api.operations import OPERATIONS, Operation
from tests.integration.local_server import LocalServer

FIRST, SECOND = "first-team-key", "second-team-key"
HEAD_SECONDS = 2
BODY_SECONDS = 6
FLAGS = (
    "--request-head-seconds",
    str(HEAD_SECONDS),
    "--request-body-seconds",
    str(BODY_SECONDS),
    "--max-body-bytes",
    "200000",
)
OF_A_MODEL = [operation for operation in OPERATIONS if "{model_id}" in operation.path]
ROWS = {"feature_names": ["age", "income"]}
BODIES: dict[str, dict[str, Any]] = {
    "predict": {"samples": [[30, 44.0]], **ROWS},
    "explain": {"samples": [[30, 44.0]], **ROWS},
    "predict_and_explain": {"samples": [[30, 44.0]], **ROWS},
    "scenario": {"queries": [[30, 44.0]], "desired_class": 1, **ROWS},
    "segment": {"min_clusters": 2, "max_clusters": 2, "n_search_steps": 1},
    "narrative": {"data": [[30, 44.0]], "kpi_name": "approval", **ROWS},
}
ODD_IDS = [
    "..",
    ".",
    "../secret",
    "..%2fsecret",
    "%2e%2e%2fsecret",
    "..%5csecret",
    "%252e%252e%252fsecret",
    "%00",
    "a%00b",
    "a%0d%0aX-Injected:%201",
    "%ff%fe",
    "~root",
    "-rf",
    "'%20OR%201=1--",
    "%25s%25n",
    "{model_id}",
    "a" * 129,
    "a" * 4000,
    "%EF%BC%8E%EF%BC%8E",
    "CON",
    "",
]


def records(n: int = 40, seed: int = 7) -> list[dict[str, Any]]:
    draw, rows = random.Random(seed), []
    for _ in range(n):
        age, income = draw.randint(18, 80), draw.uniform(10, 90)
        rows.append({"age": age, "income": income, "approved": int(income + age / 4 > 60)})
    return rows


def wait(client: httpx.Client, model_id: str, job: str = "fit") -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        status: dict[str, Any] = client.get(f"/v1/models/{model_id}/status", params={"job": job}).json()
        if status["status"] in ("completed", "failed"):
            return status
        time.sleep(0.03)
    raise AssertionError(f"still {status}")


def fit(client: httpx.Client, model_id: str, seed: int = 7) -> None:
    body = {"model_id": model_id, "data": records(seed=seed), "target": "approved", "mode": "fast"}
    assert client.post("/v1/fit", json=body).status_code == 200
    assert wait(client, model_id)["status"] == "completed"


def call(client: httpx.Client, operation: Operation[Any], model_id: str) -> httpx.Response:
    path = operation.path.replace("{model_id}", model_id)
    return client.request(operation.method, path, json=BODIES.get(operation.name))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    data_dir = tmp_path_factory.mktemp("hostile") / "data"
    with LocalServer(data_dir, api_keys=(FIRST, SECOND), flags=FLAGS) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: LocalServer) -> Iterator[httpx.Client]:
    with server.client(FIRST) as opened:
        fit(opened, "trained")
        yield opened


@pytest.fixture
def other(server: LocalServer) -> Iterator[httpx.Client]:
    with server.client(SECOND) as opened:
        yield opened


def raw(server: LocalServer, content: bytes = b"") -> socket.socket:
    """Open a connection that speaks no more than it is told to."""
    address = urlsplit(server.base_url)
    opened = socket.create_connection((address.hostname, address.port), timeout=15)
    opened.sendall(content)
    return opened


def answer_of(opened: socket.socket) -> bytes:
    """Read until the server closes the connection."""
    answer = b""
    with contextlib.suppress(ConnectionResetError):
        while chunk := opened.recv(65536):
            answer += chunk
    return answer


def files_of(server: LocalServer) -> set[Path]:
    """List what the server wrote, also beside its directory."""
    return {
        path.relative_to(server.data_dir.parent)
        for path in server.data_dir.parent.rglob("*")
        if "state.db" not in path.name
    }


class TestPaths:
    @pytest.mark.parametrize("operation", OF_A_MODEL, ids=lambda operation: operation.name)
    def test_an_odd_id_reaches_nothing(
        self, server: LocalServer, client: httpx.Client, operation: Operation[Any]
    ) -> None:
        before = files_of(server)
        for odd in ODD_IDS:
            # Written by hand: a client library would tidy the path up.
            path = operation.path.replace("{model_id}", odd)
            body = json.dumps(BODIES.get(operation.name, {}))
            head = f"{operation.method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {FIRST}\r\n"
            head += f"Connection: close\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            with raw(server, f"{head}\r\n{body}".encode()) as opened:
                answer = answer_of(opened)
            assert int(answer.split()[1]) in (400, 404, 405, 422), (odd, answer)
            assert b"X-Injected" not in answer.partition(b"\r\n\r\n")[0]
        assert files_of(server) == before

    @pytest.mark.parametrize("path", ["/v1/uploads", "/v1/fit"])
    @pytest.mark.parametrize("odd", ["../x", "a/b", "..", ".", "", "a" * 129, "a\n", "a\0", "é", "\ud800", 7])
    def test_an_odd_id_in_a_body_is_refused(
        self, server: LocalServer, client: httpx.Client, path: str, odd: Any
    ) -> None:
        before = files_of(server)
        body = {"model_id": odd, "file_format": "csv"}
        if path == "/v1/fit":
            body = {"model_id": odd, "data": records(), "target": "approved"}
        content = json.dumps(body)
        answer = client.post(path, content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code == 422, answer.text
        assert "model_id" in answer.text
        assert files_of(server) == before

    def test_an_upload_url_leads_nowhere_else(self, server: LocalServer, client: httpx.Client) -> None:
        given = client.post("/v1/uploads", json={"file_format": "csv", "model_id": "target"}).json()
        parts = urlsplit(given["upload_url"])
        _, _, owner, _ = parts.path.split("/")
        before = files_of(server)
        paths = [f"/uploads/{owner}/{odd}" for odd in ODD_IDS]
        paths += [f"/uploads/{odd}/target" for odd in ODD_IDS]
        paths += [f"/uploads/{owner}/../{owner}/target2", f"/uploads/{owner}/target/../../x", "/uploads/"]
        for path in paths:
            head = f"PUT {path}?{parts.query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            head += "Content-Type: text/csv\r\nContent-Length: 4\r\n\r\na\n1\n"
            with raw(server, head.encode()) as opened:
                answer = answer_of(opened)
            assert 400 <= int(answer.split()[1]) < 500, (path, answer)
        assert files_of(server) == before

    @pytest.mark.parametrize(
        ("length", "status"),
        [("-1", 400), ("x", 400), ("1e3", 400), ("0x10", 400), ("9" * 30, 400), ("9" * 15, 413)],
    )
    def test_a_length_that_is_none_is_refused(
        self, server: LocalServer, client: httpx.Client, length: str, status: int
    ) -> None:
        given = client.post("/v1/uploads", json={"file_format": "csv", "model_id": "length"}).json()
        parts = urlsplit(given["upload_url"])
        head = f"PUT {parts.path}?{parts.query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        head += f"Content-Type: text/csv\r\nContent-Length: {length}\r\n\r\n"
        with raw(server, head.encode()) as opened:
            assert int(answer_of(opened).split()[1]) == status


class TestSlowAndHugeRequests:
    def test_slow_heads_hold_nobody_up_and_are_cut_off(
        self, server: LocalServer, client: httpx.Client
    ) -> None:
        head = b"GET /v1/models/trained/status HTTP/1.1\r\nHost: x\r\nX-Slow: " + b"a" * 60
        slow = [raw(server) for _ in range(20)]
        began, slowest = time.monotonic(), 0.0
        for byte in head[: 2 * (HEAD_SECONDS + 1)]:
            for opened in slow:
                with contextlib.suppress(OSError):  # it is cut off already
                    opened.sendall(bytes([byte]))
            for path in ("/health", "/v1/models/trained/status"):
                asked = time.monotonic()
                assert client.get(path).status_code == 200
                slowest = max(slowest, time.monotonic() - asked)
            time.sleep(0.5)
        for opened in slow:
            with opened:
                assert answer_of(opened)[:12] in (b"HTTP/1.1 408", b"")  # or reset, when it went on sending
        assert time.monotonic() - began < HEAD_SECONDS + 5
        assert slowest < 1

    def test_a_head_after_an_answer_is_due_as_well(self, server: LocalServer) -> None:
        with raw(server, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n") as opened:
            assert opened.recv(65536).startswith(b"HTTP/1.1 200")
            time.sleep(0.2)
            opened.sendall(b"GET /health HT")
            # The body of the first answer may come in a segment of its own, and so be read here.
            assert b"HTTP/1.1 408" in answer_of(opened)

    def test_a_head_of_a_megabyte_is_not_kept(self, server: LocalServer) -> None:
        with raw(server, b"GET /health HTTP/1.1\r\nHost: x\r\nX-Huge: ") as opened:
            with contextlib.suppress(ConnectionError):
                for _ in range(100):
                    opened.sendall(b"a" * 10_000)
                    time.sleep(0.001)
                pytest.fail("a head of a megabyte was read")
            assert answer_of(opened)[:12] in (b"HTTP/1.1 431", b"HTTP/1.1 400", b"")

    def test_trickling_bodies_hold_nobody_up(self, server: LocalServer, client: httpx.Client) -> None:
        head = f"POST /v1/fit HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {FIRST}\r\n"
        head += "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
        trickling = [raw(server, head.encode() + b"{") for _ in range(20)]
        for _ in range(5):
            for opened in trickling:
                opened.sendall(b" ")
            asked = time.monotonic()
            body = {"samples": [[30, 44.0]], **ROWS}
            assert client.post("/v1/models/trained/predict", json=body).status_code == 200
            assert time.monotonic() - asked < 1
        for opened in trickling:
            opened.close()
        assert "unexpectedly" not in server.log.read_text()

    def test_a_body_that_does_not_end_in_time_is_refused(self, server: LocalServer) -> None:
        head = f"POST /v1/fit HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {FIRST}\r\n"
        head += "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
        with raw(server, head.encode() + b"{") as opened:
            answer = answer_of(opened)
        assert answer.startswith(b"HTTP/1.1 408")
        assert b"connection: close" in answer
        assert f"did not arrive within {BODY_SECONDS} s".encode() in answer

    def test_a_body_that_nobody_wants_is_not_read_as_the_next_request(
        self, server: LocalServer, client: httpx.Client
    ) -> None:
        head = f"PUT /v1/fit HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {FIRST}\r\n"
        with raw(server, f"{head}Content-Length: 150000\r\n\r\n".encode()) as opened:
            for _ in range(15):
                assert client.get("/health").status_code == 200  # the server has seen what was sent so far
                opened.sendall(b"[" * 10_000)
            answer = opened.recv(65536)
            assert answer.startswith(b"HTTP/1.1 405")
            opened.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert b"HTTP/1.1 200" in answer_of(opened)

    def test_a_body_without_a_key_is_not_waited_for(self, server: LocalServer) -> None:
        head = b"POST /v1/fit HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n"
        began = time.monotonic()
        with raw(server, head) as opened:
            assert opened.recv(65536).startswith(b"HTTP/1.1 401")
        assert time.monotonic() - began < 10

    def test_a_chunked_body_over_the_limit_is_413_before_its_end(self, server: LocalServer) -> None:
        head = f"POST /v1/fit HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {FIRST}\r\n"
        head += "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        with raw(server, head.encode()) as opened:
            with contextlib.suppress(ConnectionError):
                for _ in range(5):
                    opened.sendall(b"ea60\r\n" + b" " * 60_000 + b"\r\n")
            assert opened.recv(65536).startswith(b"HTTP/1.1 413")

    def test_many_idle_connections_leave_room(self, server: LocalServer, client: httpx.Client) -> None:
        idle = [raw(server, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n") for _ in range(200)]
        for opened in idle:
            assert opened.recv(65536).startswith(b"HTTP/1.1 200")
        asked = time.monotonic()
        assert client.get("/v1/models/trained/status").status_code == 200
        assert time.monotonic() - asked < 1
        for opened in idle:
            opened.close()


class TestTwoKeys:
    @pytest.mark.parametrize("operation", OF_A_MODEL, ids=lambda operation: operation.name)
    def test_a_model_of_another_key_is_as_unknown_as_none(
        self, client: httpx.Client, other: httpx.Client, operation: Operation[Any]
    ) -> None:
        mine, none = call(other, operation, "trained"), call(other, operation, "nothing")
        assert mine.status_code == none.status_code == 404
        assert mine.text.replace("trained", "nothing") == none.text

    def test_the_list_holds_the_models_of_its_key_alone(
        self, client: httpx.Client, other: httpx.Client
    ) -> None:
        fit(other, "of-the-other")
        for asking, own, foreign in ((client, "trained", "of-the-other"), (other, "of-the-other", "trained")):
            told = [model["model_id"] for model in asking.get("/v1/models").json()["models"]]
            assert own in told
            assert foreign not in told

    def test_one_id_is_two_models_with_artefacts_of_their_own(
        self, client: httpx.Client, other: httpx.Client
    ) -> None:
        for asking, seed in ((client, 1), (other, 2)):
            fit(asking, "shared-name", seed)
        told = [
            call(asking, operation, "shared-name")
            for operation in OF_A_MODEL
            for asking in (client, other)
            if operation.name == "predict"
        ]
        assert told[0].status_code == told[1].status_code == 200
        assert told[0].json() != told[1].json()
        asked = client.post("/v1/models/shared-name/segments", json=BODIES["segment"])
        assert asked.status_code == 200
        assert wait(client, "shared-name", "segment")["status"] == "completed"
        assert other.get("/v1/models/shared-name/segments").status_code == 404

    def test_an_upload_is_for_its_key_alone(
        self, server: LocalServer, client: httpx.Client, other: httpx.Client
    ) -> None:
        url = client.post("/v1/uploads", json={"file_format": "csv", "model_id": "file"}).json()["upload_url"]
        content = b"age,income,approved\n" + b"".join(
            f"{row['age']},{row['income']},{row['approved']}\n".encode() for row in records()
        )
        assert client.put(url, content=content, headers={"Content-Type": "text/csv"}).status_code == 200
        body = {"model_id": "file", "target": "approved", "mode": "fast"}
        refused = other.post("/v1/fit", json=body)
        assert refused.status_code == 422
        assert "no file was uploaded" in refused.text
        assert other.get("/v1/models/file/status").status_code == 404
        theirs = other.post("/v1/uploads", json={"file_format": "csv", "model_id": "file"}).json()
        owner, their_owner = (urlsplit(one).path.split("/")[2] for one in (url, theirs["upload_url"]))
        crossed = theirs["upload_url"].replace(their_owner, owner)
        assert other.put(crossed, content=b"a\n1\n", headers={"Content-Type": "text/csv"}).status_code == 403
        assert (server.data_dir / "uploads" / owner / "file.csv").read_bytes() == content

    def test_a_cancellation_ends_no_job_of_another_key(
        self, client: httpx.Client, other: httpx.Client
    ) -> None:
        body = {"model_id": "kept", "data": records(200), "target": "approved", "n_hyperopt_steps": 3}
        submitted = client.post("/v1/fit", json=body).json()
        assert other.delete("/v1/models/kept/job").status_code == 404
        other.post("/v1/uploads", json={"file_format": "csv", "model_id": "kept"})
        other.delete("/v1/models/kept/job")
        status = wait(client, "kept")
        assert (status["status"], status["job_id"]) == ("completed", submitted["job_id"])
