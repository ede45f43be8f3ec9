"""What every request passes first: the key, before a byte of the body is read; then the bounds on it."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from airflow_provider_cleartrace.local.answers import internal_error, refuse
from airflow_provider_cleartrace.local.auth import KeyRing
from airflow_provider_cleartrace.local.bodies import BoundedBody, too_large
from airflow_provider_cleartrace.local.metrics import RequestCounts
from airflow_provider_cleartrace.local.refusals import Refusal

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
        body = self._body(scope, receive)

        async def watched_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if not await body.ended():
                    MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        try:
            await self._enter(scope, body, watched_send)
        except ClientDisconnect:
            _log.info("the client left before its request was complete", extra={"path": scope["path"]})
        except Exception as error:
            response = internal_error(error)
            if status == 0:
                await response(scope, body, watched_send)
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

    def _body(self, scope: Scope, receive: Receive) -> BoundedBody:
        if scope["path"].startswith(self._presigned):
            # The route knows how large an upload may be.
            return BoundedBody(receive, seconds=self._upload_seconds)
        return BoundedBody(receive, seconds=self._body_seconds, max_bytes=self._max_body_bytes)

    async def _enter(self, scope: Scope, body: BoundedBody, send: Send) -> None:
        path = scope["path"]
        if not path.startswith(self._presigned):
            headers = Headers(scope=scope)
            try:
                if path not in self._public:
                    scope.setdefault("state", {})["owner"] = self._keys.owner(headers.get("authorization"))
                length = headers.get("content-length", "")
                if length.isdecimal() and int(length) > self._max_body_bytes:
                    raise too_large(self._max_body_bytes)
            except Refusal as refusal:
                await refuse(refusal)(scope, body, send)
                return
        await self._app(scope, body, send)


def _operation(scope: Scope) -> str:
    """Name the route that was taken, never the path: paths hold ids."""
    return str(getattr(scope.get("route"), "name", _NO_OPERATION))
