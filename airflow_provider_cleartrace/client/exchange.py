"""What a flow yields and receives: requests, sleeps and answers, free of any HTTP library."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, TypeAlias, TypeVar, cast
from urllib.parse import urlsplit

from airflow_provider_cleartrace.api.errors import TransportError

BLOCK = 256 * 1024
"""Bytes read from a file at a time while it is sent: large enough for throughput, too small to matter."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FileBody:
    """The bytes of an open file from ``start`` on: ``size`` of them, from the beginning at every attempt."""

    file: BinaryIO
    start: int
    size: int

    def rewind(self) -> None:
        """Go back to the first byte, so that a second attempt never sends the tail."""
        self.file.seek(self.start)

    def blocks(self) -> Iterator[bytes]:
        """The bytes, a block at a time."""
        self.rewind()
        while block := self.file.read(BLOCK):
            yield block


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request. A ``presigned`` one carries its own signature: no key, and its URL is a secret.

    ``timeout`` bounds the whole exchange, in seconds; where a file is sent, each step of it.
    """

    operation: str
    method: str
    url: str = field(repr=False)
    timeout: float
    content: bytes | FileBody | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    authenticated: bool = True
    presigned: bool = False

    @property
    def whole_timeout(self) -> float | None:
        """Seconds for the whole exchange; None where a file is sent, which takes as long as it is large."""
        return None if isinstance(self.content, FileBody) else self.timeout

    def headers_with(self, key: str | None) -> dict[str, str]:
        """The headers to send under a key."""
        headers = dict(self.headers)
        if isinstance(self.content, FileBody):
            # A known length keeps HTTP libraries from chunking the body, which S3 refuses.
            headers["Content-Length"] = str(self.content.size)
        if key:
            headers["Authorization"] = f"Bearer {key}"
        return headers


def no_answer(request: Request, error: Exception, text: str = "", *, sent: bool) -> TransportError:
    """The error for a request without an answer; it names the host alone, as a URL may be a secret."""
    host = urlsplit(request.url).netloc.rpartition("@")[2]
    reason = f"{type(error).__name__}{': ' if text else ''}{text}"
    return TransportError(f"{request.operation}: no answer from {host}: {reason}", sent=sent)


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer; header names are lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes = field(repr=False)

    @property
    def retry_after(self) -> float | None:
        """Seconds of the ``Retry-After`` header where it is a number; a date is left to the backoff."""
        try:
            return max(0.0, float(self.headers["retry-after"]))
        except (KeyError, ValueError):
            return None


def without_key(answer: Answer, key: str | None) -> Answer:
    """The answer as it may be told of: some servers quote the key that they refuse."""
    if not key or answer.status < 300:
        return answer
    return Answer(answer.status, answer.headers, answer.content.replace(key.encode(), b"***"))


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait this many seconds."""

    seconds: float


Flow: TypeAlias = Generator[Request | Sleep, Answer | None, T]
"""A call as a generator: it yields what is to be done and receives the answer, or the error thrown in."""


def exchange(request: Request) -> Flow[Answer]:
    """Yield one request and return its answer."""
    return cast(Answer, (yield request))


def pause(seconds: float) -> Flow[None]:
    """Yield one sleep."""
    yield Sleep(seconds)
