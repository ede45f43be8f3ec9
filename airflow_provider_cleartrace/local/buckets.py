"""Presigned uploads that go to an S3 bucket: boto3 signs the PUT, and jobs read the object."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from airflow_provider_cleartrace.api.models import UploadResult
from airflow_provider_cleartrace.local.refusals import BadInput
from airflow_provider_cleartrace.local.store import Store
from airflow_provider_cleartrace.local.uploads import (
    CONTENT_TYPES,
    UploadedFile,
    nothing_uploaded,
    placed_name,
)

_REFERENCE = "object.json"
"""In a job's folder: which version of which object to read."""


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
        return UploadResult(
            model_id=model_id,
            upload_url=self._client.generate_presigned_url(
                "put_object",
                Params={"Bucket": self._bucket, "Key": key, "ContentType": content_type},
                ExpiresIn=self._url_seconds,
            ),
            upload_key=key,
            file_format=file_format,
            content_type=content_type,
            expires_in=float(self._url_seconds),
        )

    def find(self, owner: str, model_id: str) -> UploadedFile:
        """Ask the bucket for the object of the format that was announced last."""
        from botocore.exceptions import ClientError  # noqa: PLC0415  (loads with boto3, where a bucket is used)

        record = self._store.upload(owner, model_id)
        if record is None:
            raise nothing_uploaded(model_id)
        try:
            head = self._client.head_object(
                Bucket=self._bucket, Key=self._key(owner, model_id, record.file_format)
            )
        except ClientError as error:
            if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 404:
                raise nothing_uploaded(model_id) from None
            raise BadInput(f"the upload of model {model_id!r} cannot be read: {_code(error)}") from None
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
    from botocore.exceptions import ClientError  # noqa: PLC0415  (loads with boto3, where a bucket is used)

    draft = folder / "download"
    try:
        _s3().download_file(
            reference["bucket"], reference["key"], str(draft), ExtraArgs={"IfMatch": reference["etag"]}
        )
    except ClientError as error:
        raise BadInput(
            f"the uploaded object was changed or deleted after the submit ({_code(error)})"
        ) from None
    draft.replace(folder / placed_name(reference["file_format"]))


_RANGE_BYTES = 256 * 1024
"""One request reads a CSV header, or a Parquet footer, of almost any file."""


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


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", "no code"))
