"""ClearTrace Local speaks HTTPS with a certificate of the operator's."""

from __future__ import annotations

import ssl
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.integration.certificates import self_signed

SERVE = [sys.executable, "-m", "airflow_provider_cleartrace.local.cli", "serve", "--port", "0"]


def test_it_answers_over_https_and_signs_uploads_for_it(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path, "127.0.0.1")
    command = [*SERVE, "--data-dir", str(tmp_path / "data"), "--tls-cert", str(certificate)]
    with subprocess.Popen(
        [*command, "--tls-key", str(key)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        address = process.stdout.readline().split()[-1]
        try:
            assert address.startswith("https://127.0.0.1:")
            trusting = ssl.create_default_context(cafile=str(certificate))
            with httpx.Client(base_url=address, verify=trusting, trust_env=False) as client:
                assert client.get("/health").json() == {"status": "ok"}
                asked = client.post("/v1/uploads", json={"file_format": "csv"}).json()
                assert asked["upload_url"].startswith(address)
            with pytest.raises(httpx.ConnectError), httpx.Client(trust_env=False) as doubting:
                doubting.get(f"{address}/health")
        finally:
            process.terminate()


def test_a_certificate_that_is_none_ends_the_start_with_its_flag(tmp_path: Path) -> None:
    for name, content in (("none.pem", None), ("garbage.pem", "garbage")):
        path = tmp_path / name
        if content:
            path.write_text(content)
        run = subprocess.run(
            [*SERVE, "--data-dir", str(tmp_path / "data"), "--tls-cert", str(path)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 1
        assert "--tls-cert" in run.stderr
        assert "Traceback" not in run.stderr
