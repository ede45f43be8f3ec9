"""Presigned uploads that go to an S3 bucket: boto3 signs the PUT, and jobs read the object."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from airflow_provider_cleartrace.api.models import UploadResult
from airflow_provider_cleartrace.local.refusals import BadInput, BucketUnavailable
from airflow_provider_cleartrace.local.store import Store
from airflow_provider_cleartrace.local.uploads import (
    CONTENT_TYPES,
    UploadedFile,
    nothing_uploaded,
    placed_name,
)

_REFERENCE = "object.json"
"""In a job's folder: which version of which object to read."""

_RANGE_BYTES = 256 * 1024
"""One request reads a CSV header, or a Parquet footer, of almost any file."""


class BucketUploads:
    """Signs uploads to a bucket. Credentials, region and endpoint come from boto3's own chain."""

    def __init__(self, url: str, store: Store, *, max_bytes: int, url_seconds: int) -> None:
        parts = urlsplit(url)
        if parts.scheme != "s3" or not parts.netloc:
            raise ValueError(f"an upload bucket is written s3://bucket/prefix, not {url!r}")
        self._bucket = parts.netloc
        self._prefix = parts.path.strip("/")
        self._store = store
        self._max_bytes = max_bytes
        self._url_seconds = url_seconds
        self._client = _s3()

    def presign(self, owner: str, model_id: str, file_format: str, base_url: str) -> UploadResult:
        """Give out a URL of the bucket; the Content-Type is signed. ``base_url`` plays no part."""
        self._store.announce_upload(owner, model_id, file_format)
        key = self._key(owner, model_id, file_format)
        content_type = CONTENT_TYPES[file_format]
        with _bucket_errors():
            url: str = self._client.generate_presigned_url(
                "put_object",
                Params={"Bucket": self._bucket, "Key": key, "ContentType": content_type},
                ExpiresIn=self._url_seconds,
            )
        return UploadResult(
            model_id=model_id,
            upload_url=url,
            upload_key=key,
            file_format=file_format,
            content_type=content_type,
            expires_in=float(self._url_seconds),
        )

    def find(self, owner: str, model_id: str) -> UploadedFile:
        """Ask the bucket for the object of the format that was announced last."""
        record = self._store.upload(owner, model_id)
        if record is None:
            raise nothing_uploaded(model_id)
        with _bucket_errors(absent=nothing_uploaded(model_id)):
            head = self._client.head_object(
                Bucket=self._bucket, Key=self._key(owner, model_id, record.file_format)
            )
        if head["ContentLength"] > self._max_bytes:
            raise BadInput(
                f"the upload has {head['ContentLength']} bytes; this server takes up to {self._max_bytes}"
            )
        return UploadedFile(record.file_format, f"etag:{head['ETag']}")

    def open(self, owner: str, model_id: str, file: UploadedFile) -> IO[bytes]:
        """Open the object; only the ranges that are read travel."""
        key = self._key(owner, model_id, file.file_format)
        return io.BufferedReader(_RangedObject(self._client, self._bucket, key, _etag(file)), _RANGE_BYTES)

    def place(self, owner: str, model_id: str, file: UploadedFile, folder: Path) -> None:
        """Note the version of the object in the job's folder; the job downloads it."""
        reference = {
            "bucket": self._bucket,
            "key": self._key(owner, model_id, file.file_format),
            "etag": _etag(file),
            "file_format": file.file_format,
        }
        (folder / _REFERENCE).write_text(json.dumps(reference), encoding="utf-8")

    def _key(self, owner: str, model_id: str, file_format: str) -> str:
        return "/".join(part for part in (self._prefix, owner, f"{model_id}.{file_format}") if part)


def placed_file(folder: Path) -> tuple[Path, str] | None:
    """Find the data file of a job's folder and its format, downloading it where it lies in a bucket.

    Raises:
        BadInput: the object was replaced or deleted after the submit.
    """
    reference = folder / _REFERENCE
    if reference.exists():
        _download(json.loads(reference.read_text(encoding="utf-8")), folder)
    for file_format in CONTENT_TYPES:
        path = folder / placed_name(file_format)
        if path.exists():
            return path, file_format
    return None


def _download(reference: dict[str, str], folder: Path) -> None:
    draft = folder / "download"
    where = {"Bucket": reference["bucket"], "Key": reference["key"], "IfMatch": reference["etag"]}
    with _bucket_errors(absent=BadInput("the uploaded object was changed or deleted after the submit")):
        body = _s3().get_object(**where)["Body"]
        with draft.open("wb") as file:
            shutil.copyfileobj(body, file, _RANGE_BYTES)
    draft.replace(folder / placed_name(reference["file_format"]))


class _RangedObject(io.RawIOBase):
    """An S3 object as a seekable file."""

    def __init__(self, client: Any, bucket: str, key: str, etag: str) -> None:
        self._get = client.get_object
        self._where = {"Bucket": bucket, "Key": key, "IfMatch": etag}
        self._size = int(client.head_object(Bucket=bucket, Key=key)["ContentLength"])
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), self._size - self._position)
        if wanted <= 0:
            return 0
        span = f"bytes={self._position}-{self._position + wanted - 1}"
        data: bytes = self._get(**self._where, Range=span)["Body"].read()
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


def _s3() -> Any:
    import boto3  # noqa: PLC0415  (loads where a bucket is used)
    from botocore.config import Config  # noqa: PLC0415

    # Version 4 is the signature that covers the Content-Type of a presigned PUT.
    return boto3.client("s3", config=Config(signature_version="s3v4"))


def _etag(file: UploadedFile) -> str:
    return file.identity.removeprefix("etag:")


@contextmanager
def _bucket_errors(absent: BadInput | None = None) -> Iterator[None]:
    """Turn boto3's errors into refusals; ``absent`` is the one for an object that is not there (any more)."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415  (loads with boto3, where used)

    try:
        yield
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        if absent is not None and status in (404, 412):
            raise absent from None
        code = error.response.get("Error", {}).get("Code", status)
        raise BucketUnavailable(f"the upload bucket refused this server: {code}") from None
    except BotoCoreError as error:
        raise BucketUnavailable(f"the upload bucket cannot be used: {type(error).__name__}") from None
