"""Where data lies: a local path or an ``s3://`` key, with the few things that are done to files there."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO
from urllib.parse import unquote

from airflow_provider_cleartrace.storage.errors import StorageError, named
from airflow_provider_cleartrace.storage.s3 import S3Access, S3ClientFactory, default_s3_client, object_at

if TYPE_CHECKING:
    import pyarrow.fs

BLOCK = 1024 * 1024
"""Bytes hashed at a time."""


@dataclass(frozen=True)
class Location:
    """A file or folder, named by ``uri``; ``path`` is what its filesystem calls it (no slash at its end)."""

    uri: str
    path: str
    s3: S3Access | None = None

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
        return self.s3 is None

    @property
    def named_as_folder(self) -> bool:
        """Whether the URI ends with a slash."""
        return self.uri.endswith("/")

    @property
    def filesystem(self) -> pyarrow.fs.FileSystem:
        """The pyarrow filesystem, with credentials that are good now."""
        import pyarrow.fs  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)

        return pyarrow.fs.LocalFileSystem() if self.s3 is None else self.s3.filesystem()

    def child(self, name: str) -> Location:
        """What lies below this folder as ``name``, which may hold slashes."""
        return dataclasses.replace(self, uri=f"{self.uri.rstrip('/')}/{name}", path=f"{self.path}/{name}")

    def sibling(self, name: str) -> Location:
        """What lies beside this as ``name``."""
        uri, path = (f"{text.rstrip('/').rpartition('/')[0]}/{name}" for text in (self.uri, self.path))
        return dataclasses.replace(self, uri=uri if "/" in self.uri.rstrip("/") else name, path=path)

    def covers(self, other: Location) -> bool:
        """Whether ``other`` is this place or lies below it, by their paths."""
        same_store = self.is_local == other.is_local
        own = self.path.rstrip("/")
        return same_store and (other.path == self.path or other.path.startswith(f"{own}/"))

    @property
    def real(self) -> Location:
        """Where a local path leads, by way of ``..`` and links."""
        return dataclasses.replace(self, path=os.path.realpath(self.path)) if self.is_local else self

    def size(self) -> int:
        """Bytes of the file.

        Raises:
            StorageError: there is no such file, or it cannot be looked at.
        """
        import pyarrow.fs  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)

        info = self._info()
        if info.type == pyarrow.fs.FileType.NotFound:
            raise StorageError(f"{self.uri}: no such file")
        if info.type != pyarrow.fs.FileType.File:
            raise StorageError(f"{self.uri}: not a file")
        return int(info.size)

    def is_file(self) -> bool:
        """Whether there is a file here."""
        return bool(self._info().is_file)

    def is_folder(self) -> bool:
        """Whether there is a folder here; on S3, whether any key begins so."""
        import pyarrow.fs  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)

        return bool(self._info().type == pyarrow.fs.FileType.Directory)

    def _info(self) -> Any:
        with self.errors_named():
            return self.filesystem.get_file_info(self.path)

    def names(self, *, recursive: bool = True) -> list[str]:
        """The files below this folder, as sorted relative paths; none where there is no folder."""
        import pyarrow.fs  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)

        selector = pyarrow.fs.FileSelector(self.path, recursive=recursive, allow_not_found=True)
        with self.errors_named():
            found = self.filesystem.get_file_info(selector)
        return sorted(info.path.removeprefix(f"{self.path}/") for info in found if info.is_file)

    @contextlib.contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """The bytes, as a seekable binary file."""
        with self.errors_named():
            stream: Any = (
                self.filesystem.open_input_file(self.path) if self.s3 is None else self.s3.open(self.path)
            )
        with stream:
            yield stream

    @contextlib.contextmanager
    def create(self) -> Iterator[IO[bytes]]:
        """A new file to write. It may be there half-written after a failure: see ``publishing``."""
        with self.errors_named():
            if self.s3 is None:
                Path(self.path).parent.mkdir(parents=True, exist_ok=True)
                stream: IO[bytes] = Path(self.path).open("wb")  # noqa: SIM115  (closed below)
            else:
                stream = self.filesystem.open_output_stream(self.path)
        try:
            yield stream
        finally:
            # The last bytes are written here; what the block raises is not this file's fault.
            with self.errors_named():
                stream.close()

    def read_bytes(self) -> bytes:
        """The whole content of a small file."""
        with self.open() as stream, self.errors_named():
            return stream.read()

    def put(self, data: bytes) -> None:
        """Write a small object in one request."""
        if self.s3 is not None:
            with self.errors_named():
                self.s3.client.put_object(**object_at(self.path), Body=data)

    def put_new(self, data: bytes) -> bool:
        """Write a small file if there is none here, in one step; of several who try, one succeeds.

        Returns:
            Whether there was none.
        """
        with self.errors_named():
            if self.s3 is not None:
                return self.s3.put_new(self.path, data)
            Path(self.path).parent.mkdir(parents=True, exist_ok=True)
            # Somebody was faster with the file, or has just removed the folder.
            with (
                contextlib.suppress(FileExistsError, FileNotFoundError),
                Path(self.path).open("xb") as stream,
            ):
                stream.write(data)
                return True
        return False

    def age(self) -> float:
        """Seconds since this file was written, by the clock of the store."""
        with self.errors_named():
            if self.s3 is None:
                return time.time() - Path(self.path).stat().st_mtime
            return self.s3.age(self.path)

    def move(self, target: Location) -> None:
        """Put this file in the place of another, in one step. On S3 this one stays until it is deleted."""
        with target.errors_named():
            if self.s3 is None:
                Path(self.path).replace(target.path)
            else:
                self.s3.client.copy(CopySource=object_at(self.path), **object_at(target.path))

    def delete(self) -> None:
        """Delete this file, if it is there."""
        with self.errors_named():
            if self.s3 is None:
                Path(self.path).unlink(missing_ok=True)
            else:
                self.s3.client.delete_object(**object_at(self.path))

    def delete_folder(self) -> None:
        """Delete this folder and everything in it, if it is there."""
        if self.s3 is None:
            with self.errors_named(), contextlib.suppress(FileNotFoundError):
                shutil.rmtree(self.path)
            return
        for name in self.names():
            self.child(name).delete()

    def remove_if_empty(self) -> None:
        """Delete this folder if nothing is in it; on S3 it is gone then."""
        if self.s3 is None:
            with contextlib.suppress(OSError):
                Path(self.path).rmdir()

    def fingerprint(self) -> str:
        """The identity of the content: SHA-256 of a local file; version or ETag and size of an object."""
        if self.s3 is None:
            self.size()  # says so where there is no file
            digest = hashlib.sha256()
            with self.open() as stream, self.errors_named():
                while block := stream.read(BLOCK):
                    digest.update(block)
            return f"sha256:{digest.hexdigest()}"
        with self.errors_named():
            return self.s3.fingerprint(self.path)

    @contextlib.contextmanager
    def errors_named(self) -> Iterator[None]:
        """Turn what a filesystem raises into an error that names this location."""
        with named(self.uri):
            yield


def locate(uri: str | os.PathLike[str], s3_client: S3ClientFactory = default_s3_client) -> Location:
    """Find the filesystem of a local path, a ``file://`` or an ``s3://`` URI.

    Raises:
        StorageError: an empty path, one with a NUL, a bucket without a key or with credentials, another
            scheme.
    """
    text = os.fspath(uri)
    if "\0" in text:
        raise StorageError(f"{text!r}: no path has a NUL")
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = "file", text
    match scheme.lower():
        case "s3":
            path = rest.removesuffix("/")
            bucket, *key = path.split("/")
            if "@" in bucket or ":" in bucket:
                raise StorageError("an S3 URI carries no credentials: they come by aws_conn_id or boto3")
            if not key or {"", ".", ".."} & {bucket, *key}:
                raise StorageError(f"{text}: an S3 URI is s3://bucket/key, without empty parts or dots alone")
            return Location(text, path, S3Access(s3_client))
        case "file":
            if not rest:
                raise StorageError("an empty path names no file")
            path = unquote(rest) if separator else rest
            return Location(text, str(Path(path).expanduser().absolute()))
        case _:
            raise StorageError(f"{scheme}:// is not supported: give a local path or an s3:// URI")
