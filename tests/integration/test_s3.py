"""Data and results on S3: read from, and written to, an object store that speaks the real protocol."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer

from airflow_provider_cleartrace.operators.inference import ClearTraceExplainOperator
from airflow_provider_cleartrace.operators.training import ClearTraceFitOperator
from airflow_provider_cleartrace.storage.errors import StorageError
from airflow_provider_cleartrace.storage.locations import locate
from airflow_provider_cleartrace.storage.publishing import published
from tests.integration.airflow_tasks import context, run

CREDIT = Path(__file__).parents[2] / "example_dags" / "data" / "german_credit.csv"
BUCKET = "tables"

pytestmark = pytest.mark.usefixtures("connection")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A bucket, reached through boto3's own credential chain."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "canary-id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    client = boto3.client("s3")
    client.create_bucket(Bucket=BUCKET)
    return client


def keys(s3: Any) -> list[str]:
    return [entry["Key"] for entry in s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])]


@pytest.fixture
def data(s3: Any) -> str:
    s3.upload_file(str(CREDIT), BUCKET, "in/credit.csv")
    return f"s3://{BUCKET}/in/credit.csv"


def fit(data: str, **arguments: Any) -> Any:
    return ClearTraceFitOperator(
        task_id="fit", data=data, target="good_credit", config={"mode": "fast"}, **arguments
    )


def test_a_model_is_trained_on_an_object_and_explains_into_another(s3: Any, data: str) -> None:
    fitted = run(lambda: fit(data, deferrable=True), context("fit", run_id="s3"))
    explained = ClearTraceExplainOperator(
        task_id="explain",
        model_id=fitted["model_id"],
        data=data,
        output_uri=f"s3://{BUCKET}/out/explanations.parquet",
        batch_rows=300,
    ).execute(context())

    assert fitted["data"] == data
    assert fitted["fingerprint"].startswith("s3:")
    assert fitted["bytes"] == CREDIT.stat().st_size
    written = s3.get_object(Bucket=BUCKET, Key="out/explanations.parquet")["Body"].read()
    assert pq.read_table(io.BytesIO(written)).num_rows == explained["rows"] == 1000
    assert sorted(keys(s3)) == [
        "in/credit.csv",
        "out/.explanations.parquet.manifest.json",
        "out/explanations.parquet",
    ]
    assert "canary" not in json.dumps([fitted, explained])


def test_an_airflow_connection_leads_to_the_bucket(
    s3: Any, data: str, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("airflow.providers.amazon")
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv(
        "AIRFLOW_CONN_LAKE",
        json.dumps(
            {
                "conn_type": "aws",
                "login": "id",
                "password": "secret",
                "extra": {"endpoint_url": endpoint, "region_name": "us-east-1"},
            }
        ),
    )
    told = run(lambda: fit(data, aws_conn_id="lake"), context("fit", run_id="conn"))
    assert told["task"] == "binary"


def test_other_bytes_under_the_same_key_are_another_model(s3: Any, data: str) -> None:
    first = run(lambda: fit(data), context("fit", run_id="versions"))
    s3.put_object(Bucket=BUCKET, Key="in/credit.csv", Body=CREDIT.read_bytes()[: -len("\n")] + b"\n\n")
    second = run(lambda: fit(data), context("fit", run_id="versions"))
    assert first["fingerprint"] != second["fingerprint"]
    assert first["model_id"] != second["model_id"]


def test_a_write_that_fails_leaves_the_old_object_and_no_other(s3: Any) -> None:
    target = locate(f"s3://{BUCKET}/out/keep.txt")
    with published(target) as stream:
        stream.write(b"old")

    def fail_half_way() -> None:
        with published(target) as stream:
            stream.write(b"new")
            raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        fail_half_way()

    assert s3.get_object(Bucket=BUCKET, Key="out/keep.txt")["Body"].read() == b"old"
    assert [key for key in keys(s3) if key.startswith("out/keep")] == ["out/keep.txt"]


@pytest.mark.parametrize(
    ("uri", "complaint"),
    [
        (f"s3://{BUCKET}/none.csv", "none.csv: no such file"),
        ("s3://no-such-bucket/x.csv", "no-such-bucket"),
        ("s3://only-a-bucket.csv", "s3://bucket/key"),
        ("gs://bucket/x.csv", "gs:// is not supported"),
    ],
)
def test_a_place_that_is_not_there_is_named(s3: Any, uri: str, complaint: str) -> None:
    with pytest.raises(StorageError, match=complaint) as caught:
        run(lambda: fit(uri))
    assert "canary" not in str(caught.value)
