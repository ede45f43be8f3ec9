"""Uploads as flows: a presigned URL is asked for right before the bytes go to the object store."""

from __future__ import annotations

import html
import os
import tempfile
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from airflow_provider_cleartrace.api import models, operations
from airflow_provider_cleartrace.api.errors import (
    NotFoundError,
    TransportError,
    UploadError,
    ValidationError,
    upload_error_from_answer,
)
from airflow_provider_cleartrace.client.exchange import BLOCK, FileBody, Flow, Request, exchange, pause
from airflow_provider_cleartrace.client.jobs import status_of
from airflow_provider_cleartrace.client.retry import REQUEST_BACKOFF, RETRIED_STATUSES
from airflow_provider_cleartrace.client.session import Session, build_body, call

MAX_UPLOAD_BYTES = 5 * 1024**3
"""The largest object that one presigned PUT can carry, by S3's own rule."""

UPLOAD = "upload"
"""What a server calls the state of a model that has a file and no training yet."""

URL_TRIES = 3
"""Fresh URLs asked for when the store answers 403: it words "expired" in too many ways to tell it apart."""


def create_upload(
    session: Session, /, file_format: str, *, model_id: str | None = None
) -> Flow[models.UploadResult]:
    """Ask for a presigned URL, and attach to the model it belongs to.

    Args:
        file_format: ``csv``, ``parquet`` or ``pkl``.
        model_id: Id of the model to come; chosen by the server when omitted.
    """
    body = build_body(models.CreateUploadBody, file_format=file_format, model_id=model_id)
    upload = yield from call(session, operations.CREATE_UPLOAD, body=body)
    session.model_id = upload.model_id
    session.feature_names = None
    return upload


def upload_fileobj(session: Session, /, upload: models.UploadResult, fileobj: bytes | BinaryIO) -> Flow[None]:
    """PUT bytes, or the rest of an open binary file, to a presigned URL.

    Raises:
        ValidationError: nothing to send, or more than one PUT can carry.
        UploadError: the store refused; a 403 usually means that the URL has expired.
    """
    if isinstance(fileobj, bytes | bytearray | memoryview):
        data = bytes(fileobj)
        check_size(len(data), "the data")
        yield from _put(session, upload, data)
        return
    with tempfile.TemporaryFile() as spool:
        yield from _put(session, upload, _measured(fileobj, spool))


def upload_file(
    session: Session, /, path: str | os.PathLike[str], *, model_id: str | None = None
) -> Flow[models.UploadResult]:
    """Upload a ``.csv``, ``.parquet``, ``.pq``, ``.pkl`` or ``.pickle`` file as it is.

    Args:
        path: The file.
        model_id: As in :func:`create_upload`.
    """
    path = Path(path)
    file_format = format_of(path.name)
    if not path.is_file():
        raise ValidationError(f"{path}: no such file")
    with path.open("rb") as file:
        return (
            yield from upload_open_file(
                session, file, path.stat().st_size, file_format, what=str(path), model_id=model_id
            )
        )


def upload_open_file(
    session: Session, file: BinaryIO, size: int, file_format: str, *, what: str, model_id: str | None = None
) -> Flow[models.UploadResult]:
    """Upload a seekable file from its first byte, with a fresh URL when the store refuses the old one.

    Args:
        session: Whose settings to use; it is attached to the upload's model.
        file: The open file; all of it is sent.
        size: Its bytes.
        file_format: ``csv``, ``parquet`` or ``pkl``.
        what: How error messages call the file.
        model_id: As in :func:`create_upload`.
    """
    check_size(size, what)
    for remaining in reversed(range(URL_TRIES)):
        upload = yield from create_upload(session, file_format, model_id=model_id)
        model_id = upload.model_id
        try:
            yield from _put(session, upload, FileBody(file, 0, size))
        except UploadError as error:
            if error.status_code != 403 or not remaining:
                raise
        else:
            return upload
    raise AssertionError("unreachable: the last try returns or raises")


def upload_received(session: Session, model_id: str) -> Flow[bool]:
    """Whether the server says that it has received a whole file under a model id; few servers tell."""
    try:
        status = yield from status_of(session, model_id, UPLOAD)
    except NotFoundError:
        return False
    return status.job == UPLOAD and status.progress == 1.0


def format_of(name: str) -> str:
    """The wire's word for a file's format, by the extension of its name."""
    extension = Path(name).suffix.lower()
    if extension not in models.FILE_FORMATS:
        known = ", ".join(models.FILE_FORMATS)
        raise ValidationError(f"{name}: {extension or 'no'} extension; one of {known} is needed")
    return models.FILE_FORMATS[extension]


def check_size(size: int, what: str) -> None:
    """Refuse what one PUT cannot carry.

    Raises:
        ValidationError: nothing to send, or too much.
    """
    if size == 0:
        raise ValidationError(f"{what} is empty: nothing to upload")
    if size > MAX_UPLOAD_BYTES:
        raise ValidationError(
            f"{what} has {size} bytes; one upload carries at most {MAX_UPLOAD_BYTES}: split it or sample it"
        )


def _measured(fileobj: Any, spool: BinaryIO) -> FileBody:
    """A body of known length; a stream that cannot seek goes through a temporary file first."""
    try:
        start = fileobj.tell()
        size = fileobj.seek(0, os.SEEK_END) - start
        fileobj.seek(start)
    except (AttributeError, OSError):
        while block := fileobj.read(BLOCK):
            spool.write(block)
        fileobj, start, size = spool, 0, spool.tell()
    check_size(size, "the file")
    return FileBody(fileobj, start, size)


def _put(session: Session, upload: models.UploadResult, content: bytes | FileBody) -> Flow[None]:
    request = Request(
        operation="upload",
        method="PUT",
        url=upload.upload_url,
        timeout=session.settings.timeout,
        content=content,
        # Exactly what was signed: one header more or less and S3 refuses.
        headers={"Content-Type": upload.content_type},
        authenticated=False,
        presigned=True,
    )
    for attempt in range(session.settings.max_retries + 1):
        last = attempt == session.settings.max_retries
        try:
            answer = yield from exchange(request)
        except TransportError:
            if last:
                raise
        else:
            if answer.status < 300:
                return
            if last or answer.status not in RETRIED_STATUSES | {500}:
                raise upload_error_from_answer(answer.status, _unsigned(answer.content, upload.upload_url))
        yield from pause(REQUEST_BACKOFF.delay(attempt))


def _unsigned(content: bytes, url: str) -> bytes:
    """A refusal without the query of the URL, its signature: pages of gateways quote what was asked for."""
    query = urlsplit(url).query
    for quoted in (query, html.escape(query)) if query else ():
        content = content.replace(quoted.encode(), b"***")
    return content
