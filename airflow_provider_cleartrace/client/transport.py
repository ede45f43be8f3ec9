"""httpx drives the flows. The only module of the provider that imports httpx."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterator
from typing import Any, TypeVar
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


KeyRenewal = Callable[[str], Awaitable[str | None]]
"""Called with a key that was refused; returns the key to try instead, if there is another."""


class BearerAuth(httpx.Auth):
    """Puts the API key on a request, in both clients alike; a refused one may be renewed, once a request."""

    def __init__(self, api_key: str | None, renew: KeyRenewal | None = None) -> None:
        self._api_key = api_key
        self._renew = renew

    def _sign(self, request: httpx.Request) -> None:
        if self._api_key:
            request.headers["Authorization"] = f"Bearer {self._api_key}"

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Authorise the request."""
        self._sign(request)
        yield request

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Authorise the request; after a 401 once more, when there is a new key."""
        refused = self._api_key
        self._sign(request)
        response = yield request
        if response.status_code == httpx.codes.UNAUTHORIZED and self._renew is not None and refused:
            fresh = await self._renew(refused)
            if fresh and fresh != refused:
                self._api_key = fresh
                self._sign(request)
                yield request


def _verify(settings: Settings) -> ssl.SSLContext | bool:
    if isinstance(settings.verify, bool):
        return settings.verify
    return ssl.create_default_context(cafile=settings.verify)


def _limits() -> httpx.Limits:
    return httpx.Limits(
        max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_CONNECTIONS, keepalive_expiry=KEEPALIVE
    )


@contextlib.contextmanager
def _exchange(request: Request) -> Iterator[dict[str, Any]]:
    """The part of one exchange that sync and async share: its arguments, its typed error, its log line."""
    headers = dict(request.headers)
    if isinstance(request.content, FileBody):
        # A known length keeps httpx from chunking the body, which S3 refuses.
        headers["Content-Length"] = str(request.content.size)
    token = _ours.set(True)
    started = time.monotonic()
    try:
        yield {
            "method": request.method,
            "url": request.url,
            "headers": headers,
            "timeout": httpx.Timeout(request.timeout, connect=min(request.timeout, CONNECT_TIMEOUT)),
        }
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        host = urlsplit(request.url).netloc.rpartition("@")[2]
        text = str(error) if isinstance(error, httpx.ConnectError) else ""
        raise TransportError(
            f"{request.operation}: no answer from {host}: {type(error).__name__}{': ' if text else ''}{text}",
            sent=not isinstance(error, _NEVER_SENT),
        ) from None  # the library's error holds the whole URL
    finally:
        _ours.reset(token)
        log.debug("%s: %.3f s", request.operation, time.monotonic() - started)


def _answer(response: httpx.Response) -> Answer:
    return Answer(response.status_code, dict(response.headers), response.content)


class SyncTransport:
    """Drives flows in the calling thread."""

    def __init__(self, settings: Settings) -> None:
        self._auth = BearerAuth(settings.api_key)
        self._verify = _verify(settings)
        self._api = self._new_client()
        self._store: httpx.Client | None = None

    def _new_client(self) -> httpx.Client:
        return httpx.Client(verify=self._verify, limits=_limits())

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
        content = request.content.blocks() if isinstance(request.content, FileBody) else request.content
        with _exchange(request) as arguments:
            response = self._client_for(request).request(
                content=content, auth=self._auth if request.authenticated else None, **arguments
            )
        return _answer(response)

    def _client_for(self, request: Request) -> httpx.Client:
        """Presigned URLs get a client of their own, which never holds the key or a cookie of the API."""
        if not request.presigned:
            return self._api
        if self._store is None:
            self._store = self._new_client()
        return self._store

    def close(self) -> None:
        """Close the sockets."""
        for client in filter(None, (self._api, self._store)):
            client.close()


class AsyncTransport:
    """Drives flows on the event loop; no step of it blocks.

    Args:
        settings: Where to and how.
        renew: Asked for another key when the server refuses the one in use.
        max_in_flight: Most requests under way at once; further ones wait in front of the sockets.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        renew: KeyRenewal | None = None,
        max_in_flight: int = MAX_CONNECTIONS,
    ) -> None:
        self._auth = BearerAuth(settings.api_key, renew)
        self._verify = _verify(settings)
        self._in_flight = asyncio.Semaphore(max_in_flight)
        self._api = self._new_client()
        self._store: httpx.AsyncClient | None = None

    def _new_client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(verify=self._verify, limits=_limits())

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
        content = _blocks(request.content) if isinstance(request.content, FileBody) else request.content
        async with self._in_flight:
            with _exchange(request) as arguments:
                response = await self._client_for(request).request(
                    content=content, auth=self._auth if request.authenticated else None, **arguments
                )
        return _answer(response)

    def _client_for(self, request: Request) -> httpx.AsyncClient:
        """Presigned URLs get a client of their own, which never holds the key or a cookie of the API."""
        if not request.presigned:
            return self._api
        if self._store is None:
            self._store = self._new_client()
        return self._store

    async def aclose(self) -> None:
        """Close the sockets."""
        for client in filter(None, (self._api, self._store)):
            await client.aclose()


async def _blocks(body: FileBody) -> AsyncIterator[bytes]:
    blocks = body.blocks()
    while block := await asyncio.to_thread(next, blocks, b""):
        yield block
