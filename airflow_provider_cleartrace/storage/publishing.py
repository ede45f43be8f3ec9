"""Files that appear whole or not at all: written beside their place, then put there in one step."""

from __future__ import annotations

import contextlib
import dataclasses
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from airflow_provider_cleartrace.storage.errors import StorageError
from airflow_provider_cleartrace.storage.locations import Location


@contextlib.contextmanager
def published(location: Location) -> Iterator[IO[bytes]]:
    """A binary file to write; it takes its place when the block ends well, and leaves no trace otherwise.

    Locally the bytes go to a hidden sibling that is renamed; on S3 an object only exists once its upload is
    complete, which closing the stream does.

    Raises:
        StorageError: the place cannot be written.
    """
    if not location.is_local:
        with _published_object(location) as stream:
            yield stream
        return
    target = Path(location.path)
    draft = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    with location.errors_named():
        target.parent.mkdir(parents=True, exist_ok=True)
        stream = draft.open("xb")
    try:
        with _closing(location, stream):
            yield stream
        with location.errors_named():
            draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


@contextlib.contextmanager
def _published_object(location: Location) -> Iterator[IO[bytes]]:
    # Beside its place as well: a stream that is closed completes its object, also when the writer has failed.
    draft = dataclasses.replace(location, path=f"{location.path}.{secrets.token_hex(4)}.tmp")
    try:
        with location.errors_named():
            stream = location.filesystem.open_output_stream(draft.path)
        with _closing(location, stream):
            yield stream
        with location.errors_named():
            draft.copy_object(location)
    finally:
        with contextlib.suppress(StorageError), location.errors_named():
            draft.delete_object()


@contextlib.contextmanager
def _closing(location: Location, stream: IO[bytes]) -> Iterator[None]:
    """Close at the end, where the last bytes are written; what the block raises is not this file's fault."""
    try:
        yield
    finally:
        with location.errors_named():
            stream.close()


def publish_bytes(location: Location, data: bytes) -> None:
    """Publish a small file in one go."""
    with published(location) as stream, location.errors_named():
        stream.write(data)
