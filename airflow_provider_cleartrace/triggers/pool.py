"""The clients that all triggers of one triggerer process share.

A trigger borrows the client of its connection: one lookup of the connection, few sockets, and never more than
:data:`MAX_IN_FLIGHT` requests at a time, however many jobs are waited for. The last borrower closes it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from airflow.providers.common.compat.sdk import AirflowNotFoundException
from asgiref.sync import sync_to_async

from airflow_provider_cleartrace.api.errors import AuthenticationError
from airflow_provider_cleartrace.client import AsyncClearTrace
from airflow_provider_cleartrace.client.exchange import Flow
from airflow_provider_cleartrace.client.session import Session
from airflow_provider_cleartrace.client.settings import Settings
from airflow_provider_cleartrace.hooks.cleartrace import ClearTraceHook

MAX_IN_FLIGHT = 20
"""Requests under way at once for one connection; more make httpx's own queue the bottleneck."""

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class SharedClient:
    """One connection's client on one event loop."""

    conn_id: str
    borrowers: int = 0
    _client: AsyncClearTrace | None = None
    _lookup: asyncio.Lock = field(default_factory=asyncio.Lock)
    _in_flight: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_IN_FLIGHT))

    async def run(self, flow: Callable[[Session], Flow[T]]) -> T:
        """Drive a flow; a refused key makes the connection be read again, once, as it may have been rotated."""
        client = await self._current(None)
        try:
            return await self._drive(client, flow)
        except AuthenticationError:
            client = await self._current(client)
            return await self._drive(client, flow)

    async def _drive(self, client: AsyncClearTrace, flow: Callable[[Session], Flow[T]]) -> T:
        async with self._in_flight:
            return await client.run(flow(Session(client.session.settings)))

    async def _current(self, refused: AsyncClearTrace | None) -> AsyncClearTrace:
        """The client in use; made anew when there is none, or the one there was ``refused``."""
        async with self._lookup:
            if self._client is None or self._client is refused:
                fresh = AsyncClearTrace.from_settings(await _settings(self.conn_id))
                self._client, old = fresh, self._client
                if old is not None:
                    await old.aclose()
            return self._client

    async def aclose(self) -> None:
        """Close the sockets."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None


async def _settings(conn_id: str) -> Settings:
    hook = ClearTraceHook(conn_id)
    try:
        return await hook.aget_settings()
    except AirflowNotFoundException:
        # `dag.test()` runs triggers in a process whose supervisor answers synchronous look-ups only.
        return await sync_to_async(hook.settings)()


_shared: dict[tuple[asyncio.AbstractEventLoop, str], SharedClient] = {}


@contextlib.asynccontextmanager
async def borrow(conn_id: str) -> AsyncIterator[SharedClient]:
    """The shared client of a connection, for the time of one trigger."""
    key = (asyncio.get_running_loop(), conn_id)
    shared = _shared.setdefault(key, SharedClient(conn_id))
    shared.borrowers += 1
    try:
        yield shared
    finally:
        shared.borrowers -= 1
        if not shared.borrowers:
            del _shared[key]
            await shared.aclose()
