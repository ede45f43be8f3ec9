"""A black-box model behind https://your-model.example.com: a TLS server, and the proxy that leads to it."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.integration.certificates import self_signed

HOST = "your-model.example.com"


class _Teacher(BaseHTTPRequestHandler):
    """Predicts a fixed linear function of the first columns; keeps what it was asked."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.headers.get("Authorization"), len(asked["samples"])))
        told = [
            sum((value or 0.0) * weight for value, weight in zip(row, (2.0, -1.0, 0.5), strict=False))
            for row in asked["samples"]
        ]
        body = json.dumps({"predictions": told}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class BlackBox:
    """``environment`` leads a process to it; ``asked`` lists (Authorization, rows) of each request."""

    def __init__(self, environment: dict[str, str], asked: list[tuple[str | None, int]]) -> None:
        self.environment = environment
        self.asked = asked


@contextlib.contextmanager
def black_box(folder: Path) -> Iterator[BlackBox]:
    """Serve the model for the time of the block."""
    certificate, key = self_signed(folder, HOST)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with (
        ThreadingHTTPServer(("127.0.0.1", 0), _Teacher) as teacher,
        socket.create_server(("127.0.0.1", 0)) as proxy,
    ):
        teacher.asked = []
        teacher.socket = context.wrap_socket(teacher.socket, server_side=True)
        threading.Thread(target=teacher.serve_forever, daemon=True).start()
        threading.Thread(target=_forward, args=(proxy, teacher.server_address), daemon=True).start()
        yield BlackBox(
            {
                "HTTPS_PROXY": f"http://127.0.0.1:{proxy.getsockname()[1]}",
                "NO_PROXY": "127.0.0.1",
                "SSL_CERT_FILE": str(certificate),
            },
            teacher.asked,
        )
        teacher.shutdown()


def _forward(proxy: socket.socket, target: tuple[str, int]) -> None:
    """Answer CONNECT requests for the black box's host by piping bytes to it."""
    while True:
        try:
            client, _ = proxy.accept()
        except OSError:
            return
        head = client.recv(4096)
        if not head.startswith(f"CONNECT {HOST}:443 ".encode()):
            client.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")
            client.close()
            continue
        upstream = socket.create_connection(target)
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        for source, sink in ((client, upstream), (upstream, client)):
            threading.Thread(target=_pipe, args=(source, sink), daemon=True).start()


def _pipe(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
