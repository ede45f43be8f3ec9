"""A black-box model that answers when the test lets it; until then its jobs run, and others wait behind."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

#: A blank now and then keeps the answer below every read timeout. JSON may begin with blanks.
BLANK_SECONDS = 1.0


class HeldTeacher:
    """A linear model at ``url`` that keeps whoever asks waiting until :meth:`release`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.asked = 0
        self._released = threading.Event()

    def hold(self) -> None:
        """Answer nobody from now on."""
        self._released.clear()

    def release(self) -> None:
        """Answer all who wait, and all who come."""
        self._released.set()

    def waited(self) -> bool:
        """Wait a little; tell whether the answer may go out."""
        return self._released.wait(BLANK_SECONDS)


@contextlib.contextmanager
def held_teacher() -> Iterator[HeldTeacher]:
    """Serve on loopback for the time of the block; it holds from the start."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            rows = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["samples"]
            teacher.asked += 1
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            # Who asked may be killed meanwhile.
            with contextlib.suppress(ConnectionError):
                while not teacher.waited():
                    self._chunk(b" ")
                self._chunk(json.dumps({"predictions": [row[0] - 2 * row[1] for row in rows]}).encode())
                self._chunk(b"")

        def _chunk(self, content: bytes) -> None:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(content), content))

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        teacher = HeldTeacher(f"http://127.0.0.1:{server.server_address[1]}/predict")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield teacher
        teacher.release()
        server.shutdown()
