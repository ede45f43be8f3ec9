"""httpx carries the requests. The only module of the provider that imports httpx."""

from __future__ import annotations

import contextlib
import contextvars
import logging
import ssl
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import httpx

from airflow_provider_cleartrace.api.errors import TransportError
from airflow_provider_cleartrace.client.async_driver import (
    MAX_CONNECTIONS,
    UNAUTHORIZED,
    AsyncDriver,
    KeyRenewal,
    blocks_of,
)
from airflow_provider_cleartrace.client.exchange import (
    Answer,
    FileBody,
    Flow,
    Request,
    Sleep,
    no_answer,
    without_key,
)
from airflow_provider_cleartrace.client.settings import Settings

T = TypeVar("T")

log = logging.getLogger(__name__)

KEEPALIVE = 60.0
"""Seconds an idle connection is kept: above the longest poll interval, so that polling reuses it."""

CONNECT_TIMEOUT = 30.0
"""Seconds to reach the server: a host silent for longer is down, however long a request may take."""

_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)

_ours = contextvars.ContextVar("cleartrace_request", default=False)


def _drop_our_requests(_: logging.LogRecord) -> bool:
    return not _ours.get()


# httpx logs each request's whole URL at INFO: a line a poll, and the signature of every presigned URL.
logging.getLogger("httpx").addFilter(_drop_our_requests)


def ssl_context(settings: Settings) -> ssl.SSLContext:
    """Whom to trust, for one transport: it takes 20 ms and most of a megabyte to build."""
    if isinstance(settings.verify, str):
        return ssl.create_default_context(cafile=settings.verify)
    return httpx.create_ssl_context(verify=settings.verify)


def _limits() -> httpx.Limits:
    return httpx.Limits(
        max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_CONNECTIONS, keepalive_expiry=KEEPALIVE
    )


@contextlib.contextmanager
def _exchange(request: Request, key: str | None) -> Iterator[dict[str, Any]]:
    """The part of one exchange that sync and async share: its arguments, its typed error, its log line."""
    token = _ours.set(True)
    started = time.monotonic()
    try:
        yield {
            "method": request.method,
            "url": request.url,
            "headers": request.headers_with(key),
            "timeout": httpx.Timeout(request.timeout, connect=min(request.timeout, CONNECT_TIMEOUT)),
            "auth": None,  # neither from the URL nor from a netrc
        }
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        text = str(error) if isinstance(error, httpx.ConnectError) else ""
        # The library's error holds the whole URL.
        raise no_answer(request, error, text, sent=not isinstance(error, _NEVER_SENT)) from None
    finally:
        _ours.reset(token)
        log.debug("%s: %.3f s", request.operation, time.monotonic() - started)


def _read_until(response: httpx.Response, due: float | None) -> bytes:
    """The body of an answer; ``due`` is on the monotonic clock."""
    blocks = []
    for block in response.iter_bytes():
        if due is not None and time.monotonic() > due:
            raise httpx.ReadTimeout("the answer did not end in time")
        blocks.append(block)
    return b"".join(blocks)


class SyncTransport:
    """Drives flows in the calling thread.

    Args:
        settings: Where to and how.
        renew: Called with a key that was refused; returns the key to try instead, if there is another.
    """

    def __init__(self, settings: Settings, *, renew: Callable[[str], str | None] | None = None) -> None:
        self._api_key = settings.api_key
        self._renew = renew
        self._trust = ssl_context(settings)
        self._api = self._new_client()
        self._store: httpx.Client | None = None

    def _new_client(self) -> httpx.Client:
        return httpx.Client(verify=self._trust, limits=_limits())

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
                    answer = self._answer(step)
                except TransportError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(answer)
        except StopIteration as stop:
            value: T = stop.value
            return value
        finally:
            flow.close()

    def _answer(self, request: Request) -> Answer:
        key = self._api_key if request.authenticated else None
        answer = self._send(request, key)
        if answer.status != UNAUTHORIZED or key is None or self._renew is None:
            return answer
        fresh = self._renew(key)
        if not fresh or fresh == key:
            return answer
        self._api_key = fresh
        return self._send(request, fresh)

    def _send(self, request: Request, key: str | None) -> Answer:
        content = request.content.blocks() if isinstance(request.content, FileBody) else request.content
        due = None if request.whole_timeout is None else time.monotonic() + request.whole_timeout
        with (
            _exchange(request, key) as arguments,
            self._client_for(request).stream(content=content, **arguments) as response,
        ):
            answer = Answer(response.status_code, dict(response.headers), _read_until(response, due))
        return without_key(answer, key)

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


class AsyncTransport(AsyncDriver):
    """Drives flows on the event loop.

    Args:
        settings: Where to and how.
        renew: Asked for another key when the server refuses the one in use.
    """

    def __init__(self, settings: Settings, *, renew: KeyRenewal | None = None) -> None:
        super().__init__(settings.api_key, renew)
        self._trust = ssl_context(settings)
        self._api = self._new_client()
        self._store: httpx.AsyncClient | None = None

    def _new_client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(verify=self._trust, limits=_limits())

    async def _send(self, request: Request, key: str | None) -> Answer:
        content = blocks_of(request.content) if isinstance(request.content, FileBody) else request.content
        with _exchange(request, key) as arguments:
            response = await self._client_for(request).request(content=content, **arguments)
        # The response and its stream hold each other, and with them both bodies, until garbage is collected.
        response.stream = httpx.ByteStream(b"")
        return Answer(response.status_code, dict(response.headers), response.content)

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
