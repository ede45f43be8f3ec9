"""Presigned uploads that this server receives itself; a file appears complete or not at all."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol
from urllib.parse import quote, urlencode

from anyio.to_thread import run_sync

from airflow_provider_cleartrace.api.models import UploadResult
from airflow_provider_cleartrace.local.folders import Folders
from airflow_provider_cleartrace.local.refusals import BadInput, BadSignature, LengthRequired, TooLarge
from airflow_provider_cleartrace.local.store import Store

UPLOAD_PATH = "/uploads/{owner}/{model_id}"
"""Where presigned URLs of this server point; outside /v1, since no key is asked for there."""

CONTENT_TYPES: Mapping[str, str] = {
    "csv": "text/csv",
    "parquet": "application/vnd.apache.parquet",
    "pkl": "application/octet-stream",
}

_WRITE_BYTES = 1024 * 1024
"""What is gathered before a thread writes it: few hand-overs, little memory."""

_EPOCH_SECONDS = re.compile("[0-9]{1,12}")


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A file that is there to train on; ``identity`` changes when its content does."""

    file_format: str
    identity: str


class Uploads(Protocol):
    """Where uploads go: to this server, or to a bucket."""

    def presign(self, owner: str, model_id: str, file_format: str, base_url: str) -> UploadResult:
        """Give out a URL to PUT one file to."""

    def find(self, owner: str, model_id: str) -> UploadedFile:
        """Find the file that was uploaded under a model id.

        Raises:
            BadInput: nothing was uploaded, or too much.
        """

    def open(self, owner: str, model_id: str, file: UploadedFile) -> IO[bytes]:
        """Open the file to look at its header."""

    def place(self, owner: str, model_id: str, file: UploadedFile, folder: Path) -> None:
        """Put into a job's folder what `placed_file` turns into the file; later uploads do not change it."""


def nothing_uploaded(model_id: str) -> BadInput:
    """Build the refusal for a training job without data."""
    return BadInput(
        f"no data was sent and no file was uploaded for model {model_id!r}; "
        "send data, or upload a file under this model id first"
    )


class OwnUploads:
    """Signs and receives uploads. The signature covers method, path, content type and expiry."""

    def __init__(
        self, store: Store, folders: Folders, secret: bytes, *, max_bytes: int, url_seconds: int
    ) -> None:
        self._store = store
        self._folders = folders
        self._secret = secret
        self._max_bytes = max_bytes
        self._url_seconds = url_seconds

    def presign(self, owner: str, model_id: str, file_format: str, base_url: str) -> UploadResult:
        """Give out a URL of this server; ``base_url`` is how the caller reaches it."""
        self._store.announce_upload(owner, model_id, file_format)
        path = UPLOAD_PATH.format(owner=owner, model_id=quote(model_id, safe=""))
        content_type = CONTENT_TYPES[file_format]
        expires = int(time.time()) + self._url_seconds
        query = urlencode(
            {
                "format": file_format,
                "expires": expires,
                "signature": self._signature(owner, model_id, file_format, expires),
            }
        )
        return UploadResult(
            model_id=model_id,
            upload_url=f"{base_url.rstrip('/')}{path}?{query}",
            upload_key=f"uploads/{owner}/{model_id}.{file_format}",
            file_format=file_format,
            content_type=content_type,
            expires_in=float(self._url_seconds),
        )

    def verify(
        self,
        owner: str,
        model_id: str,
        *,
        file_format: str,
        expires: str,
        signature: str,
        content_type: str | None,
    ) -> None:
        """Check that a PUT is the one that was signed.

        Raises:
            BadSignature: it is not, or no longer.
        """
        if file_format not in CONTENT_TYPES or not _EPOCH_SECONDS.fullmatch(expires):
            raise BadSignature("the upload URL is not one of this server's; ask for a new one")
        expected = self._signature(owner, model_id, file_format, int(expires))
        if not hmac.compare_digest(expected.encode(), signature.encode()):
            raise BadSignature("the upload URL was altered; use it exactly as it was given out")
        if time.time() > int(expires):
            raise BadSignature("the upload URL has expired; ask for a new one")
        if content_type != CONTENT_TYPES[file_format]:
            raise BadSignature(
                f"the upload was signed for Content-Type {CONTENT_TYPES[file_format]!r}; send exactly that"
            )

    async def receive(
        self, owner: str, model_id: str, file_format: str, *, length: str | None, chunks: AsyncIterator[bytes]
    ) -> None:
        """Store the bytes of a verified PUT; an interrupted one leaves nothing.

        Raises:
            LengthRequired: no Content-Length (a chunked body).
            TooLarge: the announced length is over the limit.
            BadInput: fewer bytes came than were announced.
        """
        if length is None or not length.isdecimal():
            raise LengthRequired("an upload needs a Content-Length; a chunked body is not taken")
        if int(length) > self._max_bytes:
            raise TooLarge(f"the file has {length} bytes; this server takes up to {self._max_bytes}")
        draft = self._folders.incoming / uuid.uuid4().hex
        try:
            size, digest = await _write(draft, chunks)
            if size != int(length):
                raise BadInput(f"the upload ended after {size} of {length} bytes; send it again")
            target = self._path(owner, model_id, file_format)
            await run_sync(_publish, draft, target)
        finally:
            draft.unlink(missing_ok=True)
        await run_sync(self._store.receive_upload, owner, model_id, file_format, size, digest)

    def find(self, owner: str, model_id: str) -> UploadedFile:
        """Find the file that was received last."""
        record = self._store.upload(owner, model_id)
        if record is None or record.received_format is None:
            raise nothing_uploaded(model_id)
        return UploadedFile(record.received_format, f"sha256:{record.sha256}")

    def open(self, owner: str, model_id: str, file: UploadedFile) -> IO[bytes]:
        """Open the received file."""
        return self._path(owner, model_id, file.file_format).open("rb")

    def place(self, owner: str, model_id: str, file: UploadedFile, folder: Path) -> None:
        """Link the file into the job's folder: a later upload replaces the name, not this content."""
        os.link(self._path(owner, model_id, file.file_format), folder / placed_name(file.file_format))

    def _path(self, owner: str, model_id: str, file_format: str) -> Path:
        return self._folders.uploads / owner / f"{model_id}.{file_format}"

    def _signature(self, owner: str, model_id: str, file_format: str, expires: int) -> str:
        path = UPLOAD_PATH.format(owner=owner, model_id=model_id)
        signed = "\n".join(("PUT", path, model_id, CONTENT_TYPES[file_format], file_format, str(expires)))
        return hmac.new(self._secret, b"upload:" + signed.encode(), hashlib.sha256).hexdigest()


def placed_name(file_format: str) -> str:
    """Name the data file in a job's folder."""
    return f"data.{file_format}"


async def _write(path: Path, chunks: AsyncIterator[bytes]) -> tuple[int, str]:
    digest = hashlib.sha256()
    size = 0
    with path.open("xb") as file:
        waiting = bytearray()

        def flush() -> None:
            digest.update(waiting)
            file.write(waiting)
            waiting.clear()

        async for chunk in chunks:
            waiting += chunk
            size += len(chunk)
            if len(waiting) >= _WRITE_BYTES:
                await run_sync(flush)
        await run_sync(flush)
        file.flush()
        await run_sync(os.fsync, file.fileno())
    return size, digest.hexdigest()


def _publish(draft: Path, target: Path) -> None:
    target.parent.mkdir(mode=0o700, exist_ok=True)
    draft.replace(target)
