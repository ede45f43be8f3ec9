"""The server that the integration tests share, and the Airflow connection to it."""

from __future__ import annotations

import json

import pytest

from tests.integration.local_server import LocalServer, local_server

__all__ = ["local_server"]


@pytest.fixture
def connection(local_server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> LocalServer:
    """``cleartrace_default`` leads to the shared server; jobs are looked at often."""
    monkeypatch.setenv(
        "AIRFLOW_CONN_CLEARTRACE_DEFAULT",
        json.dumps(
            {
                "conn_type": "cleartrace",
                "host": local_server.base_url,
                "password": local_server.api_key,
                "extra": {"poll_interval": 0.1},
            }
        ),
    )
    return local_server
