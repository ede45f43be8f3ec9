"""A language model on loopback: an OpenAI-compatible server that says what the test lays down."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Asked = dict[str, Any]
Says = Callable[[Asked], dict[str, Any]]


@dataclass
class LanguageModel:
    """Answers with the message that ``says`` gives, or with ``raw``; ``asked`` holds the requests."""

    url: str
    asked: list[Asked] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)
    says: Says = field(default=lambda _: text(""))
    status: int = 200
    raw: bytes | None = None
    seconds: float = 0.0
    finish_reason: str = "stop"

    def tools_offered(self) -> list[int]:
        """How many tools each request offered."""
        return [len(asked.get("tools", [])) for asked in self.asked]


def text(content: str) -> dict[str, Any]:
    """A message that writes."""
    return {"role": "assistant", "content": content}


def calls(*names: str) -> dict[str, Any]:
    """A message that looks up."""
    asked = [
        {"id": f"call-{position}", "type": "function", "function": {"name": name, "arguments": "{}"}}
        for position, name in enumerate(names)
    ]
    return {"role": "assistant", "content": None, "tool_calls": asked}


def looked_up(asked: Asked) -> list[str]:
    """What the tools answered so far."""
    return [message["content"] for message in asked["messages"] if message["role"] == "tool"]


@contextlib.contextmanager
def language_model() -> Iterator[LanguageModel]:
    """Serve for the time of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert self.path == "/v1/chat/completions"
            model.asked.append(asked)
            model.authorizations.append(self.headers.get("Authorization"))
            body = model.raw
            if body is None:
                choice = {"index": 0, "message": model.says(asked), "finish_reason": model.finish_reason}
                body = json.dumps({"object": "chat.completion", "choices": [choice]}).encode()
            with contextlib.suppress(OSError):  # the server gave up waiting
                self.send_response(model.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if model.seconds:  # byte by byte, so that no pause is long
                    for byte in body:
                        self.wfile.write(bytes([byte]))
                        self.wfile.flush()
                        time.sleep(model.seconds / len(body))
                else:
                    self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        model = LanguageModel(f"http://127.0.0.1:{server.server_address[1]}/v1")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield model
        server.shutdown()
