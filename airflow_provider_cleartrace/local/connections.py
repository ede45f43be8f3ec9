"""A bound on what a connection costs before its key is known: the time and the size of a request's head."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

_HEAD_BYTES = 64 * 1024
"""Far above what clients and their proxies send; uvicorn's faster parser keeps a head of any size."""

_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


def bounded_connections(head_seconds: float) -> type[asyncio.Protocol]:
    """Give the protocol that uvicorn speaks on each connection, which closes one whose head does not end.

    The first head is due ``head_seconds`` after the connection is made, a later one after its first byte;
    between requests, uvicorn's keep-alive time counts.
    """

    class BoundedConnection(AutoHTTPProtocol):  # type: ignore[misc, valid-type]  # chosen when uvicorn loads
        _due: asyncio.TimerHandle | None = None
        _head_bytes = 0

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._await_head()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.cycle is not None and not self.cycle.response_complete:
                self._forget_head()
                return
            self._await_head()
            self._head_bytes += len(data)
            if self._head_bytes > _HEAD_BYTES:
                self._refuse(_TOO_LARGE)

        def connection_lost(self, exc: Exception | None) -> None:
            self._forget_head()
            super().connection_lost(exc)

        def _await_head(self) -> None:
            if self._due is None:
                self._due = self.loop.call_later(head_seconds, self._refuse, _TOO_SLOW)

        def _forget_head(self) -> None:
            self._head_bytes = 0
            if self._due is not None:
                self._due.cancel()
                self._due = None

        def _refuse(self, answer: bytes) -> None:
            if not self.transport.is_closing():
                self.transport.write(answer)
                self.transport.close()

    return BoundedConnection
