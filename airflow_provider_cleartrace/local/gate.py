"""What every request passes first: the key, before a byte of the body is read; then the bounds on it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from airflow_provider_cleartrace.local.answers import internal_error, refuse
from airflow_provider_cleartrace.local.auth import KeyRing
from airflow_provider_cleartrace.local.bodies import bounded_body, too_large
from airflow_provider_cleartrace.local.metrics import RequestCounts
from airflow_provider_cleartrace.local.refusals import Refusal

_DRAIN_SECONDS = 5.0
"""How long a refused body is still read: a client that is sending would see a reset and not the refusal."""

_NO_OPERATION = "none"
"""What is counted for requests that no route took: refused at the gate, or to an unknown path."""

_log = logging.getLogger(__name__)


class Gate:
    """ASGI middleware. Paths in ``public``, and those below ``presigned``, need no key."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        keys: KeyRing,
        public: Collection[str],
        presigned: str,
        max_body_bytes: int,
        body_seconds: float,
        upload_seconds: float,
        access_log: bool,
        counts: RequestCounts,
    ) -> None:
        self._app = app
        self._keys = keys
        self._public = frozenset(public)
        self._presigned = presigned
        self._max_body_bytes = max_body_bytes
        self._body_seconds = body_seconds
        self._upload_seconds = upload_seconds
        self._access_log = access_log
        self._counts = counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer why not."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 0

        async def watched_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._enter(scope, receive, watched_send)
        except ClientDisconnect:
            _log.info("the client left before its request was complete", extra={"path": scope["path"]})
        except Exception as error:
            response = internal_error(error)
            if status == 0:
                await response(scope, receive, watched_send)
        self._counts.add(_operation(scope), status, time.perf_counter() - started)
        if self._access_log:
            # The path alone: a presigned query holds a signature.
            _log.info(
                "request",
                extra={
                    "method": scope["method"],
                    "path": scope["path"],
                    "status": status,
                    "ms": round(1000 * (time.perf_counter() - started), 1),
                },
            )

    async def _enter(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path.startswith(self._presigned):
            # The route knows how large an upload may be.
            await self._app(scope, bounded_body(receive, seconds=self._upload_seconds), send)
            return
        headers = Headers(scope=scope)
        try:
            if path not in self._public:
                scope.setdefault("state", {})["owner"] = self._keys.owner(headers.get("authorization"))
            length = headers.get("content-length", "")
            if length.isdecimal() and int(length) > self._max_body_bytes:
                raise too_large(self._max_body_bytes)
        except Refusal as refusal:
            await _refuse_politely(refuse(refusal), scope, receive, send)
            return
        body = bounded_body(receive, seconds=self._body_seconds, max_bytes=self._max_body_bytes)
        await self._app(scope, body, send)


def _operation(scope: Scope) -> str:
    """Name the route that was taken, never the path: paths hold ids."""
    return str(getattr(scope.get("route"), "name", _NO_OPERATION))


async def _refuse_politely(response: Response, scope: Scope, receive: Receive, send: Send) -> None:
    try:
        async with asyncio.timeout(_DRAIN_SECONDS):
            while (await receive()).get("more_body", False):
                pass
    except TimeoutError:
        pass
    await response(scope, receive, send)
