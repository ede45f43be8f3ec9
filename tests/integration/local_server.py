"""A real ClearTrace Local in a process of its own, for every test that needs a service."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import pytest

START_SECONDS = 30.0
STOP_SECONDS = 15.0

TO_LOOPBACK = ("--allow-predict-host", "127.0.0.1")
"""For distillations: the tests' black boxes are on this machine."""


class LocalServer:
    """`cleartrace-local serve` on a free loopback port: a context manager, to be killed and restarted.

    Attributes:
        base_url: where it listens, the same after a restart.
        api_key: the first of its keys.
        data_dir: its data directory, kept between restarts.
        process: the running process, None while it is stopped.
        log: the file that its stderr goes to.
    """

    def __init__(
        self, data_dir: Path, *, api_keys: Sequence[str] = ("local-test-key",), flags: Sequence[str] = ()
    ) -> None:
        self.data_dir = data_dir
        self.api_key = api_keys[0]
        self.process: subprocess.Popen[bytes] | None = None
        self.log = data_dir.parent / f"{data_dir.name}.log"
        self._api_keys = api_keys
        self._flags = flags
        self._port = _free_port()
        self.base_url = f"http://127.0.0.1:{self._port}"

    def start(self, env: dict[str, str] | None = None) -> LocalServer:
        """Start the process and wait until it answers."""
        command = [sys.executable, "-m", "airflow_provider_cleartrace.local.cli", "serve"]
        command += ["--data-dir", str(self.data_dir), "--port", str(self._port), *self._flags]
        environment = {**os.environ, "CLEARTRACE_LOCAL_API_KEYS": ",".join(self._api_keys), **(env or {})}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended at its start:\n{self.log.read_text()}")
            try:
                if httpx.get(f"{self.base_url}/health", timeout=2.0, trust_env=False).is_success:
                    return self
            except httpx.TransportError:
                time.sleep(0.05)
        self.kill()
        raise RuntimeError(f"the server did not answer in {START_SECONDS} s:\n{self.log.read_text()}")

    def stop(self) -> None:
        """End the process as an operator would."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None

    def kill(self) -> None:
        """End the process without a chance to tidy up."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def client(self, api_key: str | None = None) -> httpx.Client:
        """A plain HTTP client with a key, past any proxy of the environment."""
        key = api_key or self.api_key
        return httpx.Client(
            base_url=self.base_url,
            headers={"Authorization": f"Bearer {key}"},
            timeout=60.0,
            trust_env=False,
        )

    def __enter__(self) -> LocalServer:
        return self if self.process is not None else self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


@pytest.fixture(scope="session")
def local_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """One server for the tests that share it; each uses model ids of its own."""
    with LocalServer(tmp_path_factory.mktemp("cleartrace-local") / "data", flags=TO_LOOPBACK) as server:
        yield server


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
