"""A stand-in for a model server that answers rows at no cost, and lies on demand."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Fault = Callable[[str, list[list[Any]], dict[str, Any]], Any]
"""Called with operation, samples and the honest answer; returns the answer to send, or (status, body)."""


def honest(_: str, __: list[list[Any]], answer: dict[str, Any]) -> Any:
    return answer


def number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else float(len(str(value or "")))


@dataclass
class RowServer:
    """``prediction`` is the sum of a row's numbers over 1,000; drivers are the numbers themselves.

    ``state`` is what training found out: another one is a model trained anew.
    """

    features: dict[str, dict[str, Any]]
    fault: Fault = honest
    extra: dict[str, Any] = field(default_factory=dict)
    requests: list[tuple[str, int]] = field(default_factory=list)
    state: float = 1.0
    in_flight: int = 0
    most_in_flight: int = 0
    url: str = ""

    def answer(self, operation: str, body: dict[str, Any]) -> Any:
        if operation == "schema":
            return {
                "feature_names": list(self.features),
                "columns": self.features,
                "target": "y",
                "task": "regression",
            } | self.extra
        if operation == "interpret":
            return {"feature_names": list(self.features), "global_drivers": [self.state] * len(self.features)}
        samples = body["samples"]
        self.requests.append((operation, len(samples)))
        numbers = [[number(value) for value in row] for row in samples]
        told: dict[str, Any] = {"predictions": [sum(row) / 1000 for row in numbers]}
        if operation != "predict":
            told |= {"local_drivers": numbers, "feature_names": list(self.features)}
        if operation == "explain":
            told["local_agop"] = [[value * value for value in row] for row in numbers]
        return self.fault(operation, samples, told)


@contextlib.contextmanager
def row_server(features: dict[str, dict[str, Any]], **arguments: Any) -> Iterator[RowServer]:
    served = RowServer(features, **arguments)
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.reply({})

        def do_POST(self) -> None:
            self.reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def reply(self, body: dict[str, Any]) -> None:
            with lock:
                served.in_flight += 1
                served.most_in_flight = max(served.most_in_flight, served.in_flight)
            told = served.answer(self.path.rpartition("/")[2], body)
            status, told = told if isinstance(told, tuple) else (200, told)
            content = json.dumps(told).encode()
            with lock:
                served.in_flight -= 1
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
