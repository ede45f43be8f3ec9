"""Data and results on S3: read from, and written to, an object store that speaks the real protocol."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from botocore.credentials import ReadOnlyCredentials
from moto.server import ThreadedMotoServer

from airflow_provider_cleartrace.api.errors import ValidationError
from airflow_provider_cleartrace.operators.inference import (
    ClearTraceExplainOperator,
    ClearTracePredictOperator,
)
from airflow_provider_cleartrace.operators.training import ClearTraceFitOperator, ClearTraceUploadOperator
from airflow_provider_cleartrace.storage import claims
from airflow_provider_cleartrace.storage.claims import Claim, Claimant, OutputInUseError
from airflow_provider_cleartrace.storage.errors import StorageError
from airflow_provider_cleartrace.storage.locations import Location, locate
from airflow_provider_cleartrace.storage.publishing import published
from airflow_provider_cleartrace.storage.s3 import S3Access
from tests.integration import explained_rows
from tests.integration.airflow_tasks import context, run
from tests.integration.killed_task import killed_at
from tests.integration.local_server import LocalServer
from tests.integration.row_server import RowServer, row_server

CREDIT = Path(__file__).parents[2] / "example_dags" / "data" / "german_credit.csv"
TABLE = b"".join(CREDIT.read_bytes().splitlines(keepends=True)[:201])
BUCKET = "tables"

pytestmark = pytest.mark.usefixtures("connection")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    # Buckets outlive the server, and other files of this process have their own.
    httpx.post(f"http://{host}:{port}/moto-api/reset", trust_env=False)
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A bucket, reached through boto3's own credential chain."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "canary-id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    client = boto3.client("s3")
    client.create_bucket(Bucket=BUCKET)
    return client


def keys(s3: Any) -> list[str]:
    return [entry["Key"] for entry in s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])]


@pytest.fixture
def data(s3: Any) -> str:
    s3.put_object(Bucket=BUCKET, Key="in/credit.csv", Body=TABLE)
    return f"s3://{BUCKET}/in/credit.csv"


class RewrittenBeforeItsUpload(ClearTraceFitOperator):
    """Somebody overwrites its object after the task has looked at it."""

    def bring(self, *arguments: Any, **named: Any) -> None:
        boto3.client("s3").put_object(Bucket=BUCKET, Key="in/credit.csv", Body=TABLE[::-1])
        super().bring(*arguments, **named)


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
        batch_rows=60,
    ).execute(context())

    assert fitted["data"] == data
    assert fitted["fingerprint"].startswith("s3:")
    assert fitted["bytes"] == len(TABLE)
    written = s3.get_object(Bucket=BUCKET, Key="out/explanations.parquet")["Body"].read()
    assert pq.read_table(io.BytesIO(written)).num_rows == explained["rows"] == 200
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
    s3.put_object(Bucket=BUCKET, Key="in/credit.csv", Body=TABLE + b"\n")
    second = run(lambda: fit(data), context("fit", run_id="versions"))
    assert first["fingerprint"] != second["fingerprint"]
    assert first["model_id"] != second["model_id"]


def test_an_object_is_uploaded_once_with_its_checksum(s3: Any, data: str) -> None:
    upload = ClearTraceUploadOperator(task_id="upload", data=data)
    first, second = (upload.execute(context("upload", run_id="once")) for _ in range(2))
    assert first["sha256"] == hashlib.sha256(TABLE).hexdigest()
    assert (first["bytes"], first["skipped"]) == (len(TABLE), False)
    assert (second["model_id"], second["skipped"]) == (first["model_id"], True)


def test_an_object_that_is_overwritten_meanwhile_is_not_trained_on(
    s3: Any, data: str, connection: LocalServer
) -> None:
    task = RewrittenBeforeItsUpload(task_id="fit", data=data, target="good_credit", model_id="overwritten")
    with pytest.raises(StorageError, match=r"s3://tables/in/credit.csv: the file was changed"):
        task.execute(context("fit"))
    with connection.client() as client:
        assert client.get("/v1/models/overwritten/status?job=fit").status_code == 404


def test_a_file_of_more_than_five_gigabytes_is_refused_before_a_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = {"conn_type": "cleartrace", "host": "http://127.0.0.1:9", "extra": {"max_retries": 0}}
    monkeypatch.setenv("AIRFLOW_CONN_CLEARTRACE_DEFAULT", json.dumps(nobody))
    with (tmp_path / "huge.parquet").open("wb") as file:
        file.truncate(5 * 1024**3 + 1)
    with pytest.raises(ValidationError, match=r"huge\.parquet.*at most 5368709120"):
        ClearTraceUploadOperator(task_id="upload", data=str(tmp_path / "huge.parquet")).execute(context())


class TestExports:
    """The same promises on S3 as on a disk, with the cheap model of the row tests."""

    @pytest.fixture
    def server(self, s3: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[RowServer]:
        for key in keys(s3):
            s3.delete_object(Bucket=BUCKET, Key=key)
        with row_server({"x": {"dtype": "number"}}) as served:
            told = {"conn_type": "cleartrace", "host": served.url, "password": "canary-key"}
            monkeypatch.setenv("AIRFLOW_CONN_CLEARTRACE_DEFAULT", json.dumps(told))
            rows = pa.table({"x": [float(number) for number in range(500)]})
            for part in range(2):
                sink = io.BytesIO()
                pq.write_table(rows.slice(part * 250, 250), sink)
                s3.put_object(Bucket=BUCKET, Key=f"rows/part-{part}.parquet", Body=sink.getvalue())
            yield served

    def predict(self, output: str, data: str = f"s3://{BUCKET}/rows/", **arguments: Any) -> dict[str, Any]:
        operator = ClearTracePredictOperator(
            task_id="t", model_id="m", data=data, output_uri=output, batch_rows=50, part_rows=100, **arguments
        )
        return dict(operator.execute(context()))

    def read(self, s3: Any, output: str) -> list[float]:
        """Predictions as a reader finds them who goes by the manifest of a folder."""
        key = output.removeprefix(f"s3://{BUCKET}/")
        names = [key]
        if key.endswith("/"):
            manifest = json.loads(s3.get_object(Bucket=BUCKET, Key=f"{key}_SUCCESS")["Body"].read())
            names = [key + entry["name"] for entry in manifest["files"]]
            assert sorted(names) == sorted(name for name in keys(s3) if name.startswith(f"{key}part-"))
        bodies = [s3.get_object(Bucket=BUCKET, Key=name)["Body"].read() for name in names]
        tables = [pq.read_table(io.BytesIO(body)) for body in bodies]
        return [value for table in tables for value in table["prediction"].to_pylist()]

    @pytest.mark.parametrize("name", ["o.parquet", "o/"])
    def test_a_re_run_replaces_the_whole_and_leaves_nothing_else(
        self, s3: Any, server: RowServer, name: str
    ) -> None:
        output = f"s3://{BUCKET}/out/{name}"
        told = self.predict(output)
        assert self.read(s3, output) == [number / 1000 for number in range(500)]
        assert told["rows_written"] == 500
        self.predict(output, data=f"s3://{BUCKET}/rows/#rows=0-150")
        assert self.read(s3, output) == [number / 1000 for number in range(150)]
        assert not [key for key in keys(s3) if ".tmp" in key]

    def test_an_export_is_the_data_of_the_next_task(self, s3: Any, server: RowServer) -> None:
        self.predict(f"s3://{BUCKET}/p/", columns=["*"])
        s3.put_object(Bucket=BUCKET, Key="p/part-00009-000000000000.parquet", Body=b"left by somebody")
        told = self.predict(
            f"s3://{BUCKET}/q/", f"s3://{BUCKET}/p/", id_columns=["row"], filter=["prediction", "<", 0.1]
        )
        assert (told["rows"], told["rows_written"]) == (500, 100)

    @pytest.mark.parametrize("name", ["o.parquet", "o/"])
    def test_a_killed_task_leaves_the_old_output_or_none_and_the_next_try_completes(
        self, s3: Any, server: RowServer, name: str
    ) -> None:
        output = f"s3://{BUCKET}/out/{name}"
        self.predict(output, data=f"s3://{BUCKET}/rows/#rows=0-100")
        killed_at(9, server, self.predict, output)
        assert self.read(s3, output) == [number / 1000 for number in range(100)]
        server.requests.clear()
        self.predict(output)
        assert self.read(s3, output) == [number / 1000 for number in range(500)]
        assert len(server.requests) < 10, "finished parts were reused"

    def test_a_publication_that_was_cut_short_is_completed(
        self, s3: Any, server: RowServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        output = f"s3://{BUCKET}/out/"
        self.predict(output, data=f"s3://{BUCKET}/rows/#rows=0-100")
        moved: list[str] = []
        move = Location.move

        def fail_at_the_third(self: Location, target: Location) -> None:
            if ".tmp/" not in target.uri:  # parts are moved as well, while they are written
                moved.append(target.uri)
                if len(moved) == 3:
                    raise StorageError("the network is gone")
            move(self, target)

        monkeypatch.setattr(Location, "move", fail_at_the_third)
        with pytest.raises(StorageError, match="network"):
            self.predict(output)
        assert "out/_SUCCESS" not in keys(s3)
        server.requests.clear()
        self.predict(output)
        assert self.read(s3, output) == [number / 1000 for number in range(500)]
        assert not server.requests, "all parts were there"

    def test_a_killed_task_of_calibrated_explanations_goes_on_from_its_finished_parts(
        self, s3: Any, server: RowServer
    ) -> None:
        def contents() -> dict[str, bytes]:
            names = [key for key in keys(s3) if key.startswith("explained/")]
            return {name: s3.get_object(Bucket=BUCKET, Key=name)["Body"].read() for name in names}

        server.features = explained_rows.FEATURES
        for name, frame in (
            ("calibration", explained_rows.calibration_frame()),
            ("rows", explained_rows.rows_frame()),
        ):
            s3.put_object(Bucket=BUCKET, Key=f"e/{name}.csv", Body=frame.to_csv(index=False).encode())
        where = f"s3://{BUCKET}/e", f"s3://{BUCKET}/explained/"
        explained_rows.explain(*where)
        whole, requests = contents(), len(server.requests)
        explained_rows.explain(*where, rows="#rows=0-10")
        old = contents()
        killed_at(requests - 1, server, explained_rows.explain, *where)
        assert contents() == old
        server.requests.clear()
        explained_rows.explain(*where)
        assert contents() == whole
        assert len(server.requests) < requests, "finished parts were reused"
        assert not [key for key in keys(s3) if ".tmp" in key]

    def test_a_task_that_writes_keeps_others_away_and_a_dead_one_does_not(
        self, s3: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def claim(run: str, attempt: int = 1) -> Claim:
            place = locate(f"s3://{BUCKET}/out/")
            return Claim(place, place.sibling(".out.tmp/claims"), Claimant(("dag", "t", run, -1), attempt))

        with claim("one") as first:
            with pytest.raises(OutputInUseError, match="being written by task 't' of DAG 'dag', run 'one'"):
                claim("two").__enter__()
            with claim("one", attempt=2) as second:
                with pytest.raises(OutputInUseError, match="taken over by"):
                    first.check()
                monkeypatch.setattr(claims, "LEASE", -60.0)  # the store's clock tells whole seconds
                with claim("two") as heir:
                    heir.check()
                    assert not second.is_held()
        assert not [key for key in keys(s3) if ".tmp" in key]

    def test_a_denied_bucket_is_named_before_the_first_request(self, s3: Any, server: RowServer) -> None:
        with pytest.raises(
            StorageError, match=r"s3://no-such-bucket/o\.csv: cannot be written: no such bucket"
        ):
            self.predict("s3://no-such-bucket/o.csv")
        assert not server.requests

    def test_renewed_credentials_are_taken_up_in_the_middle_of_a_file(
        self, s3: Any, server: RowServer
    ) -> None:
        body = bytes(range(256)) * 40_000
        s3.put_object(Bucket=BUCKET, Key="in/large.bin", Body=body)
        renewed = iter(range(10_000))

        class Credentials:
            def get_frozen_credentials(self) -> Any:
                number = next(renewed) // 3
                return ReadOnlyCredentials(f"id-{number}", "secret", "token", None)

        client = boto3.client("s3")
        client._request_signer._credentials = Credentials()
        access = S3Access(lambda: client)
        with access.open(f"{BUCKET}/in/large.bin") as stream:
            stream.seek(1000)
            assert stream.read() == body[1000:]
        assert next(renewed) > 3


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
