"""A status server that costs next to nothing and counts jobs, polls and sockets, in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.integration.certificates import self_signed

HOST = "127.0.0.1"
BACKLOG = 8192
STATUS = b'{"model_id": "m", "job": "fit", "status": "running", "progress": 0.4}'


def answer(body: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


@dataclass
class Counts:
    """What happened since the last reset."""

    polls: int = 0
    sockets: int = 0
    most_sockets: int = 0
    accepted: int = 0
    first_seen: dict[str, float] = field(default_factory=dict)


class Polls(asyncio.Protocol):
    """One connection: every request is a poll, and its path names the job."""

    ready = answer(STATUS)

    def __init__(self, counts: Counts) -> None:
        self.counts = counts
        self.head = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.counts.accepted += 1
        self.counts.sockets += 1
        self.counts.most_sockets = max(self.counts.most_sockets, self.counts.sockets)

    def connection_lost(self, _: Exception | None) -> None:
        self.counts.sockets -= 1

    def data_received(self, data: bytes) -> None:
        self.head += data
        if not self.head.endswith(b"\r\n\r\n"):
            return
        path = self.head.split(b" ", 2)[1].partition(b"?")[0].decode()
        self.head = b""
        self.counts.polls += 1
        self.counts.first_seen.setdefault(path, time.time())
        self.transport.write(self.ready)


class Control(asyncio.Protocol):
    """Tells the counts, and begins anew after a reset."""

    def __init__(self, counts: Counts) -> None:
        self.counts = counts

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if b"/reset" in data:
            counts = self.counts
            counts.polls = counts.accepted = 0
            counts.most_sockets = counts.sockets
            counts.first_seen.clear()
        seen = self.counts.first_seen
        told = asdict(self.counts) | {"first_seen": len(seen), "last_first": max(seen.values(), default=0.0)}
        self.transport.write(answer(json.dumps(told).encode()))
        self.transport.close()


async def serve(certificate: str, key: str) -> None:
    loop = asyncio.get_running_loop()
    counts = Counts()
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trust.load_cert_chain(certificate, key)
    servers = [
        await loop.create_server(lambda: Polls(counts), HOST, 0, backlog=BACKLOG),
        await loop.create_server(lambda: Polls(counts), HOST, 0, backlog=BACKLOG, ssl=trust),
        await loop.create_server(lambda: Control(counts), HOST, 0),
    ]
    print(json.dumps([server.sockets[0].getsockname()[1] for server in servers]), flush=True)
    await asyncio.Event().wait()


@dataclass(frozen=True)
class StatusServer:
    """The running server, seen from the benchmark."""

    http: str
    https: str
    control: str
    certificate: str

    def url(self, scheme: str) -> str:
        return self.http if scheme == "http" else self.https

    def reset(self) -> None:
        self._ask("reset")

    def counts(self) -> dict[str, Any]:
        """``polls``, ``accepted``, ``most_sockets``, jobs seen, and when the last one was first seen."""
        return self._ask("counts")

    def _ask(self, path: str) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.control}/{path}", timeout=30) as response:
            told: dict[str, Any] = json.load(response)
            return told


@contextlib.contextmanager
def status_server() -> Iterator[StatusServer]:
    """Start the server; it ends with the block."""
    with tempfile.TemporaryDirectory() as folder:
        certificate, key = self_signed(Path(folder), HOST)
        command = (sys.executable, "-m", __name__, str(certificate), str(key))
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                if process.stdout is None:
                    raise RuntimeError("no pipe to the server")
                ports = json.loads(process.stdout.readline())
                http, https, control = (f"{HOST}:{port}" for port in ports)
                yield StatusServer(
                    f"http://{http}", f"https://{https}", f"http://{control}", str(certificate)
                )
            finally:
                process.terminate()


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:]))
