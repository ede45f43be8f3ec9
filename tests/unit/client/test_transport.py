"""What really goes over a socket: keys where they belong, lengths, typed errors, silent logs."""

from __future__ import annotations

import asyncio
import io
import logging
import ssl
import threading
import traceback
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from airflow_provider_cleartrace.api.errors import AuthenticationError, TransportError, ValidationError
from airflow_provider_cleartrace.client import AsyncClearTrace, ClearTrace
from airflow_provider_cleartrace.client.aiohttp_transport import AiohttpTransport
from airflow_provider_cleartrace.client.async_driver import AsyncDriver
from airflow_provider_cleartrace.client.exchange import FileBody, Request, exchange
from airflow_provider_cleartrace.client.session import Session, health
from airflow_provider_cleartrace.client.settings import Settings
from airflow_provider_cleartrace.client.transport import AsyncTransport, SyncTransport
from tests.integration.certificates import self_signed

KEY = "canary-key"
SIGNATURE = "canary-signature"


class Recorder(BaseHTTPRequestHandler):
    """Keeps every request; answers 401 to keys that are not the server's."""

    protocol_version = "HTTP/1.1"

    def _reply(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        self.server.seen.append((self.command, self.path, dict(self.headers), self.rfile.read(length)))
        refused = self.server.key and self.headers.get("Authorization") != f"Bearer {self.server.key}"
        body = b'{"detail": "key refused"}' if refused else b'{"status": "ok"}'
        self.send_response(401 if refused else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_POST = _reply

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Recorder) as recorder:
        recorder.seen, recorder.key = [], ""
        threading.Thread(target=recorder.serve_forever, daemon=True).start()
        yield recorder
        recorder.shutdown()


def url(server: ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}"


def presigned(server: ThreadingHTTPServer, content: object) -> Request:
    return Request(
        "upload",
        "PUT",
        f"{url(server)}/bucket/key?X-Amz-Signature={SIGNATURE}",
        timeout=5,
        content=content,
        headers={"Content-Type": "text/csv"},
        authenticated=False,
        presigned=True,
    )


ASYNC = {"async": AsyncTransport, "aiohttp": AiohttpTransport}


def drive(mode: str, settings: Settings, *flows: object) -> list[object]:
    """Run flows with one of the transports."""
    if mode == "sync":
        transport = SyncTransport(settings)
        try:
            return [transport.run(flow) for flow in flows]
        finally:
            transport.close()

    async def all_of_them() -> list[object]:
        transport = ASYNC[mode](settings)
        try:
            return [await transport.run(flow) for flow in flows]
        finally:
            await transport.aclose()

    return asyncio.run(all_of_them())


every_mode = pytest.mark.parametrize("mode", ["sync", *ASYNC])
every_async_transport = pytest.mark.parametrize("transport_type", ASYNC.values())


@every_mode
def test_the_key_goes_to_the_api_and_never_to_the_store(server: ThreadingHTTPServer, mode: str) -> None:
    settings = Settings(url(server), KEY)
    body = FileBody(io.BytesIO(b"x" * 600_000), 0, 600_000)
    from airflow_provider_cleartrace.api.operations import STATUS
    from airflow_provider_cleartrace.client.session import answer_of

    session = Session(settings)
    drive(mode, settings, answer_of(session, STATUS, model_id="m"), exchange(presigned(server, body)))

    (_, _, api, _), (_, _, store, sent) = server.seen
    assert api["Authorization"] == f"Bearer {KEY}"
    assert "Authorization" not in store
    assert store["Content-Length"] == "600000"
    assert "Transfer-Encoding" not in store
    assert store["Content-Type"] == "text/csv"
    assert sent == b"x" * 600_000


@every_mode
def test_no_log_line_holds_a_key_or_a_signed_url(
    server: ThreadingHTTPServer, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    settings = Settings(url(server), KEY)

    drive(mode, settings, health(Session(settings)), exchange(presigned(server, b"x")))

    assert SIGNATURE not in caplog.text
    assert KEY not in caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.INFO]


@every_mode
def test_no_error_holds_a_key_or_a_signed_url(server: ThreadingHTTPServer, mode: str) -> None:
    server.shutdown()
    server.server_close()
    settings = Settings(url(server), KEY)

    with pytest.raises(TransportError) as caught:
        drive(mode, settings, exchange(presigned(server, b"x")))

    told = "".join(traceback.format_exception(caught.value))
    assert SIGNATURE not in told
    assert KEY not in told
    assert caught.value.sent is False
    assert "127.0.0.1" in str(caught.value)


@every_mode
def test_a_server_that_hangs_up_may_have_got_the_request(mode: str) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            connection, _ = listener.accept()
            connection.recv(100)
            connection.close()

        threading.Thread(target=hang_up, daemon=True).start()
        settings = Settings(f"http://127.0.0.1:{listener.getsockname()[1]}", KEY)
        request = Request("fit", "POST", f"{settings.base_url}/v1/fit", timeout=5, content=b"{}")
        with pytest.raises(TransportError) as caught:
            drive(mode, settings, exchange(request))

    assert caught.value.sent is True


@pytest.mark.parametrize("with_scheme", [True, False])
@every_mode
def test_the_proxy_of_the_environment_is_asked_unless_the_host_is_exempt(
    server: ThreadingHTTPServer, mode: str, with_scheme: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "all_proxy", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", url(server) if with_scheme else url(server).removeprefix("http://"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    for host in ("http://cleartrace.test", url(server)):
        settings = Settings(host, KEY)
        drive(mode, settings, health(Session(settings)))

    assert [path for _, path, _, _ in server.seen] == ["http://cleartrace.test/health", "/health"]


@every_mode
def test_a_certificate_is_trusted_as_the_settings_say_and_else_the_request_never_leaves(
    server: ThreadingHTTPServer, mode: str, tmp_path: Path
) -> None:
    certificate, key = self_signed(tmp_path, "127.0.0.1")
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trust.load_cert_chain(certificate, key)
    server.socket = trust.wrap_socket(server.socket, server_side=True)
    secure = url(server).replace("http://", "https://")

    for verify in (str(certificate), False):
        settings = Settings(secure, KEY, verify=verify)
        (answered,) = drive(mode, settings, health(Session(settings)))
        assert answered.status == "ok"

    settings = Settings(secure, KEY, max_retries=0)
    with pytest.raises(TransportError) as caught:
        drive(mode, settings, health(Session(settings)))
    assert caught.value.sent is False
    assert len(server.seen) == 2


@every_async_transport
def test_a_rotated_key_is_read_again_once(
    server: ThreadingHTTPServer, transport_type: type[AsyncDriver]
) -> None:
    server.key = "new"
    asked: list[str] = []

    async def renew(refused: str) -> str:
        asked.append(refused)
        return "new"

    async def two_calls() -> None:
        settings = Settings(url(server), "old", max_retries=0)
        transport = transport_type(settings, renew=renew)
        session = Session(settings)
        from airflow_provider_cleartrace.api.operations import STATUS
        from airflow_provider_cleartrace.client.session import answer_of

        await transport.run(answer_of(session, STATUS, model_id="m"))
        await transport.run(answer_of(session, STATUS, model_id="m"))
        await transport.aclose()

    asyncio.run(two_calls())

    assert asked == ["old"]
    assert [headers["Authorization"] for _, _, headers, _ in server.seen] == [
        "Bearer old",
        "Bearer new",
        "Bearer new",
    ]


@every_async_transport
def test_a_key_that_stays_refused_fails_after_two_tries(
    server: ThreadingHTTPServer, transport_type: type[AsyncDriver]
) -> None:
    server.key = "other"

    async def renew(_: str) -> str:
        return "still wrong"

    async def one_call() -> None:
        settings = Settings(url(server), "old")
        transport = transport_type(settings, renew=renew)
        from airflow_provider_cleartrace.api.operations import STATUS
        from airflow_provider_cleartrace.client.session import call

        try:
            await transport.run(call(Session(settings), STATUS, model_id="m"))
        finally:
            await transport.aclose()

    with pytest.raises(AuthenticationError):
        asyncio.run(one_call())
    assert len(server.seen) == 2


class TestSettings:
    def test_arguments_go_before_the_environment_and_that_before_the_hosted_service(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("OUTERPRODUCT_API_URL", raising=False)
        monkeypatch.delenv("OUTERPRODUCT_API_KEY", raising=False)
        with ClearTrace() as client:
            assert client.session.settings.base_url == "https://cleartrace-api.onrender.com"
            assert client.session.settings.api_key is None
        monkeypatch.setenv("OUTERPRODUCT_API_URL", "http://env:1/")
        monkeypatch.setenv("OUTERPRODUCT_API_KEY", "env-key")
        with ClearTrace() as client:
            assert client.session.settings.base_url == "http://env:1"
            assert client.session.settings.api_key == "env-key"
        with ClearTrace("http://given:2", "given") as client:
            assert client.session.settings.base_url == "http://given:2"
            assert client.session.settings.api_key == "given"

    @pytest.mark.parametrize(
        ("arguments", "complaint"),
        [
            ({"base_url": "ftp://host"}, "base_url"),
            ({"base_url": "host:80"}, "base_url"),
            ({"base_url": "http://user:pw@host"}, "credentials"),
            ({"timeout": 0}, "timeout"),
            ({"poll_interval": 0}, "poll_interval"),
            ({"timeout": float("nan")}, "timeout"),
            ({"max_retries": -1}, "max_retries"),
            ({"verify": "/no/such/ca.pem"}, "/no/such/ca.pem"),
            ({"paths": {"fitt": "/v1/fit"}}, "fitt"),
            ({"paths": {"fit": "x:1/fit"}}, "/v1/fit"),
            ({"paths": {"status": "/status"}}, "model_id"),
            ({"api_key": "schlüssel"}, "api_key"),
        ],
    )
    def test_what_cannot_work_is_refused_at_once(self, arguments: dict, complaint: str) -> None:
        with pytest.raises(ValidationError, match=complaint) as caught:
            ClearTrace(**{"base_url": "http://host"} | arguments)
        assert "schlüssel" not in str(caught.value)
        assert ":pw@" not in str(caught.value)

    def test_both_clients_have_the_documented_defaults_and_hide_the_key(self) -> None:
        for client in (ClearTrace("http://h", KEY), AsyncClearTrace("http://h", KEY)):
            settings = client.session.settings
            assert (settings.timeout, settings.poll_interval, settings.max_retries) == (300, 2.0, 3)
            assert KEY not in repr(settings)
            assert KEY not in repr(client.session)
