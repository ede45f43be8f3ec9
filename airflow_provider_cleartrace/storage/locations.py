"""Where data lies: a local path or an ``s3://`` object behind one pyarrow filesystem."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import unquote, urlsplit

from airflow_provider_cleartrace.storage.errors import StorageError

if TYPE_CHECKING:
    import pyarrow.fs

BLOCK = 1024 * 1024
"""Bytes hashed at a time."""

S3ClientFactory = Callable[[], Any]
"""Makes a boto3 S3 client; called only when an ``s3://`` URI is met."""


def default_s3_client() -> Any:
    """A boto3 client from boto3's own credential chain."""
    import boto3  # noqa: PLC0415  (only a task that touches S3 pays for boto3)

    return boto3.client("s3")


@dataclass(frozen=True)
class Location:
    """One file, named by ``uri``; ``path`` is what its filesystem calls it."""

    uri: str
    path: str
    filesystem: pyarrow.fs.FileSystem
    s3_client: S3ClientFactory | None = None

    @property
    def name(self) -> str:
        """The last segment of the path."""
        return self.path.rpartition("/")[2]

    @property
    def suffix(self) -> str:
        """The extension in lower case, with its dot."""
        return Path(self.name).suffix.lower()

    @property
    def is_local(self) -> bool:
        """Whether the file lies on this machine."""
        return self.s3_client is None

    def size(self) -> int:
        """Bytes of the file.

        Raises:
            StorageError: there is no such file, or it cannot be looked at.
        """
        import pyarrow.fs  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)

        with self.errors_named():
            info = self.filesystem.get_file_info(self.path)
        if info.type == pyarrow.fs.FileType.NotFound:
            raise StorageError(f"{self.uri}: no such file")
        if info.type != pyarrow.fs.FileType.File:
            raise StorageError(f"{self.uri}: not a file")
        return int(info.size)

    @contextlib.contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """The bytes, as a seekable binary file."""
        with self.errors_named():
            stream = self.filesystem.open_input_file(self.path)
        with stream:
            yield stream

    def fingerprint(self) -> str:
        """The identity of the content: SHA-256 of a local file; version or ETag and size of an object."""
        if self.s3_client is None:
            digest = hashlib.sha256()
            with self.open() as stream:
                while block := stream.read(BLOCK):
                    digest.update(block)
            return f"sha256:{digest.hexdigest()}"
        with self.errors_named():
            head = self.s3_client().head_object(**self._object)
        return f"s3:{head.get('VersionId') or head['ETag']}:{head['ContentLength']}"

    def copy_object(self, target: Location) -> None:
        """Copy this object onto another of the same store, which appears whole."""
        # pyarrow's own move would leave an empty "folder" object behind.
        if self.s3_client is not None:
            self.s3_client().copy(CopySource=self._object, **target._object)

    def delete_object(self) -> None:
        """Delete this object, if it is there."""
        if self.s3_client is not None:
            self.s3_client().delete_object(**self._object)

    @property
    def _object(self) -> dict[str, str]:
        bucket, _, key = self.path.partition("/")
        return {"Bucket": bucket, "Key": key}

    @contextlib.contextmanager
    def errors_named(self) -> Iterator[None]:
        """Turn what a filesystem raises into an error that names this location."""
        try:
            yield
        except OSError as error:
            raise StorageError(f"{self.uri}: {_reason(error)}") from None
        except Exception as error:
            code = getattr(error, "response", {}).get("Error", {}).get("Code")
            if code is None:
                raise
            raise StorageError(f"{self.uri}: {code}") from None


def locate(uri: str | os.PathLike[str], s3_client: S3ClientFactory = default_s3_client) -> Location:
    """Find the filesystem of a local path, a ``file://`` or an ``s3://`` URI.

    Raises:
        StorageError: an empty path, a bucket without a key, or a scheme that is not supported.
    """
    import pyarrow.fs  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)

    text = os.fspath(uri)
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = "file", text
    match scheme.lower():
        case "s3":
            if not all(rest.split("/")) or "/" not in rest:
                raise StorageError(f"{text}: an S3 URI is s3://bucket/key, without empty parts")
            return Location(text, rest, _s3_filesystem(s3_client()), s3_client)
        case "file":
            if not rest:
                raise StorageError("an empty path names no file")
            path = unquote(rest) if separator else rest
            return Location(text, str(Path(path).expanduser().absolute()), pyarrow.fs.LocalFileSystem())
        case _:
            raise StorageError(f"{scheme}:// is not supported: give a local path or an s3:// URI")


def _s3_filesystem(client: Any) -> pyarrow.fs.S3FileSystem:
    """The pyarrow filesystem with a boto3 client's credentials, region and endpoint."""
    import pyarrow.fs  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)

    region = client.meta.region_name or "us-east-1"
    arguments: dict[str, Any] = {"region": region}
    endpoint = urlsplit(client.meta.endpoint_url)
    if endpoint.hostname not in {"s3.amazonaws.com", f"s3.{region}.amazonaws.com"}:
        arguments |= {"endpoint_override": endpoint.netloc, "scheme": endpoint.scheme}
    credentials = client._request_signer._credentials  # boto3 keeps the chain's result nowhere public
    if credentials is None:
        return pyarrow.fs.S3FileSystem(anonymous=True, **arguments)
    frozen = credentials.get_frozen_credentials()
    return pyarrow.fs.S3FileSystem(
        access_key=frozen.access_key,
        secret_key=frozen.secret_key,
        session_token=frozen.token,
        **arguments,
    )


def _reason(error: OSError) -> str:
    """The system's words for an error, without pyarrow's own, which quote URLs and request ids."""
    if error.errno is not None:
        return os.strerror(error.errno)
    text = str(error)
    for code in ("ACCESS_DENIED", "NO_SUCH_BUCKET", "NO_SUCH_KEY", "RESOURCE_NOT_FOUND"):
        if code in text:
            return code.replace("_", " ").lower()
    return type(error).__name__
