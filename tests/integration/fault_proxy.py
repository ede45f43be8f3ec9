"""An HTTP proxy in front of a ClearTrace server: spoils chosen exchanges, and counts what it let through."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

UPSTREAM_TIMEOUT = 60.0

_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length"})

_SIGNATURE = re.compile(rb"[?&]signature=([^&\"]+)")

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Exchange:
    """One request in the proxy's hands. A fault decides whether it is forwarded, and what is answered."""

    def __init__(self, proxy: FaultProxy, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        self.proxy = proxy
        self._handler = handler
        self._body = body

    @property
    def target(self) -> str:
        """The path that was asked for, with its query."""
        return self._handler.path

    def forward(self) -> tuple[int, list[tuple[str, str]], bytes]:
        """Have the server do it; give its answer, which is not passed on yet."""
        handler = self._handler
        upstream = http.client.HTTPConnection(self.proxy.upstream, timeout=UPSTREAM_TIMEOUT)
        with contextlib.closing(upstream):
            upstream.putrequest(handler.command, handler.path, skip_host=True, skip_accept_encoding=True)
            for name, value in handler.headers.items():
                own = name.lower() == "authorization"
                upstream.putheader(name, f"Bearer {self.proxy.server_key}" if own else value)
            upstream.endheaders(self._body)
            response = upstream.getresponse()
            content = response.read()
        self.proxy.note_passed(handler.command, handler.path, content)
        headers = [entry for entry in response.getheaders() if entry[0].lower() not in _HOP_BY_HOP]
        return response.status, headers, content

    def answer(
        self, status: int, content: bytes, headers: list[tuple[str, str]] | None = None, missing: int = 0
    ) -> None:
        """Answer; ``missing`` bytes are announced and never sent."""
        handler = self._handler
        handler.send_response_only(status)
        for name, value in headers or []:
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(content) + missing))
        handler.end_headers()
        handler.wfile.write(content)
        handler.close_connection = handler.close_connection or missing > 0

    def trickle(self, content: bytes, pause: float) -> None:
        """Answer 200 a byte at a time, until the client has had enough."""
        self._handler.send_response_only(200)
        self._handler.send_header("Content-Length", str(len(content)))
        self._handler.end_headers()
        for place, byte in enumerate(content, start=1):
            time.sleep(pause)
            self.proxy.trickled_out += place == len(content)
            self._handler.wfile.write(bytes([byte]))

    def reset(self) -> None:
        """Break the connection with a TCP reset."""
        self._handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._handler.close_connection = True


Fault = Callable[[Exchange], None]


def passed_on(exchange: Exchange) -> None:
    """No fault: the server's own answer."""
    status, headers, content = exchange.forward()
    exchange.answer(status, content, headers)


def reset(exchange: Exchange) -> None:
    """The connection breaks before the server hears of the request."""
    exchange.reset()


def answer_lost(exchange: Exchange) -> None:
    """The server has done it, and the connection breaks before the answer."""
    exchange.forward()
    exchange.reset()


def answer_halved(exchange: Exchange) -> None:
    """The server has done it; half of its JSON arrives, as if it were all."""
    status, headers, content = exchange.forward()
    exchange.answer(status, content[: len(content) // 2], headers)


def answer_cut(exchange: Exchange) -> None:
    """The server has done it; the connection closes in the middle of its answer."""
    status, headers, content = exchange.forward()
    half = len(content) // 2
    exchange.answer(status, content[:half], headers, missing=len(content) - half)


def answered(status: int, body: Any = None, **headers: str) -> Fault:
    """The server hears nothing, the client gets this answer; header names are written with underscores."""
    content = body if isinstance(body, bytes) else json.dumps(body or {"detail": "injected"}).encode()
    named = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return lambda exchange: exchange.answer(status, content, named)


def answered_after_effect(status: int) -> Fault:
    """The server has done it, and a gateway in between says otherwise."""

    def fault(exchange: Exchange) -> None:
        exchange.forward()
        exchange.answer(status, b"<html>gateway</html>")

    return fault


def meanwhile(action: Callable[[], object], then: Fault = passed_on) -> Fault:
    """Something else happens before the request is dealt with."""

    def fault(exchange: Exchange) -> None:
        action()
        then(exchange)

    return fault


def endpoint(method: str, target: str) -> str:
    """A request's method and path, with the ids taken out: ``GET /v1/models/{model_id}/status``."""
    path = re.sub(r"(?<=^/v1/models/)[^/]+", "{model_id}", target.partition("?")[0])
    return f"{method} {re.sub('^/uploads/.*', '/uploads', path)}"


@dataclass
class Rule:
    """Which exchanges a fault meets: the ``first`` to the ``last`` at an endpoint, counted from 1.

    With ``after``, counting starts when a request to that endpoint has reached the server.
    """

    endpoint: str
    fault: Fault
    first: int = 1
    last: float = 1
    after: str | None = None
    _seen: int = 0

    def meets(self, endpoint: str, passed: Counter[str]) -> bool:
        """Count a request, and say whether the fault is for it."""
        if endpoint != self.endpoint or (self.after and not passed[self.after]):
            return False
        self._seen += 1
        return self.first <= self._seen <= self.last


@dataclass
class FaultProxy:
    """Forwards to ``upstream`` (``host:port``) under the server's key, for clients that know ``key``.

    Attributes:
        passed: requests that reached the server, by endpoint.
        times: monotonic instants at which requests arrived, by endpoint.
        refused_keys: how many requests came with another key.
        signatures: of the upload URLs that were handed out.
        trickled_out: how often a client had the patience for the whole of a trickle.
        most_connections: the most client connections that were open at once.
    """

    upstream: str
    server_key: str
    key: str
    url: str = ""
    rules: list[Rule] = field(default_factory=list)
    passed: Counter[str] = field(default_factory=Counter)
    times: dict[str, list[float]] = field(default_factory=dict)
    refused_keys: int = 0
    signatures: set[str] = field(default_factory=set)
    trickled_out: int = 0
    most_connections: int = 0
    _connections: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def fault_for(self, method: str, target: str, authorization: str | None) -> Fault:
        """What happens to a request that has arrived."""
        asked = endpoint(method, target)
        with self._lock:
            self.times.setdefault(asked, []).append(time.monotonic())
            # Every rule counts, whichever of them applies.
            met = [rule.fault for rule in self.rules if rule.meets(asked, self.passed)]
            if met:
                return met[0]
            if authorization is not None and authorization != f"Bearer {self.key}":
                self.refused_keys += 1
                return answered(401, {"detail": "the API key is not valid"})
        return passed_on

    def note_passed(self, method: str, target: str, content: bytes) -> None:
        """Keep account of a request that the server has answered."""
        with self._lock:
            self.passed[endpoint(method, target)] += 1
            self.signatures.update(found.decode() for found in _SIGNATURE.findall(content))

    def connected(self, change: int) -> None:
        """Keep account of a client connection that opens (1) or closes (-1)."""
        with self._lock:
            self._connections += change
            self.most_connections = max(self.most_connections, self._connections)


class _Server(ThreadingHTTPServer):
    request_queue_size = 128

    def shutdown_request(self, request: Any) -> None:
        """Close without the usual goodbye, so that a reset stays a reset."""
        self.close_request(request)

    def handle_error(self, *_: Any) -> None:
        """A client may leave, and the server behind may be down: neither is the proxy's failure."""


@contextlib.contextmanager
def fault_proxy(base_url: str, server_key: str, key: str) -> Iterator[FaultProxy]:
    """Serve on loopback for the time of the block."""
    proxy = FaultProxy(base_url.removeprefix("http://"), server_key, key)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            proxy.connected(1)
            super().setup()

        def finish(self) -> None:
            proxy.connected(-1)
            super().finish()

        def _exchange(self) -> None:
            announced = int(self.headers.get("Content-Length", 0))
            body = self.rfile.read(announced)
            exchange = Exchange(proxy, self, body)
            if len(body) < announced:  # the client has left in mid-sentence
                exchange.reset()
                return
            fault = proxy.fault_for(self.command, self.path, self.headers.get("Authorization"))
            try:
                fault(exchange)
            except (OSError, http.client.HTTPException):  # the client has left, or the server is down
                exchange.reset()

        do_GET = do_POST = do_PUT = do_DELETE = _exchange

        def log_message(self, *_: object) -> None:
            pass

    with _Server(("127.0.0.1", 0), Handler) as server:
        proxy.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield proxy
        server.shutdown()
        thread.join()
