"""The command ``cleartrace-local``: reads flags and environment, binds the port, serves."""

from __future__ import annotations

import argparse
import ipaddress
import os
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_provider_cleartrace.local.settings import Settings

if TYPE_CHECKING:
    import uvicorn

    from airflow_provider_cleartrace.local.jobs import JobRunner

KEYS_VARIABLE = "CLEARTRACE_LOCAL_API_KEYS"
"""Comma-separated keys; unlike a flag, they do not show in the list of processes."""

LLM_KEY_VARIABLE = "CLEARTRACE_LLM_API_KEY"
"""The key that the language model's service asks for."""

DEFAULT_PORT = 8787

_BACKLOG = 2048
_KEEP_ALIVE_SECONDS = 75
"""Longer than a client's pause between two polls, so that its connection is still there."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; give its exit code."""
    parser = _parser()
    given = parser.parse_args(arguments)
    keys = (*given.api_key, *_keys_of_environment())
    if not keys and not _is_loopback(given.host):
        parser.error(f"without an API key the server binds to loopback only, not to {given.host}")
    if given.tls_key and not given.tls_cert:
        parser.error("--tls-key needs the certificate as well: --tls-cert")
    llm_key = os.environ.pop(LLM_KEY_VARIABLE, "").strip() or None  # taken out like the keys
    problem = _llm_problem(given.llm_url, given.llm_model, llm_key)
    if problem:
        parser.error(problem)
    limits: dict[str, Any] = {name: getattr(given, name) for name in _flags()}
    limits["allow_predict_host"] = tuple(given.allow_predict_host)
    settings = Settings(data_dir=given.data_dir.resolve(), api_keys=keys, llm_key=llm_key, **limits)
    return _serve(settings, given.host, given.port)


def _serve(settings: Settings, host: str, port: int) -> int:
    # The server's libraries load here: `--help` and a wrong flag answer at once.
    import uvicorn  # noqa: PLC0415

    from airflow_provider_cleartrace.local.app import create_app  # noqa: PLC0415
    from airflow_provider_cleartrace.local.connections import bounded_connections  # noqa: PLC0415
    from airflow_provider_cleartrace.local.folders import DataDirInUse  # noqa: PLC0415
    from airflow_provider_cleartrace.local.logs import write_to_stderr  # noqa: PLC0415

    write_to_stderr()
    try:
        listener = _bind(host, port)
        app = create_app(settings)
    except (DataDirInUse, OSError, ValueError) as error:
        sys.stderr.write(f"cleartrace-local: {error}\n")
        return 1
    config = uvicorn.Config(
        app,
        http=bounded_connections(settings.request_head_seconds),
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=settings.drain_seconds,
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
    )
    try:
        config.load()
    except (OSError, ValueError) as error:  # an ssl.SSLError is an OSError
        sys.stderr.write(f"cleartrace-local: --tls-cert and --tls-key cannot be used: {error}\n")
        return 1
    bound_host, bound_port = listener.getsockname()[:2]
    scheme = "https" if settings.tls_cert else "http"
    shown = f"[{bound_host}]" if ":" in bound_host else bound_host
    sys.stdout.write(f"ClearTrace Local serves {settings.data_dir} on {scheme}://{shown}:{bound_port}\n")
    sys.stdout.flush()
    _draining(uvicorn.Server(config), app.state.runner).run(sockets=[listener])
    return 0


def _draining(server: uvicorn.Server, runner: JobRunner) -> uvicorn.Server:
    """Tell the runner of the first signal when it arrives, and of a second one, which ends the wait."""
    handle_exit = server.handle_exit

    def told(sig: int, frame: FrameType | None) -> None:
        if server.should_exit:
            runner.give_up()
        else:
            runner.drain()
        handle_exit(sig, frame)

    server.handle_exit = told  # type: ignore[method-assign]  # what uvicorn registers for the signals
    return server


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cleartrace-local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser(
        "serve", help="serve ClearTrace", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    serve.add_argument(
        "--data-dir", type=Path, required=True, default=argparse.SUPPRESS, help="where everything is kept"
    )
    serve.add_argument("--host", default="127.0.0.1", help="address to bind")
    serve.add_argument("--port", type=int, default=DEFAULT_PORT, help="port to bind; 0: a free one")
    serve.add_argument(
        "--api-key",
        action="append",
        default=[],
        help=f"a key that is accepted; repeatable. Better set {KEYS_VARIABLE} (comma separated)",
    )
    for name, (default, text, least) in _flags().items():
        flag = "--" + name.replace("_", "-")
        if isinstance(default, bool):
            serve.add_argument(flag, action="store_true", help=text)
        elif isinstance(default, tuple):
            serve.add_argument(flag, action="append", default=list(default), help=text)
        else:
            kind = _at_least(least) if isinstance(default, int) else str
            serve.add_argument(flag, type=kind, default=default, help=text)
    return parser


def _flags() -> dict[str, tuple[object, str, int]]:
    """Give default, help and least value of each setting that is a flag."""
    return {
        field.name: (field.default, field.metadata["help"], field.metadata.get("least", 1))
        for field in fields(Settings)
        if field.metadata
    }


def _at_least(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if int(text) < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}")
        return int(text)

    return number


def _keys_of_environment() -> list[str]:
    # Taken out, so that workers do not inherit the keys.
    return [key.strip() for key in os.environ.pop(KEYS_VARIABLE, "").split(",") if key.strip()]


def _llm_problem(url: str | None, model: str | None, key: str | None) -> str | None:
    """Say what is wrong with how the language model was named; never repeats what was given."""
    if (url is None) != (model is None):
        return "--llm-url and --llm-model need each other"
    if key is not None and not (key.isascii() and key.isprintable()):
        return f"{LLM_KEY_VARIABLE} holds characters that no HTTP header can carry"
    try:
        parts = urlsplit(url or "http://none")
        complete = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return "--llm-url is no URL"
    if not complete or parts.username is not None or parts.query or parts.fragment:
        return f"--llm-url must be http(s)://HOST/PATH alone; a key goes into {LLM_KEY_VARIABLE}"
    return None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        raise OSError(f"cannot bind {host}:{port}: {error.strerror}") from None
    listener.listen(_BACKLOG)
    return listener


if __name__ == "__main__":
    sys.exit(main())
