"""Requests that nobody meant to send: from the OpenAPI document, from good bodies gone wrong, odd files."""

from __future__ import annotations

import io
import json
import random
import re
import sqlite3
import string
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.specs.openapi import checks

from tests.integration.local_server import LocalServer

KEY = "fuzz-key"
MAX_UPLOAD_BYTES = 20_000
FLAGS = ("--job-seconds", "5", "--max-body-bytes", "200000", "--max-upload-bytes", str(MAX_UPLOAD_BYTES))
FEATURES = ["age", "income", "city"]

bounded = settings(
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
"""The same requests in every run: a failure is somebody's change, not luck."""


def records(n: int = 40) -> list[dict[str, Any]]:
    draw, rows = random.Random(7), []
    for _ in range(n):
        age, income, city = draw.randint(18, 80), draw.uniform(10, 90), draw.choice(["Oslo", "Turin"])
        rows.append({"age": age, "income": income, "city": city, "approved": int(income + age / 4 > 60)})
    return rows


def as_csv() -> bytes:
    lines = [",".join([*FEATURES, "approved"])]
    lines += [",".join(str(value) for value in row.values()) for row in records()]
    return "\n".join(lines).encode()


def as_parquet() -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(records()), sink)
    return sink.getvalue()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    data_dir = tmp_path_factory.mktemp("fuzz") / "data"
    with LocalServer(data_dir, api_keys=(KEY,), flags=FLAGS) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: LocalServer) -> Iterator[httpx.Client]:
    """A client of a server with one model; when all requests were sent, its faults are looked for."""
    with server.client() as opened:
        body = {"model_id": "trained", "data": records(), "target": "approved", "mode": "fast"}
        assert opened.post("/v1/fit", json=body).status_code == 200
        assert ended(opened, "trained")["status"] == "completed"
        yield opened
        drain(opened)
    assert faults(server) == []


def drain(client: httpx.Client) -> None:
    """Cancel what waits, and let what runs end."""
    for model in client.get("/v1/models").json()["models"]:
        if model["status"] in ("pending", "running"):
            client.delete(f"/v1/models/{model['model_id']}/job")


def ended(client: httpx.Client, model_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + 30
    while True:
        status: dict[str, Any] = client.get(f"/v1/models/{model_id}/status").json()
        if status["status"] in ("completed", "failed"):
            return status
        assert time.monotonic() < deadline, status
        time.sleep(0.02)


def faults(server: LocalServer) -> list[str]:
    """What a server says when it met something that nobody thought of."""
    with closing(sqlite3.connect(server.data_dir / "state.db")) as database:
        errors = [
            str(error) for (error,) in database.execute("SELECT error FROM jobs WHERE status = 'failed'")
        ]
    found = [error for error in errors if "internal error" in error or "worker process died" in error]
    log = server.log.read_text()
    return found + [line for line in log.splitlines() if re.search("unexpectedly|stumbled|Traceback", line)]


def check_answer(answer: Any) -> None:
    """An answer is JSON; a refusal has FastAPI's shape; none is the server's own fault, none shows code."""
    assert answer.status_code < 500, answer.text
    assert "Traceback" not in answer.text
    assert 'File "' not in answer.text
    if answer.status_code >= 400:
        document = json.loads(answer.text)
        assert set(document) == {"detail"}, document
        assert document["detail"], document
        assert isinstance(document["detail"], str | list)


class TestDocument:
    """What the OpenAPI document allows, and what it does not: every operation answers in its own shapes."""

    @pytest.fixture(scope="class")
    def operations(self, client: httpx.Client) -> list[Any]:
        schema = schemathesis.openapi.from_dict(client.get("/openapi.json").json())
        return [found.ok() for found in schema.get_all_operations()]

    @pytest.mark.parametrize("mode", ["positive", "negative"])
    def test_no_operation_fails_or_leaves_its_document(
        self, server: LocalServer, operations: list[Any], mode: str
    ) -> None:
        for operation in operations:
            self.send_all(operation, server, mode)

    @pytest.mark.parametrize("mode", ["positive", "negative"])
    def test_nor_for_a_model_that_is_trained(
        self, server: LocalServer, operations: list[Any], mode: str
    ) -> None:
        for operation in operations:
            if operation.path.startswith("/v1/models/{model_id}/"):
                self.send_all(operation, server, mode, model_id="trained")

    def send_all(self, operation: Any, server: LocalServer, mode: str, model_id: str | None = None) -> None:
        cases = operation.as_strategy(generation_mode=schemathesis.GenerationMode(mode))

        @settings(bounded, max_examples=8)
        @given(case=cases)
        def send(case: Any) -> None:
            if model_id is not None:
                case.path_parameters["model_id"] = model_id
            if isinstance(case.body, dict) and "://" in str(case.body.get("predict_url")):
                case.body["predict_url"] = "http://127.0.0.1:9/predict"  # nobody outside is called
            with requests.Session() as session:
                session.trust_env = False
                answer = case.call(
                    base_url=server.base_url, session=session, headers={"Authorization": f"Bearer {KEY}"}
                )
            check_answer(answer)
            case.validate_response(
                answer, checks=[checks.content_type_conformance, checks.response_schema_conformance]
            )

        try:
            send()
        except Unsatisfiable:
            assert mode == "negative"  # nothing that the operation takes can be wrong


texts = st.text(max_size=8) | st.sampled_from(["\ud800", "\0", "../../secret", "m" * 300, "NaN", "1e999"])
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**63, -(2**63), 10**400, 1e308, -1e308, float("inf"), float("nan"), -0.0])
    | st.floats()
    | texts
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=10,
)

ROWS = {"feature_names": FEATURES}
SAMPLES = {"samples": [[30, 44.0, "Oslo"], [70, 20.0, None]], **ROWS}
GOOD: dict[str, dict[str, Any]] = {
    "/v1/fit": {"data": records(30), "target": "approved", "mode": "fast"},
    "/v1/uploads": {"file_format": "csv"},
    "/v1/models/trained/predict": SAMPLES,
    "/v1/models/trained/explain": SAMPLES,
    "/v1/models/trained/predict_and_explain": {**SAMPLES, "with_rules": True},
    "/v1/models/trained/scenario": {"queries": [[30, 44.0, "Oslo"]], "desired_class": 1, **ROWS},
    "/v1/models/trained/segments": {"min_clusters": 2, "max_clusters": 2, "n_search_steps": 1},
    "/v1/models/trained/narrative": {"data": SAMPLES["samples"], **ROWS},
}
"""A body that each call takes."""


@st.composite
def nearly_good(draw: st.DrawFn, properties: dict[str, dict[str, list[str]]]) -> tuple[str, Any]:
    """Give a call and its good body with one or two things in it replaced, anywhere."""
    path = draw(st.sampled_from(sorted(GOOD)))
    body = json.loads(json.dumps(GOOD[path]))
    for _ in range(draw(st.integers(1, 2))):
        place: Any = body
        name: Any = draw(st.sampled_from(properties["names"][path]))
        while place.get(name) if isinstance(place, dict) else place[name]:
            inner = place[name]
            if not isinstance(inner, dict | list) or not draw(st.booleans()):
                break
            place = inner
            name = draw(
                st.sampled_from(sorted(inner)) if isinstance(inner, dict) else st.integers(0, len(inner) - 1)
            )
        place[name] = draw(values)
    return path, body


class TestNearlyGoodBodies:
    @pytest.fixture(scope="class")
    def properties(self, client: httpx.Client) -> dict[str, dict[str, list[str]]]:
        """The names that the document gives to each call's body."""
        document = client.get("/openapi.json").json()
        names = {}
        for path in GOOD:
            operation = document["paths"][path.replace("/trained/", "/{model_id}/")]["post"]
            reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
            schema = document["components"]["schemas"][reference.rpartition("/")[2]]
            names[path] = sorted(schema["properties"])
        return {"names": names}

    @settings(bounded, max_examples=250)
    @given(data=st.data())
    def test_are_answered_or_refused(
        self, client: httpx.Client, properties: dict[str, dict[str, list[str]]], data: st.DataObject
    ) -> None:
        path, body = data.draw(nearly_good(properties))
        content = json.dumps(body)  # NaN and Infinity as well, which are no JSON
        answer = client.post(path, content=content, headers={"Content-Type": "application/json"})
        check_answer(answer)

    def test_none_brought_a_job_down(self, server: LocalServer, client: httpx.Client) -> None:
        deadline = time.monotonic() + 20
        while any(
            model["status"] == "running" or (model["status"] == "pending" and model.get("job") != "upload")
            for model in client.get("/v1/models").json()["models"]
        ):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert faults(server) == []

    @settings(bounded, max_examples=60)
    @given(
        method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]),
        path=st.sampled_from(
            [*GOOD, "/health", "/openapi.json", "/metrics", "/v1/models", "/v1/models/x/job"]
        ),
        headers=st.dictionaries(
            st.sampled_from(
                [
                    "Content-Type",
                    "Accept",
                    "Accept-Encoding",
                    "Range",
                    "If-Match",
                    "Cookie",
                    "X-Forwarded-For",
                ]
            ),
            st.text(string.printable.strip(), max_size=40),
            max_size=3,
        ),
        content=st.binary(max_size=100) | st.just(b"[" * 50_000) | st.just(b'{"a":' * 20_000),
    )
    def test_odd_methods_headers_and_bytes_are_refused(
        self, client: httpx.Client, method: str, path: str, headers: dict[str, str], content: bytes
    ) -> None:
        answer = client.request(method, path, headers=headers, content=content)
        assert answer.status_code < 500, answer.text
        if method != "HEAD":
            check_answer(answer)


csv_like = st.text('abc01.,;"\n\r\t\0 é\ufeff', max_size=200).map(str.encode)
files = (
    st.binary(max_size=300)
    | csv_like
    | csv_like.map(lambda text: b"approved,a\n" + text)
    | csv_like.map(lambda text: as_csv() + b"\n" + text)
    | st.binary(max_size=200).map(lambda inner: b"PAR1" + inner + b"PAR1")
)


def put(client: httpx.Client, model_id: str, file_format: str, content: bytes) -> httpx.Response:
    asked = client.post("/v1/uploads", json={"file_format": file_format, "model_id": model_id}).json()
    return client.put(asked["upload_url"], content=content, headers={"Content-Type": asked["content_type"]})


def fitted(client: httpx.Client, model_id: str) -> str | None:
    """Fit what was uploaded; give how the job ended, None where it was refused at once."""
    answer = client.post("/v1/fit", json={"model_id": model_id, "target": "approved", "mode": "fast"})
    check_answer(answer)
    if answer.status_code != 200:
        assert answer.status_code == 422, answer.text
        return None
    status = ended(client, model_id)
    assert "internal error" not in (status["error"] or ""), status
    return str(status["status"])


class TestUploads:
    @settings(bounded, max_examples=50)
    @given(file_format=st.sampled_from(["csv", "parquet"]), content=files)
    def test_no_file_brings_the_server_down_and_garbage_makes_no_model(
        self, client: httpx.Client, file_format: str, content: bytes
    ) -> None:
        # Whole rows can follow good ones by chance; nothing else here is a table with two classes.
        is_garbage = file_format == "parquet" or not content.startswith(as_csv())
        model_id = "garbage" if is_garbage else "perhaps-good"
        answer = put(client, model_id, file_format, content)
        assert answer.status_code == 200, answer.text
        outcome = fitted(client, model_id)
        if is_garbage:
            assert outcome != "completed"
            assert client.get(f"/v1/models/{model_id}/interpret").status_code == 409

    @settings(bounded, max_examples=15)
    @given(share=st.floats(0, 0.999))
    def test_a_truncated_parquet_makes_no_model(self, client: httpx.Client, share: float) -> None:
        whole = as_parquet()
        assert put(client, "truncated", "parquet", whole[: int(share * len(whole))]).status_code == 200
        assert fitted(client, "truncated") != "completed"

    @settings(bounded, max_examples=8)
    @given(position=st.integers(0, len(as_parquet()) - 1), flipped=st.integers(1, 255))
    def test_a_damaged_parquet_brings_nothing_down(
        self, client: httpx.Client, position: int, flipped: int
    ) -> None:
        damaged = bytearray(as_parquet())
        damaged[position] ^= flipped
        assert put(client, f"damaged-{position}", "parquet", bytes(damaged)).status_code == 200
        fitted(client, f"damaged-{position}")

    @settings(bounded, max_examples=60)
    @given(
        changes=st.dictionaries(
            st.sampled_from(["format", "expires", "signature"]),
            texts.filter(str.isprintable) | st.integers().map(str),
            max_size=3,
        ),
        content_type=st.sampled_from(["text/csv", "text/csv; charset=utf-8", "TEXT/CSV", "a/b", ""]),
    )
    def test_only_what_was_signed_is_taken(
        self, client: httpx.Client, changes: dict[str, str], content_type: str
    ) -> None:
        url = httpx.URL(client.post("/v1/uploads", json={"file_format": "csv"}).json()["upload_url"])
        altered = url.copy_merge_params(changes)
        answer = client.put(altered, content=as_csv(), headers={"Content-Type": content_type})
        is_signed = dict(altered.params) == dict(url.params) and content_type == "text/csv"
        assert answer.status_code == (200 if is_signed else 403), answer.text
        if not is_signed:
            check_answer(answer)
            assert fitted(client, url.path.rpartition("/")[2]) is None
