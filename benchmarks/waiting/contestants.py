"""Triggers that wait for one job each: ours, and the patterns it is compared with."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, ClassVar

import aiohttp
import httpx
from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_cleartrace.client.settings import Settings
from airflow_provider_cleartrace.client.transport import AsyncTransport
from airflow_provider_cleartrace.hooks.cleartrace import DEFAULT_CONN_ID, ClearTraceHook
from airflow_provider_cleartrace.triggers import pool
from airflow_provider_cleartrace.triggers.job import ClearTraceJobTrigger

try:
    from httpx_aiohttp import HttpxAiohttpClient
except ImportError:  # not a dependency: installed by whoever wants to compare
    HttpxAiohttpClient = None

POLL_INTERVAL = 10.0
TICK = 0.05


class Ours(ClearTraceJobTrigger):
    """The provider's trigger, looking as often as the others."""

    title = "ours"

    def __init__(self, model_id: str) -> None:
        super().__init__(
            model_id,
            "fit",
            DEFAULT_CONN_ID,
            started=time.time(),
            poll_interval=POLL_INTERVAL,
            max_poll_interval=POLL_INTERVAL,
        )

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return super().serialize()[0], {"model_id": self.model_id}


class OursOverHttpx(Ours):
    """The same as if aiohttp were not installed."""

    title = "ours, httpx"

    def run(self) -> AsyncIterator[TriggerEvent]:
        pool._connect = lambda settings, renew: AsyncTransport(settings, renew=renew)
        return super().run()


class Peer(BaseTrigger):
    """A loop of looks and sleeps; a subclass says how it looks."""

    title: ClassVar[str]

    def __init__(self, model_id: str) -> None:
        super().__init__()
        self.model_id = model_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{type(self).__module__}.{type(self).__qualname__}", {"model_id": self.model_id}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        settings = await ClearTraceHook(DEFAULT_CONN_ID).aget_settings()
        self.url = f"{settings.base_url}/v1/models/{self.model_id}/status?job=fit"
        self.headers = {"Authorization": f"Bearer {settings.api_key}", "Accept": "application/json"}
        async with self.connected(settings):
            while True:
                # Overloaded, some time out: their triggers would fail, and the comparison with them.
                with contextlib.suppress(aiohttp.ClientError, httpx.HTTPError, TimeoutError):
                    if (await self.look())["status"] != "running":
                        break
                await asyncio.sleep(POLL_INTERVAL)
        yield TriggerEvent({})

    @contextlib.asynccontextmanager
    async def connected(self, settings: Settings) -> AsyncIterator[None]:
        self.trust = trust_of(settings)
        yield

    async def look(self) -> dict[str, Any]:
        raise NotImplementedError


_contexts: dict[str, ssl.SSLContext] = {}


def trust_of(settings: Settings) -> ssl.SSLContext | bool:
    """One context for a process, which is what aiohttp does by itself with the system's certificates."""
    if not isinstance(settings.verify, str):
        return True
    if settings.verify not in _contexts:
        _contexts[settings.verify] = ssl.create_default_context(cafile=settings.verify)
    return _contexts[settings.verify]


class ClientPerTrigger(Peer):
    """One httpx client for each trigger."""

    title = "(a) httpx client per trigger"

    @contextlib.asynccontextmanager
    async def connected(self, settings: Settings) -> AsyncIterator[None]:
        own = ssl.create_default_context(cafile=settings.verify) if isinstance(settings.verify, str) else True
        async with httpx.AsyncClient(verify=own, headers=self.headers) as self.client:
            yield

    async def look(self) -> dict[str, Any]:
        response = await self.client.get(self.url)
        return response.raise_for_status().json()


class SessionPerCall(Peer):
    """As the trigger of dbt Cloud's provider: one look at the connection, a session for every call."""

    title = "(b) aiohttp session per call"

    async def look(self) -> dict[str, Any]:
        connector = aiohttp.TCPConnector(ssl=self.trust)
        async with (
            aiohttp.ClientSession(connector=connector, headers=self.headers) as session,
            session.get(self.url) as response,
        ):
            response.raise_for_status()
            return await response.json()


class SharedAiohttp(Peer):
    """One aiohttp session for all, with its own limit of 100 sockets."""

    title = "(c) shared aiohttp"
    session: ClassVar[aiohttp.ClientSession | None] = None

    @contextlib.asynccontextmanager
    async def connected(self, settings: Settings) -> AsyncIterator[None]:
        if SharedAiohttp.session is None:
            connector = aiohttp.TCPConnector(ssl=trust_of(settings))
            SharedAiohttp.session = aiohttp.ClientSession(connector=connector, headers=self.headers)
        yield

    async def look(self) -> dict[str, Any]:
        async with self.session.get(self.url) as response:
            response.raise_for_status()
            return await response.json()


class SharedHttpxAiohttp(Peer):
    """One httpx client for all whose transport is aiohttp, behind a semaphore (needs httpx-aiohttp)."""

    title = "shared httpx-aiohttp"
    client: ClassVar[Any] = None
    in_flight: ClassVar[asyncio.Semaphore]

    @contextlib.asynccontextmanager
    async def connected(self, settings: Settings) -> AsyncIterator[None]:
        cls = SharedHttpxAiohttp
        if cls.client is None:
            cls.client = HttpxAiohttpClient(verify=trust_of(settings), headers=self.headers)
            cls.in_flight = asyncio.Semaphore(20)
        yield

    async def look(self) -> dict[str, Any]:
        async with self.in_flight:
            response = await self.client.get(self.url)
        return response.raise_for_status().json()


CONTESTANTS = {
    "ours": Ours,
    "ours-httpx": OursOverHttpx,
    "per-trigger": ClientPerTrigger,
    "per-call": SessionPerCall,
    "shared": SharedAiohttp,
} | ({} if HttpxAiohttpClient is None else {"httpx-aiohttp": SharedHttpxAiohttp})


class StallMeter(BaseTrigger):
    """Sleeps 50 ms again and again, and writes by how many milliseconds each sleep was late."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{type(self).__module__}.{type(self).__qualname__}", {"path": self.path}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        with Path(self.path).open("a", buffering=1) as lateness:  # noqa: ASYNC230  (a line every 50 ms)
            while True:
                before = time.perf_counter()
                await asyncio.sleep(TICK)
                lateness.write(f"{1000 * (time.perf_counter() - before - TICK):.2f}\n")
        yield TriggerEvent({})
