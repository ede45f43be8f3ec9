"""The server that the integration tests share."""

from __future__ import annotations

from tests.integration.local_server import local_server

__all__ = ["local_server"]
