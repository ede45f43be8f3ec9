"""Files reach the object store whole, as signed, and without the API's key."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from airflow_provider_cleartrace.api.errors import TransportError, UploadError, ValidationError
from airflow_provider_cleartrace.api.models import UploadResult
from airflow_provider_cleartrace.client import uploads
from airflow_provider_cleartrace.client.exchange import FileBody
from tests.unit.client.driver import answer, script, session

UPLOAD = {
    "model_id": "m",
    "upload_url": "http://store.test/bucket/m.csv?signature=canary",
    "upload_key": "m.csv",
    "file_format": "csv",
    "content_type": "text/csv",
    "expires_in": 600,
}
S3_REFUSAL = (
    b"<?xml version='1.0'?><Error><Code>SignatureDoesNotMatch</Code><Message>no match</Message></Error>"
)


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    path = tmp_path / "data.csv"
    path.write_bytes(b"x,y\n1,2\n")
    return path


def test_a_file_is_put_as_signed(csv: Path) -> None:
    known = session()
    run = script(answer(200, UPLOAD), answer(200, b""))

    upload = run.run(uploads.upload_file(known, csv))

    put = run.requests[1]
    assert (upload.model_id, known.model_id) == ("m", "m")
    assert (put.method, put.url) == ("PUT", UPLOAD["upload_url"])
    assert dict(put.headers) == {"Content-Type": "text/csv"}
    assert put.presigned
    assert not put.authenticated
    assert isinstance(put.content, FileBody)
    assert put.content.size == 8


def test_a_refused_url_is_replaced_by_a_fresh_one_for_the_same_model(csv: Path) -> None:
    run = script(answer(200, UPLOAD), answer(403, S3_REFUSAL), answer(200, UPLOAD), answer(200, b""))

    run.run(uploads.upload_file(session(), csv))

    assert [request.method for request in run.requests] == ["POST", "PUT", "POST", "PUT"]
    assert b'"model_id":"m"' in run.requests[2].content


def test_a_store_that_refuses_for_good_is_quoted_without_its_url(csv: Path) -> None:
    run = script(*[answer(200, UPLOAD), answer(403, S3_REFUSAL)] * uploads.URL_TRIES)

    with pytest.raises(UploadError, match="SignatureDoesNotMatch: no match") as caught:
        run.run(uploads.upload_file(session(), csv))
    assert caught.value.code == "SignatureDoesNotMatch"
    assert "canary" not in str(caught.value)


def test_a_broken_transfer_starts_again_from_the_first_byte() -> None:
    file = io.BytesIO(b"header,0123456789")
    file.seek(7)
    run = script(TransportError("reset"), answer(503, b""), answer(200, b""))

    run.run(uploads.upload_fileobj(session(), UploadResult(**UPLOAD), file))

    body = run.requests[-1].content
    assert isinstance(body, FileBody)
    assert b"".join(body.blocks()) == b"0123456789"
    assert b"".join(body.blocks()) == b"0123456789"


def test_a_stream_that_cannot_seek_gets_a_known_length() -> None:
    class Pipe(io.RawIOBase):
        source = io.BytesIO(b"abc")

        def read(self, size: int = -1) -> bytes:
            return self.source.read(size)

        def seekable(self) -> bool:
            return False

        def tell(self) -> int:
            raise OSError

    sent: list[tuple[int, bytes]] = []
    flow = uploads.upload_fileobj(session(), UploadResult(**UPLOAD), Pipe())
    request = next(flow)
    sent.append((request.content.size, b"".join(request.content.blocks())))
    with pytest.raises(StopIteration):
        flow.send(answer(200, b""))
    assert sent == [(3, b"abc")]


@pytest.mark.parametrize("name", ["data.xlsx", "data", "data.csv.gz", "data.txt"])
def test_an_unsupported_extension_is_refused_before_a_request(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("x")
    run = script()
    with pytest.raises(ValidationError, match=r"one of \.csv, \.parquet"):
        run.run(uploads.upload_file(session(), tmp_path / name))


def test_missing_empty_and_oversized_files_are_refused_before_a_request(tmp_path: Path) -> None:
    empty, huge = tmp_path / "empty.csv", tmp_path / "huge.parquet"
    empty.touch()
    with huge.open("wb") as file:
        file.truncate(uploads.MAX_UPLOAD_BYTES + 1)
    for path, complaint in (
        (empty, "empty.csv is empty"),
        (huge, "at most 5368709120"),
        (tmp_path / "none.csv", "no such file"),
    ):
        with pytest.raises(ValidationError, match=complaint):
            script().run(uploads.upload_file(session(), path))
    with pytest.raises(ValidationError, match="is empty"):
        script().run(uploads.upload_fileobj(session(), UploadResult(**UPLOAD), b""))
