"""Files that appear whole or not at all: written beside their place, then put there in one step."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from typing import IO

from airflow_provider_cleartrace.storage.errors import StorageError
from airflow_provider_cleartrace.storage.locations import Location


@contextlib.contextmanager
def published(location: Location) -> Iterator[IO[bytes]]:
    """A binary file to write; it takes its place when the block ends well, and leaves no trace otherwise.

    Raises:
        StorageError: the place cannot be written.
    """
    draft = location.sibling(f".{location.name}.{secrets.token_hex(6)}.tmp")
    try:
        with draft.create() as stream:
            yield stream
        draft.move(location)
    finally:
        with contextlib.suppress(StorageError):
            draft.delete()


def abandon(stack: contextlib.ExitStack) -> None:
    """End the files of :func:`published` that a stack holds, as after a failure: nothing of them is left."""
    failure = RuntimeError("abandoned")
    with contextlib.suppress(Exception):
        stack.__exit__(type(failure), failure, None)


def publish_bytes(location: Location, data: bytes) -> None:
    """Publish a small file in one go."""
    if location.s3 is not None:
        location.put(data)  # an object appears whole
        return
    with published(location) as stream, location.errors_named():
        stream.write(data)
