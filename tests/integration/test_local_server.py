"""ClearTrace Local as a process: what its callers may rely on, also when it is killed."""

from __future__ import annotations

import csv
import http.server
import io
import json
import os
import random
import re
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.integration.local_server import TO_LOOPBACK, LocalServer

GERMAN_CREDIT = Path(__file__).parents[2] / "example_dags" / "data" / "german_credit.csv"
SECOND_KEY = "another-team-key"
FAST = {"mode": "fast"}


def records(n: int = 60, seed: int = 7) -> list[dict[str, Any]]:
    draw = random.Random(seed)
    rows = []
    for _ in range(n):
        age, income, city = draw.randint(18, 80), draw.uniform(10, 90), draw.choice(["Oslo", "Turin", "Lima"])
        rows.append({"age": age, "income": income, "city": city, "approved": int(income + age / 4 > 60)})
    return rows


def as_csv(rows: list[dict[str, Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def as_parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


def wait(client: httpx.Client, model_id: str, job: str | None = None, seconds: float = 60) -> dict[str, Any]:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = client.get(f"/v1/models/{model_id}/status", params={"job": job} if job else {})
        assert answer.status_code == 200, answer.text
        status: dict[str, Any] = answer.json()
        if status["status"] in ("completed", "failed"):
            return status
        time.sleep(0.03)
    raise AssertionError(f"still {status} after {seconds} s")


def wait_until_empty(folder: Path) -> None:
    """A job's folder, and what is secret in it, goes right after its end."""
    deadline = time.monotonic() + 10
    while any(folder.iterdir()):
        assert time.monotonic() < deadline, f"{folder} still holds a job"
        time.sleep(0.05)


def fit(client: httpx.Client, model_id: str, **body: Any) -> dict[str, Any]:
    answer = client.post(
        "/v1/fit",
        json={"model_id": model_id, "data": records(), "target": "approved", **FAST, **body},
    )
    assert answer.status_code == 200, answer.text
    return wait(client, model_id)


def upload(client: httpx.Client, model_id: str, file_format: str, content: bytes) -> None:
    asked = client.post("/v1/uploads", json={"file_format": file_format, "model_id": model_id}).json()
    put = httpx.put(
        asked["upload_url"],
        content=content,
        headers={"Content-Type": asked["content_type"]},
        trust_env=False,
    )
    assert put.status_code == 200, put.text


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    data_dir = tmp_path_factory.mktemp("server") / "data"
    flags = ("--max-body-bytes", "2000000", "--max-upload-bytes", "3000000", "--access-log", *TO_LOOPBACK)
    with LocalServer(data_dir, api_keys=("test-key", SECOND_KEY), flags=flags) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: LocalServer) -> Iterator[httpx.Client]:
    with server.client() as opened:
        yield opened


@pytest.fixture(scope="module")
def trained(client: httpx.Client) -> str:
    assert fit(client, "trained")["status"] == "completed"
    return "trained"


@pytest.fixture
def teacher() -> Iterator[Teacher]:
    with Teacher() as running:
        yield running


class Teacher:
    """A black-box model behind HTTP that can hold its answers back."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.open.set()
        self.calls: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.answer: Any = None
        self.statuses: list[int] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.calls.append(body)
                outer.headers.append(dict(self.headers))
                outer.open.wait(60)
                income = body["feature_names"].index("income")
                predictions = [min(1.0, row[income] / 100) for row in body["samples"]]
                content = json.dumps(
                    {"predictions": predictions} if outer.answer is None else outer.answer
                ).encode()
                self.send_response(outer.statuses.pop(0) if outer.statuses else 200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/predict?token=query-secret"

    def __enter__(self) -> Teacher:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.open.set()
        self._server.shutdown()

    def wait_for_a_call(self, count: int = 1) -> None:
        deadline = time.monotonic() + 20
        while len(self.calls) < count:
            assert time.monotonic() < deadline, "the teacher was not asked"
            time.sleep(0.02)

    def distil(self, client: httpx.Client, model_id: str, **body: Any) -> httpx.Response:
        data = [{name: row[name] for name in ("age", "income", "city")} for row in records()]
        return client.post(
            "/v1/fit_distill",
            json={"model_id": model_id, "data": data, "predict_url": self.url, **FAST, **body},
        )


class TestKeys:
    def test_health_needs_none(self, server: LocalServer) -> None:
        answer = httpx.get(f"{server.base_url}/health", trust_env=False)
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})

    @pytest.mark.parametrize(
        "header", [None, "Bearer wrong", "Bearer", "Basic dGVzdC1rZXk=", "test-key", "Bearer test-key2"]
    )
    @pytest.mark.parametrize("path", ["/v1/models/m/status", "/v1/models/m/interpret", "/nowhere"])
    def test_everything_else_answers_401_without_one(
        self, server: LocalServer, header: str | None, path: str
    ) -> None:
        answer = httpx.get(
            server.base_url + path, headers={"Authorization": header} if header else {}, trust_env=False
        )
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert "test-key" not in answer.text

    def test_a_body_without_a_key_is_refused_unread(self, server: LocalServer) -> None:
        answer = httpx.post(f"{server.base_url}/v1/fit", content=b"{" * 100_000, trust_env=False)
        assert answer.status_code == 401

    def test_one_never_sees_the_models_of_another(self, server: LocalServer, trained: str) -> None:
        with server.client(SECOND_KEY) as other:
            for method, path in (
                ("GET", "status"),
                ("GET", "schema"),
                ("GET", "interpret"),
                ("GET", "segments"),
                ("DELETE", "job"),
            ):
                answer = other.request(method, f"/v1/models/{trained}/{path}")
                assert answer.status_code == 404, (path, answer.text)
            assert other.post(f"/v1/models/{trained}/predict", json={"samples": [[1]]}).status_code == 404
            assert fit(other, trained, data=records(seed=9))["status"] == "completed"

    def test_none_at_all_keeps_the_server_on_loopback(self, tmp_path: Path) -> None:
        command = [sys.executable, "-m", "airflow_provider_cleartrace.local.cli", "serve"]
        run = subprocess.run(
            [*command, "--data-dir", str(tmp_path / "data"), "--host", "0.0.0.0"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 2
        assert "loopback" in run.stderr


class TestUploads:
    @pytest.mark.parametrize(("file_format", "write"), [("csv", as_csv), ("parquet", as_parquet)])
    def test_a_file_trains_the_same_model_as_its_rows(
        self, client: httpx.Client, trained: str, file_format: str, write: Any
    ) -> None:
        model_id = f"from-{file_format}"
        upload(client, model_id, file_format, write(records()))
        assert fit(client, model_id, data=None)["status"] == "completed"
        rows = {"samples": [[30, 44.0, "Oslo"], [70, 20.0, None]], "feature_names": ["age", "income", "city"]}
        one = client.post(f"/v1/models/{model_id}/predict", json=rows).json()["predictions"]
        other = client.post(f"/v1/models/{trained}/predict", json=rows).json()["predictions"]
        assert one == pytest.approx(other, abs=1e-9)

    def test_status_of_an_id_that_only_has_a_url_is_pending(self, client: httpx.Client) -> None:
        answer = client.post("/v1/uploads", json={"file_format": "csv"}).json()
        assert re.fullmatch("m-[0-9a-f]{16}", answer["model_id"])
        assert answer["content_type"] == "text/csv"
        assert answer["expires_in"] == 3600
        status = client.get(f"/v1/models/{answer['model_id']}/status").json()
        assert (status["status"], status["job"]) == ("pending", "upload")
        assert (
            client.post(f"/v1/models/{answer['model_id']}/predict", json={"samples": [[1]]}).status_code
            == 409
        )

    @pytest.mark.parametrize(
        ("what", "pattern", "replacement"),
        [
            ("signature", r"signature=.", "signature=x"),
            ("expiry", r"expires=(\d+)", r"expires=\g<1>0"),
            ("format", "format=csv", "format=parquet"),
            ("unknown format", "format=csv", "format=exe"),
            ("model id", "/tampered", "/trained"),
            ("owner", r"/uploads/[0-9a-f]{4}", "/uploads/0000"),
            ("expiry as text", r"expires=\d+", "expires=never"),
            ("no query", r"\?.*", ""),
        ],
    )
    def test_an_altered_url_is_refused(
        self, client: httpx.Client, what: str, pattern: str, replacement: str
    ) -> None:
        url = client.post("/v1/uploads", json={"file_format": "csv", "model_id": "tampered"}).json()[
            "upload_url"
        ]
        altered = re.sub(pattern, replacement, url, count=1)
        assert altered != url, what
        answer = httpx.put(altered, content=b"a\n1\n", headers={"Content-Type": "text/csv"}, trust_env=False)
        assert answer.status_code == 403

    def test_the_content_type_must_be_the_signed_one(self, client: httpx.Client) -> None:
        url = client.post("/v1/uploads", json={"file_format": "csv"}).json()["upload_url"]
        for headers in ({"Content-Type": "application/octet-stream"}, {}):
            assert httpx.put(url, content=b"a\n1\n", headers=headers, trust_env=False).status_code == 403

    def test_an_authorization_header_is_ignored(self, client: httpx.Client) -> None:
        url = client.post("/v1/uploads", json={"file_format": "csv"}).json()["upload_url"]
        headers = {"Content-Type": "text/csv", "Authorization": "Bearer nonsense"}
        assert httpx.put(url, content=b"a\n1\n", headers=headers, trust_env=False).status_code == 200

    def test_a_chunked_body_is_refused(self, client: httpx.Client) -> None:
        url = client.post("/v1/uploads", json={"file_format": "csv"}).json()["upload_url"]
        answer = httpx.put(
            url, content=iter([b"a\n1\n"]), headers={"Content-Type": "text/csv"}, trust_env=False
        )
        assert answer.status_code == 411

    def test_a_file_over_the_limit_is_refused(self, client: httpx.Client) -> None:
        url = client.post("/v1/uploads", json={"file_format": "csv"}).json()["upload_url"]
        answer = httpx.put(
            url, content=b"1" * 3_000_001, headers={"Content-Type": "text/csv"}, trust_env=False
        )
        assert answer.status_code == 413

    def test_the_url_expires(self, tmp_path: Path) -> None:
        with (
            LocalServer(tmp_path / "data", flags=("--upload-url-seconds", "1")) as short,
            short.client() as one,
        ):
            url = one.post("/v1/uploads", json={"file_format": "csv"}).json()["upload_url"]
            time.sleep(2.1)
            answer = httpx.put(url, content=b"a\n1\n", headers={"Content-Type": "text/csv"}, trust_env=False)
        assert answer.status_code == 403
        assert "expired" in answer.json()["detail"]

    def test_the_signing_secret_is_for_its_owner_alone(self, server: LocalServer) -> None:
        assert stat.S_IMODE((server.data_dir / "secret").stat().st_mode) == 0o600
        assert stat.S_IMODE(server.data_dir.stat().st_mode) & 0o077 == 0


RAGGED = b"age,income,approved\r\n1,2,0\r\n3,4\r\n5,6,1\r\n"


class TestBadInput:
    """Refused at the submit, with a text that names the thing, and no model left behind."""

    @pytest.mark.parametrize(
        ("body", "named"),
        [
            ({"target": "nowhere"}, "nowhere"),
            ({"feature_fields": ["age", "shoe_size"]}, "shoe_size"),
            ({"feature_fields": ["age", "approved"]}, "approved"),
            ({"n_hyperopt_step": 3}, "n_hyperopt_step"),
            ({"mode": "slow"}, "mode"),
            ({"feature_schema": {"shoe_size": {"dtype": "number"}}}, "shoe_size"),
            ({"feature_schema": {"age": "number"}}, "age"),
            ({"data": []}, "empty"),
            ({"data": [{}]}, "empty"),
            ({"data": [[1, 2], [3]], "target": [0, 1]}, "row 1"),
            ({"data": [{"a": 1, "approved": 0}, {"approved": 1}]}, "row 1"),
            ({"data": [[1, 2], {"a": 1}], "target": [0, 1]}, "row 1"),
            ({"data": [1, 2, 3]}, "row 0"),
            ({"data": [[[1]]], "target": [1]}, "feature_0"),
            ({"data": [[1], [2]], "target": [1]}, "1 values"),
            ({"target": [1, 2, 3]}, "3 values"),
            ({"target": "city", "task": "regression"}, "city"),
            ({"data": [*records(20), {**records(1)[0], "income": float("inf")}]}, "income"),
            ({"data": [{**row, "approved": 1} for row in records()]}, "approved"),
            ({"data": [{**row, "approved": None} for row in records()]}, "approved"),
            ({"data": [{**row, "age": 10**400} for row in records()]}, "1e308"),
            ({"data": [{**row, "city": "\ud800"} for row in records()]}, "Unicode"),
            ({"feature_fields": ["\ud800"]}, "ud800"),
            ({"data": records(3)}, "rows"),
            ({"data": [{"approved": row["approved"]} for row in records()]}, "feature"),
            ({"data": [{**row, "city": f"text {i}"} for i, row in enumerate(records(300))]}, "city"),
            ({"data": "rows"}, "row 0"),
            ({"target": 5}, "target"),
            ({"model_id": "../../etc"}, "model_id"),
            ({"data": None}, "bad-input"),
        ],
    )
    def test_a_bad_fit(self, client: httpx.Client, body: dict[str, Any], named: str) -> None:
        document = {"model_id": "bad-input", "data": records(), "target": "approved", **FAST, **body}
        answer = client.post(
            "/v1/fit", content=json.dumps(document), headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 422, answer.text
        assert named in answer.text
        assert "Traceback" not in answer.text
        assert client.get("/v1/models/bad-input/status").status_code == 404

    @pytest.mark.parametrize(
        ("file_format", "content", "body", "named"),
        [
            ("csv", b"", {}, "empty"),
            ("csv", b"age,approved\r\n", {}, "no rows"),
            ("csv", as_csv(records()), {"target": "nowhere"}, "nowhere"),
            ("csv", as_csv(records()), {"feature_fields": ["shoe_size"]}, "shoe_size"),
            ("csv", as_csv(records()), {"target": [0, 1]}, "target"),
            ("csv", b"\xff\xfe\x00\x01\n\x80\n", {}, "UTF-8"),
            ("csv", b"a,a,approved\n1,2,3\n", {}, "'a'"),
            ("csv", b",approved\n1,2\n", {}, "column 1"),
            ("parquet", b"", {}, "Parquet"),
            ("parquet", b"PAR1 this is none PAR1", {}, "Parquet"),
            ("parquet", as_parquet(records()), {"target": "nowhere"}, "nowhere"),
            ("parquet", as_parquet(records())[:-40], {}, "Parquet"),
            ("pkl", b"cos\nsystem\n(S'touch /tmp/owned'\ntR.", {}, "--allow-pickle"),
        ],
    )
    def test_a_bad_file(
        self, client: httpx.Client, file_format: str, content: bytes, body: dict[str, Any], named: str
    ) -> None:
        upload(client, "bad-file", file_format, content)
        answer = client.post("/v1/fit", json={"model_id": "bad-file", "target": "approved", **body})
        assert answer.status_code == 422, answer.text
        assert named in answer.text
        assert client.get("/v1/models/bad-file/status").json()["job"] == "upload"

    def test_a_ragged_csv_fails_the_job_and_names_the_row(self, client: httpx.Client) -> None:
        upload(client, "ragged", "csv", RAGGED)
        status = fit(client, "ragged", data=None)
        assert status["status"] == "failed"
        assert "row 3" in status["error"]
        answer = client.post("/v1/models/ragged/predict", json={"samples": [[1, 2]]})
        assert answer.status_code == 409
        assert "row 3" in answer.json()["detail"]

    def test_a_file_that_was_announced_and_never_came(self, client: httpx.Client) -> None:
        client.post("/v1/uploads", json={"file_format": "csv", "model_id": "never-came"})
        answer = client.post("/v1/fit", json={"model_id": "never-came", "target": "approved"})
        assert answer.status_code == 422
        assert "never-came" in answer.text

    @pytest.mark.parametrize(
        ("path", "body", "named"),
        [
            ("predict", {"samples": [[1, 2]]}, "2 values"),
            ("predict", {"samples": []}, "empty"),
            ("predict", {"samples": [[1, 2, "x"]], "feature_names": ["age", "income"]}, "2"),
            ("predict", {"samples": [[1, 2]], "feature_names": ["age", "income"]}, "city"),
            (
                "predict",
                {"samples": [[1, 2, "x", 3]], "feature_names": ["age", "income", "city", "hat"]},
                "hat",
            ),
            ("predict", {"samples": [["x", 2, "x"]]}, "age"),
            ("predict", {"samples": [[1, 2, "x"], [1, 2]]}, "row 1"),
            ("predict", {"samples": [[1, 2, "x"]], "sample": 1}, "sample"),
            ("explain", {"samples": [[1, 2, "x"]], "use_sqrt": "maybe"}, "use_sqrt"),
            ("predict_and_explain", {"samples": [[1, 2, "x"]], "rule_kwargs": {"model": 1}}, "model"),
            ("scenario", {"queries": [{"age": 1, "hat": 2}]}, "hat"),
            ("scenario", {"queries": [{"age": 1}], "constraints": {"hat": {"immutable": True}}}, "hat"),
            ("scenario", {"queries": [{"age": 1}], "constraints": {"age": {"frozen": True}}}, "frozen"),
            ("scenario", {"queries": [{"age": 1}], "desired_class": 7}, "desired_class"),
            ("scenario", {"queries": [{"age": 1}], "random_state": -1}, "random_state"),
            ("segments", {"min_clusters": 5, "max_clusters": 3}, "min_clusters"),
            ("segments", {"n_clusters": 5}, "n_clusters"),
            ("segments", {"data": [[1, 2, "x"]], "target_values": [1, 2]}, "target_values"),
            ("narrative", {"data": [{"age": 1}], "kpi_name": "approval"}, "income"),
            ("narrative", {"data": [{"age": 1}]}, "kpi_name"),
        ],
    )
    def test_bad_rows_for_a_model(
        self, client: httpx.Client, trained: str, path: str, body: dict[str, Any], named: str
    ) -> None:
        answer = client.post(f"/v1/models/{trained}/{path}", json=body)
        assert answer.status_code == 422, answer.text
        assert named in answer.text

    def test_an_unknown_key_is_named_without_echoing_values(self, client: httpx.Client) -> None:
        answer = client.post("/v1/uploads", json={"file_format": "csv", "file_fromat": "secret-value"})
        assert answer.status_code == 422
        assert answer.json()["detail"][0]["loc"] == ["body", "file_fromat"]
        assert "secret-value" not in answer.text

    def test_a_body_that_is_no_json(self, client: httpx.Client) -> None:
        answer = client.post("/v1/fit", content=b"{", headers={"Content-Type": "application/json"})
        assert answer.status_code == 422

    def test_a_body_over_the_limit_is_413_with_and_without_its_length(self, client: httpx.Client) -> None:
        headers = {"Content-Type": "application/json"}
        for content in (b" " * 2_000_001, iter([b" " * 1_000_001] * 2)):
            answer = client.post("/v1/fit", content=content, headers=headers)
            assert answer.status_code == 413
            assert "upload" in answer.json()["detail"]

    @pytest.mark.parametrize("path", ["status", "schema", "interpret", "segments", "narrative"])
    def test_an_unknown_model_is_404(self, client: httpx.Client, path: str) -> None:
        assert client.get(f"/v1/models/nobody/{path}").status_code == 404


class TestAnswers:
    def test_the_same_rows_predict_alike_by_name_by_position_and_as_records(
        self, client: httpx.Client, trained: str
    ) -> None:
        rows = [[30, 44.0, "Oslo"], [70, 20.5, "Lima"]]
        bodies = [
            {"samples": rows},
            {"samples": rows, "feature_names": ["age", "income", "city"]},
            {"samples": [row[::-1] for row in rows], "feature_names": ["city", "income", "age"]},
            {"samples": [dict(zip(["age", "income", "city"], row, strict=True)) for row in rows]},
        ]
        answers = [
            client.post(f"/v1/models/{trained}/predict", json=body).json()["predictions"] for body in bodies
        ]
        assert all(answer == answers[0] for answer in answers)

    def test_explain_agrees_with_predict_and_names_the_features(
        self, client: httpx.Client, trained: str
    ) -> None:
        rows = {"samples": [[30, 44.0, "Oslo"], [None, 20.5, "Atlantis"]]}
        predicted = client.post(f"/v1/models/{trained}/predict", json=rows).json()["predictions"]
        explained = client.post(f"/v1/models/{trained}/explain", json=rows).json()
        assert explained["predictions"] == pytest.approx(predicted)
        assert explained["feature_names"] == ["age", "income", "city"]
        assert len(explained["local_agop"]) == len(explained["local_drivers"]) == 2

    def test_rules_come_one_list_a_row_and_only_on_demand(self, client: httpx.Client, trained: str) -> None:
        rows = {"samples": [[30, 44.0, "Oslo"], [40, 80.0, "Lima"]]}
        path = f"/v1/models/{trained}/predict_and_explain"
        assert client.post(path, json=rows).json()["local_rules"] is None
        rules = client.post(path, json={**rows, "rule_kwargs": {}}).json()["local_rules"]
        assert len(rules) == 2
        assert {"text", "conditions", "support", "confidence", "lift", "coverage"} <= set(rules[1][0])

    def test_interpret_sums_to_one_and_finds_the_driver(self, client: httpx.Client, trained: str) -> None:
        answer = client.get(f"/v1/models/{trained}/interpret").json()
        drivers = dict(zip(answer["feature_names"], answer["global_drivers"], strict=True))
        assert sum(drivers.values()) == pytest.approx(1)
        assert max(drivers, key=lambda name: drivers[name]) == "income"

    def test_the_schema_says_what_was_learned_and_what_is_explained(
        self, client: httpx.Client, trained: str
    ) -> None:
        schema = client.get(f"/v1/models/{trained}/schema").json()
        assert schema["feature_names"] == ["age", "income", "city"]
        assert schema["columns"]["city"]["categories"] == ["Lima", "Oslo", "Turin"]
        assert schema["columns"]["age"]["dtype"] == "integer"
        assert schema["target"] == "approved"
        assert schema["task"] == "binary"
        assert "class 1" in schema["explained"]
        assert schema["config"]["mode"] == "fast"
        assert schema["metrics"]["training_rows"] > 0

    def test_a_scenario_takes_absent_columns_as_missing(self, client: httpx.Client, trained: str) -> None:
        body = {"queries": [{"age": 40, "income": 20.0}], "constraints": {"age": {"immutable": True}}}
        (result,) = client.post(f"/v1/models/{trained}/scenario", json=body).json()["results"]
        assert not result["already_at_desired_class"]
        assert result["scenario_count"] == len(result["scenarios"]) > 0
        first = result["scenarios"][0]
        assert first["prediction"] >= 0.5
        assert first["changes"]["income"]["from"] == 20.0
        assert "age" not in first["changes"]

    def test_arrays_train_with_names_of_their_own(self, client: httpx.Client) -> None:
        rows = records()
        data = [[row["age"], row["income"]] for row in rows]
        assert (
            fit(client, "array", data=data, target=[row["approved"] for row in rows])["status"] == "completed"
        )
        schema = client.get("/v1/models/array/schema").json()
        assert schema["feature_names"] == ["feature_0", "feature_1"]

    def test_dates_booleans_and_gaps_survive_both_ways(self, client: httpx.Client) -> None:
        rows = [
            {
                **row,
                "since": f"20{10 + i % 14}-0{1 + i % 9}-15",
                "owner": i % 3 == 0,
                "income": None if i % 7 == 0 else row["income"],
            }
            for i, row in enumerate(records())
        ]
        upload(client, "typed", "parquet", as_parquet(rows))
        assert fit(client, "typed", data=None)["status"] == "completed"
        columns = client.get("/v1/models/typed/schema").json()["columns"]
        assert (columns["since"]["dtype"], columns["owner"]["dtype"]) == ("datetime", "boolean")
        assert columns["income"]["missing_share"] > 0
        sample = [{"age": 4, "income": None, "city": None, "since": None, "owner": None}]
        answer = client.post("/v1/models/typed/predict", json={"samples": sample})
        assert answer.status_code == 200, answer.text

    def test_the_documents_need_nothing_from_elsewhere(self, server: LocalServer) -> None:
        document = httpx.get(f"{server.base_url}/openapi.json", trust_env=False).json()
        assert "/v1/models/{model_id}/predict" in document["paths"]
        page = httpx.get(f"{server.base_url}/docs", trust_env=False).text
        assert "predict_and_explain" in page
        assert not re.search(r"(src|href)=\"?(https?:)?//", page)


class TestAnalyses:
    def test_never_asked_for_is_404_and_another_job_has_its_own_status(
        self, client: httpx.Client, trained: str
    ) -> None:
        assert client.get(f"/v1/models/{trained}/status", params={"job": "fit"}).json()["job"] == "fit"
        assert client.get(f"/v1/models/{trained}/status", params={"job": "upload"}).status_code == 404

    def test_segments_and_narrative_of_german_credit(self, client: httpx.Client) -> None:
        with GERMAN_CREDIT.open(newline="") as file:
            rows = [
                {k: int(v) if v.isdigit() else v for k, v in row.items()} for row in csv.DictReader(file)
            ][:400]
        assert fit(client, "german", data=rows, target="good_credit")["status"] == "completed"
        assert client.get("/v1/models/german/segments").status_code == 404
        assert client.get("/v1/models/german/narrative").status_code == 404
        submitted = client.post("/v1/models/german/segments", json={"n_search_steps": 6})
        assert submitted.status_code == 200, submitted.text
        early = client.get("/v1/models/german/segments")
        assert early.status_code in (200, 202)
        assert wait(client, "german", "segment")["status"] == "completed"
        segments = client.get("/v1/models/german/segments").json()
        assert len(segments["cluster_ids"]) == 400
        assert 4 <= segments["n_clusters"] <= 10
        assert 0 <= segments["quality"] <= 1
        names = {persona["cluster_id"]: persona["persona_name"] for persona in segments["personas"]}
        samples = [{k: v for k, v in row.items() if k != "good_credit"} for row in rows]
        explained = client.post(
            "/v1/models/german/predict_and_explain", json={"samples": samples, "with_persona": True}
        ).json()
        assert explained["persona_cluster_id"] == segments["cluster_ids"]
        assert explained["persona"] == [names[cluster] for cluster in segments["cluster_ids"]]
        body = {"data": rows, "kpi_name": "repayment"}
        assert client.post("/v1/models/german/narrative", json=body).status_code == 200
        assert wait(client, "german", "narrative")["status"] == "completed"
        assert "repayment" in client.get("/v1/models/german/narrative").json()["narrative"]
        assert wait(client, "german", "fit")["job"] == "fit"

    def test_personas_need_no_segmentation(self, client: httpx.Client, trained: str) -> None:
        answer = client.post(
            f"/v1/models/{trained}/predict_and_explain",
            json={"samples": [[30, 44.0, "Oslo"]], "with_persona": True},
        )
        assert answer.status_code == 200, answer.text
        assert isinstance(answer.json()["persona"][0], str)

    def test_a_model_trained_anew_forgets_its_segments(self, client: httpx.Client) -> None:
        fit(client, "anew")
        client.post("/v1/models/anew/segments", json={"n_search_steps": 2})
        assert wait(client, "anew", "segment")["status"] == "completed"
        fit(client, "anew", data=records(seed=3))
        assert client.get("/v1/models/anew/segments").status_code == 404


class TestJobs:
    def test_the_same_submit_is_the_same_job(self, client: httpx.Client, teacher: Teacher) -> None:
        teacher.open.clear()
        first = teacher.distil(client, "same").json()
        teacher.wait_for_a_call()
        assert teacher.distil(client, "same").json()["job_id"] == first["job_id"]
        teacher.open.set()
        assert wait(client, "same")["status"] == "completed"
        again = teacher.distil(client, "same").json()
        assert (again["job_id"], again["status"]) == (first["job_id"], "completed")
        assert len(teacher.calls) == 1

    def test_other_work_under_a_busy_id_is_409(self, client: httpx.Client, teacher: Teacher) -> None:
        teacher.open.clear()
        teacher.distil(client, "busy")
        teacher.wait_for_a_call()
        body = {"model_id": "busy", "data": records(), "target": "approved", **FAST}
        answer = client.post("/v1/fit", json=body)
        assert answer.status_code == 409
        assert "busy" in answer.json()["detail"]
        predict = client.post("/v1/models/busy/predict", json={"samples": [[1, 2, "x"]]})
        assert predict.status_code == 409
        assert "running" in predict.json()["detail"]
        teacher.open.set()
        assert wait(client, "busy")["status"] == "completed"

    def test_the_old_model_answers_until_the_new_one_is_complete(
        self, client: httpx.Client, teacher: Teacher
    ) -> None:
        fit(client, "replaced")
        rows = {"samples": [[30, 44.0, "Oslo"]]}
        before = client.post("/v1/models/replaced/predict", json=rows).json()
        teacher.open.clear()
        teacher.distil(client, "replaced")
        teacher.wait_for_a_call()
        assert client.post("/v1/models/replaced/predict", json=rows).json() == before
        teacher.open.set()
        wait(client, "replaced")
        assert client.post("/v1/models/replaced/predict", json=rows).json() != before

    def test_a_failed_retraining_keeps_the_old_model(self, client: httpx.Client, teacher: Teacher) -> None:
        fit(client, "kept")
        rows = {"samples": [[30, 44.0, "Oslo"]]}
        before = client.post("/v1/models/kept/predict", json=rows).json()
        teacher.answer = {"predictions": [0.5]}
        teacher.distil(client, "kept")
        assert wait(client, "kept")["status"] == "failed"
        assert client.post("/v1/models/kept/predict", json=rows).json() == before

    def test_a_running_job_can_be_cancelled(
        self, server: LocalServer, client: httpx.Client, teacher: Teacher
    ) -> None:
        teacher.open.clear()
        teacher.distil(client, "cancelled")
        teacher.wait_for_a_call()
        answer = client.delete("/v1/models/cancelled/job").json()
        assert (answer["status"], answer["error"]) == ("failed", "cancelled")
        wait_until_empty(server.data_dir / "jobs")
        teacher.open.set()
        assert wait(client, "cancelled")["error"] == "cancelled"
        assert client.delete("/v1/models/cancelled/job").json()["error"] == "cancelled"

    def test_a_full_queue_says_when_to_come_back(self, tmp_path: Path, teacher: Teacher) -> None:
        flags = ("--workers", "1", "--queue-length", "1", *TO_LOOPBACK)
        with LocalServer(tmp_path / "data", flags=flags) as small, small.client() as one:
            teacher.open.clear()
            teacher.distil(one, "runs")
            teacher.wait_for_a_call()
            assert teacher.distil(one, "waits").status_code == 200
            full = teacher.distil(one, "too-many")
            assert full.status_code == 429
            assert int(full.headers["Retry-After"]) > 0
            assert one.get("/v1/models/too-many/status").status_code == 404
            assert one.get("/v1/models/waits/status").json()["status"] == "pending"
            assert one.delete("/v1/models/waits/job").json()["error"] == "cancelled"

    def test_a_job_over_its_time_is_stopped(self, tmp_path: Path, teacher: Teacher) -> None:
        with (
            LocalServer(tmp_path / "data", flags=("--job-seconds", "1", *TO_LOOPBACK)) as hasty,
            hasty.client() as one,
        ):
            teacher.open.clear()
            teacher.distil(one, "slow")
            status = wait(one, "slow")
        assert status["status"] == "failed"
        assert "--job-seconds" in status["error"]

    def test_a_job_over_its_memory_fails_with_the_limit_named(self, tmp_path: Path) -> None:
        flags = ("--job-memory-bytes", str(250 * 2**20), "--max-body-bytes", str(2**28))
        with LocalServer(tmp_path / "data", flags=flags) as tight, tight.client() as one:
            draw = random.Random(1)
            data = [[draw.random() for _ in range(5)] for _ in range(6000)]
            body = {"model_id": "big", "data": data, "target": [row[0] for row in data], **FAST}
            assert one.post("/v1/fit", json=body).status_code == 200
            status = wait(one, "big")
            assert status["status"] == "failed"
            assert "memory" in status["error"]
            assert one.get("/health").status_code == 200


class TestDistil:
    def test_the_teacher_is_asked_with_its_headers_and_only_the_features(
        self, client: httpx.Client, teacher: Teacher
    ) -> None:
        labels = [row["approved"] for row in records()]
        answer = teacher.distil(client, "student", predict_headers={"X-Key": "teacher-secret"}, labels=labels)
        assert answer.status_code == 200, answer.text
        assert wait(client, "student")["status"] == "completed"
        (call,) = teacher.calls
        assert call["feature_names"] == ["age", "income", "city"]
        assert len(call["samples"]) == 60
        assert teacher.headers[0]["X-Key"] == "teacher-secret"
        schema = client.get("/v1/models/student/schema").json()
        assert schema["fidelity"]["r2"] > 0.5

    def test_a_bare_list_is_an_answer_too(self, client: httpx.Client, teacher: Teacher) -> None:
        teacher.answer = [row["income"] / 100 for row in records()]
        teacher.distil(client, "bare")
        assert wait(client, "bare")["status"] == "completed"

    def test_a_passing_failure_is_asked_again(self, client: httpx.Client, teacher: Teacher) -> None:
        teacher.statuses = [503]
        teacher.distil(client, "passing")
        assert wait(client, "passing")["status"] == "completed"
        assert len(teacher.calls) == 2

    @pytest.mark.parametrize(
        ("answer", "named"),
        [
            ({"predictions": [0.5]}, "1 predictions"),
            ({"predictions": [None] * 60}, "missing"),
            ({"predictions": ["high"] * 60}, "numbers"),
            ({"scores": []}, "predictions"),
            ("text", "predictions"),
        ],
    )
    def test_an_answer_that_is_none_fails_the_job(
        self, client: httpx.Client, teacher: Teacher, answer: Any, named: str
    ) -> None:
        teacher.answer = answer
        teacher.distil(client, "no-answer")
        status = wait(client, "no-answer")
        assert status["status"] == "failed"
        assert named in status["error"]

    def test_a_refusal_fails_at_once_without_the_url(self, client: httpx.Client, teacher: Teacher) -> None:
        teacher.statuses = [403]
        teacher.distil(client, "refused")
        status = wait(client, "refused")
        assert "HTTP 403" in status["error"]
        assert "query-secret" not in json.dumps(status)
        assert len(teacher.calls) == 1

    def test_a_predict_url_of_another_scheme_is_422(self, client: httpx.Client) -> None:
        body = {"model_id": "scheme", "data": records(), "predict_url": "file:///etc/passwd"}
        answer = client.post("/v1/fit_distill", json=body)
        assert answer.status_code == 422
        assert "predict_url" in answer.text

    @pytest.mark.parametrize("host", ["localhost", "2130706433", "[::1]", "169.254.169.254", "10.0.0.1"])
    def test_an_address_inside_is_422_unless_the_operator_named_it(
        self, client: httpx.Client, host: str
    ) -> None:
        body = {"model_id": "inside", "data": records(), "predict_url": f"http://{host}:9/predict"}
        answer = client.post("/v1/fit_distill", json=body)
        assert answer.status_code == 422
        assert "--allow-predict-host" in answer.json()["detail"]
        assert client.get("/v1/models/inside/status").status_code == 404

    def test_a_redirect_is_not_followed(self, client: httpx.Client, teacher: Teacher) -> None:
        teacher.statuses = [307]
        teacher.distil(client, "redirected")
        assert "HTTP 307" in wait(client, "redirected")["error"]
        assert len(teacher.calls) == 1


def descendants(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == pid:
                found += [int(entry.name), *descendants(int(entry.name))]
    return found


def is_alive(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class TestKilledServer:
    def test_jobs_are_taken_up_again_and_workers_die_with_it(self, tmp_path: Path, teacher: Teacher) -> None:
        server = LocalServer(tmp_path / "data", flags=("--workers", "1", *TO_LOOPBACK))
        with server.start(), server.client() as client:
            assert fit(client, "done")["status"] == "completed"
            rows = {"samples": [[30, 44.0, "Oslo"]]}
            before = client.post("/v1/models/done/predict", json=rows).json()
            teacher.open.clear()
            interrupted = teacher.distil(client, "interrupted").json()
            teacher.wait_for_a_call()
            waiting = teacher.distil(client, "waiting").json()
            assert server.process is not None
            workers = descendants(server.process.pid)
            assert workers
            server.kill()
            deadline = time.monotonic() + 10
            while any(is_alive(pid) for pid in workers):
                assert time.monotonic() < deadline, "a worker outlived its server"
                time.sleep(0.05)
            server.start()
            assert client.post("/v1/models/done/predict", json=rows).json() == before
            assert client.get("/v1/models/waiting/status").json()["status"] == "pending"
            teacher.wait_for_a_call(2)
            assert teacher.distil(client, "interrupted").json()["job_id"] == interrupted["job_id"]
            teacher.open.set()
            for name, job in (("interrupted", interrupted), ("waiting", waiting)):
                status = wait(client, name)
                assert (status["status"], status["job_id"]) == ("completed", job["job_id"])
            assert len(teacher.calls) == 3

    def test_random_kills_lose_and_double_nothing(self, tmp_path: Path) -> None:
        draw = random.Random(11)
        server = LocalServer(tmp_path / "data").start()
        submitted: dict[str, str] = {}
        with server, server.client() as client:
            for turn in range(3):
                for number in range(3):
                    name = f"m-{turn}-{number}"
                    body = {"model_id": name, "data": records(40 + number), "target": "approved", **FAST}
                    submitted[name] = client.post("/v1/fit", json=body).json()["job_id"]
                time.sleep(draw.uniform(0, 0.6))
                server.kill()
                server.start()
            for name, job_id in submitted.items():
                status = wait(client, name)
                assert (status["status"], status["job_id"]) == ("completed", job_id)
                samples = {"samples": [[30, 44.0, "Oslo"]]}
                assert client.post(f"/v1/models/{name}/predict", json=samples).status_code == 200
            assert len(list((server.data_dir / "artefacts").iterdir())) == len(submitted)
            wait_until_empty(server.data_dir / "jobs")

    def test_a_stopped_server_keeps_its_jobs(self, tmp_path: Path, teacher: Teacher) -> None:
        server = LocalServer(tmp_path / "data", flags=("--drain-seconds", "1", *TO_LOOPBACK))
        with server.start(), server.client() as client:
            teacher.open.clear()
            teacher.distil(client, "stopped")
            teacher.wait_for_a_call()
            server.stop()
            assert '"jobs were interrupted' in server.log.read_text()
            server.start()
            teacher.open.set()
            assert wait(client, "stopped")["status"] == "completed"

    def test_a_running_job_finishes_before_the_server_ends_and_a_waiting_one_waits_on(
        self, tmp_path: Path, teacher: Teacher
    ) -> None:
        server = LocalServer(tmp_path / "data", flags=("--workers", "1", *TO_LOOPBACK))
        with server.start(), server.client() as client:
            teacher.open.clear()
            teacher.distil(client, "drained")
            teacher.wait_for_a_call()
            teacher.distil(client, "waits")
            assert server.process is not None
            server.process.terminate()
            time.sleep(0.5)
            assert server.process.poll() is None
            with pytest.raises(httpx.ConnectError), server.client() as late:
                late.get("/health")
            teacher.open.set()
            assert server.process.wait(8) is not None
            calls = len(teacher.calls)
            assert calls == 1
            server.start()
            assert wait(client, "drained")["status"] == "completed"
            assert wait(client, "waits")["status"] == "completed"
            assert len(teacher.calls) == 2

    def test_a_second_signal_ends_the_wait(self, tmp_path: Path, teacher: Teacher) -> None:
        server = LocalServer(tmp_path / "data", flags=("--drain-seconds", "60", *TO_LOOPBACK))
        with server.start(), server.client() as client:
            teacher.open.clear()
            teacher.distil(client, "hurried")
            teacher.wait_for_a_call()
            assert server.process is not None
            server.process.terminate()
            time.sleep(0.5)
            server.process.terminate()
            assert server.process.wait(5) is not None

    def test_an_idle_server_ends_at_once(self, tmp_path: Path) -> None:
        server = LocalServer(tmp_path / "data").start()
        started = time.monotonic()
        server.stop()
        assert time.monotonic() - started < 2

    def test_two_servers_never_share_a_data_directory(self, server: LocalServer) -> None:
        second = LocalServer(server.data_dir)
        second.log = server.data_dir.parent / "second.log"
        with pytest.raises(RuntimeError, match="another cleartrace-local"):
            second.start()


class TestMetrics:
    def test_they_count_requests_and_jobs_without_names(
        self, server: LocalServer, client: httpx.Client, trained: str
    ) -> None:
        client.get(f"/v1/models/{trained}/status")
        answer = client.get("/metrics")
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        sample = re.compile(r"[a-z_]+(\{[a-z]+=\"\w+\"(,[a-z]+=\"\w+\")*\})? [0-9.e+-]+")
        figures = [line for line in answer.text.splitlines() if not line.startswith("# ")]
        assert all(sample.fullmatch(line) for line in figures), figures
        told = dict(line.rsplit(" ", 1) for line in figures)
        assert float(told['cleartrace_requests_total{operation="status",status="200"}']) >= 1
        assert float(told['cleartrace_jobs{kind="fit",state="completed"}']) >= 1
        assert float(told['cleartrace_job_seconds_total{kind="fit"}']) > 0
        assert float(told["process_resident_memory_bytes"]) > 2**20
        assert "cleartrace_queue_length" in told
        assert trained not in answer.text

    def test_they_need_a_key(self, server: LocalServer) -> None:
        assert httpx.get(f"{server.base_url}/metrics", trust_env=False).status_code == 401


class TestSecrets:
    def test_no_key_signature_header_or_row_is_logged_or_kept(
        self, server: LocalServer, client: httpx.Client, teacher: Teacher
    ) -> None:
        rows = [{**row, "city": "Reykjavik-canary" if i % 2 else "Oslo"} for i, row in enumerate(records())]
        upload(client, "canary", "csv", as_csv(rows))
        url = client.post("/v1/uploads", json={"file_format": "csv", "model_id": "canary"}).json()[
            "upload_url"
        ]
        signature = urlsplit(url).query.rpartition("signature=")[2]
        httpx.put(url, content=as_csv(rows), headers={"Content-Type": "text/csv"}, trust_env=False)
        fit(client, "canary", data=None)
        teacher.distil(client, "canary-student", predict_headers={"X-Key": "header-canary"})
        wait(client, "canary-student")
        teacher.statuses = [403]
        teacher.distil(client, "canary-refused", predict_headers={"X-Key": "header-canary"})
        wait(client, "canary-refused")
        wait_until_empty(server.data_dir / "jobs")
        log = server.log.read_text()
        for secret in (
            "test-key",
            SECOND_KEY,
            signature,
            "header-canary",
            "query-secret",
            "Reykjavik-canary",
        ):
            assert secret not in log
        assert server.process is not None
        command = (Path("/proc") / str(server.process.pid) / "cmdline").read_bytes()
        assert b"test-key" not in command
        for folder, _, names in os.walk(server.data_dir):
            for name in names:
                content = (Path(folder) / name).read_bytes()
                assert b"header-canary" not in content, name
                assert b"query-secret" not in content, name


class TestFailingTeachers:
    def test_every_row_is_asked_for_once_in_batches_of_five_hundred(
        self, client: httpx.Client, teacher: Teacher
    ) -> None:
        data = [{"age": row % 50, "income": float(row % 97)} for row in range(1100)]
        body = {"model_id": "batches", "data": data, "predict_url": teacher.url, **FAST}
        assert client.post("/v1/fit_distill", json=body).status_code == 200
        assert wait(client, "batches")["status"] == "completed"
        assert [len(call["samples"]) for call in teacher.calls] == [500, 500, 100]
        asked = [row for call in teacher.calls for row in call["samples"]]
        assert asked == [[row["age"], row["income"]] for row in data]

    def test_one_that_keeps_failing_is_given_up_and_no_model_is_left(
        self, client: httpx.Client, teacher: Teacher
    ) -> None:
        teacher.statuses = [500] * 4
        teacher.distil(client, "failing")
        status = wait(client, "failing")
        assert status["status"] == "failed"
        assert "HTTP 500" in status["error"]
        assert len(teacher.calls) == 4
        answer = client.post("/v1/models/failing/predict", json={"samples": [[1, 2.0, "Oslo"]]})
        assert answer.status_code == 409

    @pytest.mark.parametrize(
        ("answer", "named"),
        [([0.5] * 59 + [float("nan")], "missing"), ([0.5] * 61, "61 predictions were answered for 60 rows")],
    )
    def test_one_prediction_too_many_or_no_number_fails_the_job(
        self, client: httpx.Client, teacher: Teacher, answer: list[float], named: str
    ) -> None:
        teacher.answer = {"predictions": answer}
        teacher.distil(client, "off-by-one")
        status = wait(client, "off-by-one")
        assert status["status"] == "failed"
        assert named in status["error"]
