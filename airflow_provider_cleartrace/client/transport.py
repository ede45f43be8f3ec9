"""httpx drives the flows. The only module of the provider that imports httpx."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import ssl
import time
from collections.abc import AsyncIterator, Generator, Iterator
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import urlsplit

import httpx

from airflow_provider_cleartrace.api.errors import TransportError
from airflow_provider_cleartrace.client.exchange import Answer, FileBody, Flow, Request, Sleep
from airflow_provider_cleartrace.client.settings import Settings

T = TypeVar("T")

log = logging.getLogger(__name__)

KEEPALIVE = 60.0
"""Seconds an idle connection is kept: above the longest poll interval, so that polling reuses it."""

MAX_CONNECTIONS = 20

CONNECT_TIMEOUT = 30.0
"""Seconds to reach the server: a host silent for longer is down, however long a request may take."""

_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)

_ours = contextvars.ContextVar("cleartrace_request", default=False)


def _drop_our_requests(_: logging.LogRecord) -> bool:
    return not _ours.get()


# httpx logs each request's whole URL at INFO: a line a poll, and the signature of every presigned URL.
logging.getLogger("httpx").addFilter(_drop_our_requests)


class BearerAuth(httpx.Auth):
    """Puts the API key on a request, in both clients alike."""

    def __init__(self, api_key: str) -> None:
        self._value = f"Bearer {api_key}"

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Authorise the request."""
        request.headers["Authorization"] = self._value
        yield request


def _verify(settings: Settings) -> ssl.SSLContext | bool:
    if isinstance(settings.verify, bool):
        return settings.verify
    return ssl.create_default_context(cafile=settings.verify)


def _limits() -> httpx.Limits:
    return httpx.Limits(
        max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_CONNECTIONS, keepalive_expiry=KEEPALIVE
    )


def _timeout(request: Request) -> httpx.Timeout:
    return httpx.Timeout(request.timeout, connect=min(request.timeout, CONNECT_TIMEOUT))


def _headers(request: Request) -> dict[str, str]:
    headers = dict(request.headers)
    if isinstance(request.content, FileBody):
        # A known length keeps httpx from chunking the body, which S3 refuses.
        headers["Content-Length"] = str(request.content.size)
    return headers


@contextlib.contextmanager
def _errors_typed(request: Request) -> Iterator[None]:
    token = _ours.set(True)
    try:
        yield
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        host = urlsplit(request.url).netloc.rpartition("@")[2]
        text = str(error) if isinstance(error, httpx.ConnectError) else ""
        raise TransportError(
            f"{request.operation}: no answer from {host}: {type(error).__name__}{': ' if text else ''}{text}",
            sent=not isinstance(error, _NEVER_SENT),
        ) from None  # the library's error holds the whole URL
    finally:
        _ours.reset(token)


def _answer(request: Request, response: httpx.Response, started: float) -> Answer:
    elapsed = time.monotonic() - started
    log.debug("%s: HTTP %d in %.3f s", request.operation, response.status_code, elapsed)
    return Answer(response.status_code, dict(response.headers), response.content)


class SyncTransport:
    """Drives flows in the calling thread."""

    def __init__(self, settings: Settings) -> None:
        self._auth = BearerAuth(settings.api_key) if settings.api_key else None
        self._verify = _verify(settings)
        self._client = httpx.Client(verify=self._verify, limits=_limits())
        self._store: httpx.Client | None = None

    def run(self, flow: Flow[T]) -> T:
        """Drive ``flow`` to its end and return its value."""
        try:
            step = next(flow)
            while True:
                if isinstance(step, Sleep):
                    time.sleep(step.seconds)
                    step = flow.send(None)
                    continue
                try:
                    answer = self._send(step)
                except TransportError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(answer)
        except StopIteration as stop:
            value: T = stop.value
            return value
        finally:
            flow.close()

    def _send(self, request: Request) -> Answer:
        started = time.monotonic()
        content = request.content.blocks() if isinstance(request.content, FileBody) else request.content
        with _errors_typed(request):
            response = self._client_for(request).request(
                request.method,
                request.url,
                content=content,
                headers=_headers(request),
                auth=self._auth if request.authenticated else None,
                timeout=_timeout(request),
            )
        return _answer(request, response, started)

    def _client_for(self, request: Request) -> httpx.Client:
        """Presigned URLs get a client of their own, which never holds the key or a cookie of the API."""
        if not request.presigned:
            return self._client
        if self._store is None:
            self._store = httpx.Client(verify=self._verify, limits=_limits())
        return self._store

    def close(self) -> None:
        """Close the sockets."""
        self._client.close()
        if self._store is not None:
            self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()


class AsyncTransport:
    """Drives flows on the event loop; no step of it blocks."""

    def __init__(self, settings: Settings) -> None:
        self._auth = BearerAuth(settings.api_key) if settings.api_key else None
        self._verify = _verify(settings)
        self._client = httpx.AsyncClient(verify=self._verify, limits=_limits())
        self._store: httpx.AsyncClient | None = None

    async def run(self, flow: Flow[T]) -> T:
        """Drive ``flow`` to its end and return its value."""
        try:
            step = next(flow)
            while True:
                if isinstance(step, Sleep):
                    await asyncio.sleep(step.seconds)
                    step = flow.send(None)
                    continue
                try:
                    answer = await self._send(step)
                except TransportError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(answer)
        except StopIteration as stop:
            value: T = stop.value
            return value
        finally:
            flow.close()

    async def _send(self, request: Request) -> Answer:
        started = time.monotonic()
        content = _blocks(request.content) if isinstance(request.content, FileBody) else request.content
        with _errors_typed(request):
            response = await self._client_for(request).request(
                request.method,
                request.url,
                content=content,
                headers=_headers(request),
                auth=self._auth if request.authenticated else None,
                timeout=_timeout(request),
            )
        return _answer(request, response, started)

    def _client_for(self, request: Request) -> httpx.AsyncClient:
        """Presigned URLs get a client of their own, which never holds the key or a cookie of the API."""
        if not request.presigned:
            return self._client
        if self._store is None:
            self._store = httpx.AsyncClient(verify=self._verify, limits=_limits())
        return self._store

    async def aclose(self) -> None:
        """Close the sockets."""
        await self._client.aclose()
        if self._store is not None:
            await self._store.aclose()


async def _blocks(body: FileBody) -> AsyncIterator[bytes]:
    blocks = body.blocks()
    while block := await asyncio.to_thread(next, blocks, b""):
        yield block
