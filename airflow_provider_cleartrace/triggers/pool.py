"""The clients that all triggers of one triggerer process share.

A trigger borrows the client of its connection: one look-up of the connection, few sockets, and a bound on the
requests under way, however many jobs are waited for. The last borrower closes it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import importlib.util
import logging
import time
from dataclasses import dataclass, field
from typing import Self

from airflow.providers.common.compat.sdk import AirflowNotFoundException
from asgiref.sync import sync_to_async

from airflow_provider_cleartrace.client.async_driver import AsyncDriver, KeyRenewal
from airflow_provider_cleartrace.client.settings import Settings
from airflow_provider_cleartrace.client.transport import AsyncTransport
from airflow_provider_cleartrace.hooks.cleartrace import ClearTraceHook

log = logging.getLogger(__name__)

RENEWAL_PAUSE = 1.0
"""Seconds in which a connection is not read again: a key that was rotated is refused to all waits at once."""


@dataclass(slots=True, eq=False)
class SharedClient:
    """One connection's settings and sockets on one event loop; ``async with`` counts who uses it."""

    key: tuple[asyncio.AbstractEventLoop, str]
    borrowers: int = 0
    _settings: Settings | None = None
    _transport: AsyncDriver | None = None
    _lookup: asyncio.Lock = field(default_factory=asyncio.Lock)
    _read_again: float = 0.0

    async def __aenter__(self) -> Self:
        self.borrowers += 1
        return self

    async def __aexit__(self, *_: object) -> None:
        self.borrowers -= 1
        if not self.borrowers:
            del _shared[self.key]
            if self._transport is not None:
                await self._transport.aclose()

    @property
    def conn_id(self) -> str:
        """The connection's id."""
        return self.key[1]

    @property
    def connected(self) -> tuple[Settings, AsyncDriver] | None:
        """What :meth:`ready` gives, where it is there: of thousands who ask, all but a few need not wait."""
        if self._settings is None or self._transport is None:
            return None
        return self._settings, self._transport

    async def ready(self) -> tuple[Settings, AsyncDriver]:
        """The connection's settings and transport; the first borrower looks the connection up for all."""
        async with self._lookup:
            if self._settings is None or self._transport is None:
                self._settings = await _read(self.conn_id)
                self._transport = _connect(self._settings, self._renew)
            return self._settings, self._transport

    async def _renew(self, refused: str) -> str | None:
        """Read the connection again, once for all who were refused: its key may have been rotated."""
        async with self._lookup:
            now = time.monotonic()
            if self._settings is None or self._settings.api_key != refused or now < self._read_again:
                return None if self._settings is None else self._settings.api_key
            self._read_again = now + RENEWAL_PAUSE
            try:
                found = await _read(self.conn_id)
            except Exception as error:  # the refusal itself is the better error
                log.warning("connection %s cannot be read again: %s", self.conn_id, type(error).__name__)
                return None
            if found.base_url != self._settings.base_url:
                log.warning("connection %s leads elsewhere now: its key is not sent here", self.conn_id)
                return None
            self._settings = dataclasses.replace(self._settings, api_key=found.api_key)
            return found.api_key


def _connect(settings: Settings, renew: KeyRenewal) -> AsyncDriver:
    """The cheapest transport that is installed: aiohttp takes a fraction of httpx's CPU for a poll."""
    if importlib.util.find_spec("aiohttp") is None:
        return AsyncTransport(settings, renew=renew)
    from airflow_provider_cleartrace.client.aiohttp_transport import (  # noqa: PLC0415  (an extra)
        AiohttpTransport,
    )

    return AiohttpTransport(settings, renew=renew)


async def _read(conn_id: str) -> Settings:
    hook = ClearTraceHook(conn_id)
    try:
        return await hook.aget_settings()
    except AirflowNotFoundException:
        # `dag.test()` runs triggers in a process whose supervisor answers synchronous look-ups only.
        return await sync_to_async(hook.settings)()


_shared: dict[tuple[asyncio.AbstractEventLoop, str], SharedClient] = {}


def borrow(conn_id: str) -> SharedClient:
    """A connection's shared client, to be used as an async context manager for the life of a trigger."""
    key = (asyncio.get_running_loop(), conn_id)
    return _shared.setdefault(key, SharedClient(key))
