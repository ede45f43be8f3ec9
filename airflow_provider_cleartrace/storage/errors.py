"""What is wrong with a file or a place for one."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator


class StorageError(ValueError):
    """A file or folder cannot be read or written as asked; the message names it, never its content."""


_WORDS = re.compile("(?<=[a-z])(?=[A-Z])")
"""Between the words of an error's code: NoSuchBucket."""


_S3_CODES = (
    "ACCESS_DENIED",
    "NO_SUCH_BUCKET",
    "NO_SUCH_KEY",
    "RESOURCE_NOT_FOUND",
    "NETWORK_CONNECTION",
    "SLOW_DOWN",
    "INVALID_ACCESS_KEY_ID",
    "SIGNATURE_DOES_NOT_MATCH",
)
"""Codes that pyarrow's messages hold, and that say what is wrong."""


@contextlib.contextmanager
def named(uri: str) -> Iterator[None]:
    """Turn what a filesystem or boto3 raises into an error that names the file."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"{uri}: {_reason(error)}") from None
    except Exception as error:
        code = getattr(error, "response", {}).get("Error", {}).get("Code")
        if code is None:
            raise
        raise StorageError(f"{uri}: {_WORDS.sub(' ', str(code)).lower()}") from None


def _reason(error: OSError) -> str:
    """The system's words for an error, without pyarrow's own, which quote URLs and request ids."""
    if error.errno == errno.ENOENT:
        return "no such file or folder"
    if error.errno is not None:
        return os.strerror(error.errno)
    text = str(error)
    for code in _S3_CODES:
        if code in text:
            return code.replace("_", " ").lower()
    return type(error).__name__
