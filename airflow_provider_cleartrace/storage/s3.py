"""S3 for this provider: boto3 finds credentials, endpoint and copies; pyarrow moves the bytes."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import pyarrow.fs

READ_AHEAD = 4 * 1024 * 1024
"""Bytes fetched at a time: a request to S3 costs some 20 ms, whatever it brings."""

TAKEN = {"PreconditionFailed", "ConditionalRequestConflict"}
"""What S3 answers to those who come too late with a new object."""

S3ClientFactory = Callable[[], Any]
"""Makes a boto3 S3 client; called only when an ``s3://`` URI is met."""


def default_s3_client() -> Any:
    """A boto3 client from boto3's own credential chain."""
    import boto3  # noqa: PLC0415  (only a task that touches S3 pays for boto3)

    return boto3.client("s3")


def object_at(path: str) -> dict[str, str]:
    """Bucket and key, as boto3 takes them."""
    bucket, _, key = path.partition("/")
    return {"Bucket": bucket, "Key": key}


class S3Access:
    """One boto3 client, and the pyarrow filesystem that has its credentials of this moment.

    boto3 renews temporary credentials by itself; a pyarrow filesystem keeps those it was made with. So
    :meth:`filesystem` is asked for again at each use, and is another one when the credentials are.
    """

    def __init__(self, make_client: S3ClientFactory) -> None:
        self._make_client = make_client
        self._frozen: Any = None
        self._filesystem: pyarrow.fs.S3FileSystem | None = None

    @functools.cached_property
    def client(self) -> Any:
        """The boto3 client."""
        return self._make_client()

    def filesystem(self) -> pyarrow.fs.S3FileSystem:
        """A filesystem whose credentials are good now."""
        credentials = (
            self.client._request_signer._credentials
        )  # boto3 keeps the chain's result nowhere public
        frozen = None if credentials is None else credentials.get_frozen_credentials()
        if self._filesystem is None or frozen != self._frozen:
            self._frozen, self._filesystem = frozen, self._connect(frozen)
        return self._filesystem

    def _connect(self, frozen: Any) -> pyarrow.fs.S3FileSystem:
        import pyarrow.fs  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)

        region = self.client.meta.region_name or "us-east-1"
        arguments: dict[str, Any] = {"region": region}
        endpoint = urlsplit(self.client.meta.endpoint_url)
        if endpoint.hostname not in {"s3.amazonaws.com", f"s3.{region}.amazonaws.com"}:
            arguments |= {"endpoint_override": endpoint.netloc, "scheme": endpoint.scheme}
        if frozen is None:
            return pyarrow.fs.S3FileSystem(anonymous=True, **arguments)
        return pyarrow.fs.S3FileSystem(
            access_key=frozen.access_key,
            secret_key=frozen.secret_key,
            session_token=frozen.token,
            **arguments,
        )

    def put_new(self, path: str, data: bytes) -> bool:
        """Write a small object if there is none, and tell whether there was none."""
        from botocore.exceptions import ClientError  # noqa: PLC0415  (only a task that touches S3 pays for it)

        try:
            self.client.put_object(**object_at(path), Body=data, IfNoneMatch="*")
        except ClientError as error:
            if error.response["Error"]["Code"] in TAKEN:
                return False
            raise
        return True

    def age(self, path: str) -> float:
        """Seconds since an object was written, by the clock of the store."""
        head = self.client.head_object(**object_at(path))
        now = parsedate_to_datetime(head["ResponseMetadata"]["HTTPHeaders"]["date"])
        return float((now - head["LastModified"]).total_seconds())

    def fingerprint(self, path: str) -> str:
        """Version or ETag, and size of an object."""
        head = self.client.head_object(**object_at(path))
        return f"s3:{head.get('VersionId') or head['ETag']}:{head['ContentLength']}"

    def open(self, path: str) -> io.BufferedReader:
        """An object as a seekable file that outlives the credentials it was opened with."""
        return io.BufferedReader(_S3File(self, path), READ_AHEAD)


class _S3File(io.RawIOBase):
    def __init__(self, access: S3Access, path: str) -> None:
        self._access = access
        self._path = path
        self._position = 0
        self._filesystem = access.filesystem()
        self._file = self._filesystem.open_input_file(path)
        self._size: int = self._file.size()

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
        if (current := self._access.filesystem()) is not self._filesystem:
            self._file.close()
            self._filesystem, self._file = current, current.open_input_file(self._path)
        block = self._file.read_at(len(buffer), self._position)
        buffer[: len(block)] = block
        self._position += len(block)
        return len(block)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()
