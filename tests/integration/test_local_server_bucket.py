"""ClearTrace Local with its uploads in a bucket: boto3 presigns, S3 receives, jobs read from there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from moto.server import ThreadedMotoServer

from tests.integration.local_server import LocalServer

CSV = "age,income,approved\r\n" + "".join(f"{20 + i},{(i * 37) % 91},{i % 2}\r\n" for i in range(50))
BUCKET = "uploads"


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module")
def bucket(s3: str) -> Any:
    credentials = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=s3, **credentials)
    client.create_bucket(Bucket=BUCKET)
    return client


@pytest.fixture(scope="module")
def client(s3: str, bucket: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    data_dir: Path = tmp_path_factory.mktemp("bucket") / "data"
    environment = {
        "AWS_ENDPOINT_URL": s3,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    server = LocalServer(data_dir, flags=("--upload-bucket", f"s3://{BUCKET}/in"))
    with server.start(environment), server.client() as opened:
        yield opened


def presigned(client: httpx.Client, model_id: str) -> dict[str, Any]:
    asked: dict[str, Any] = client.post(
        "/v1/uploads", json={"file_format": "csv", "model_id": model_id}
    ).json()
    return asked


def wait(client: httpx.Client, model_id: str) -> dict[str, Any]:
    while True:
        status: dict[str, Any] = client.get(f"/v1/models/{model_id}/status").json()
        if status["status"] in ("completed", "failed"):
            return status


def test_a_file_in_the_bucket_trains_a_model(client: httpx.Client) -> None:
    asked = presigned(client, "from-bucket")
    assert "X-Amz-SignedHeaders=content-type%3Bhost" in asked["upload_url"]
    assert asked["upload_key"].startswith("in/")
    put = httpx.put(asked["upload_url"], content=CSV, headers={"Content-Type": "text/csv"}, trust_env=False)
    assert put.status_code == 200
    answer = client.post("/v1/fit", json={"model_id": "from-bucket", "target": "approved", "mode": "fast"})
    assert answer.status_code == 200, answer.text
    assert wait(client, "from-bucket")["status"] == "completed"
    schema = client.get("/v1/models/from-bucket/schema").json()
    assert schema["feature_names"] == ["age", "income"]


def test_a_file_that_never_came_is_422(client: httpx.Client) -> None:
    presigned(client, "never-came")
    answer = client.post("/v1/fit", json={"model_id": "never-came", "target": "approved"})
    assert answer.status_code == 422
    assert "never-came" in answer.text


def test_a_wrong_target_is_seen_in_the_header(client: httpx.Client) -> None:
    asked = presigned(client, "wrong-target")
    httpx.put(asked["upload_url"], content=CSV, headers={"Content-Type": "text/csv"}, trust_env=False)
    answer = client.post("/v1/fit", json={"model_id": "wrong-target", "target": "nowhere"})
    assert answer.status_code == 422
    assert "nowhere" in answer.text


def test_a_bucket_that_does_not_answer_is_503(tmp_path: Path) -> None:
    environment = {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_MAX_ATTEMPTS": "1",
    }
    server = LocalServer(tmp_path / "data", flags=("--upload-bucket", f"s3://{BUCKET}"))
    with server.start(environment), server.client() as client:
        presigned(client, "no-bucket")
        answer = client.post("/v1/fit", json={"model_id": "no-bucket", "target": "approved"})
    assert answer.status_code == 503
    assert "bucket" in answer.json()["detail"]
