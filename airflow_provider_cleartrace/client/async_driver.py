"""Drives flows on an event loop; which HTTP library carries the requests is a subclass's business."""

from __future__ import annotations

import abc
import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from airflow_provider_cleartrace.api.errors import TransportError
from airflow_provider_cleartrace.client.exchange import (
    Answer,
    FileBody,
    Flow,
    Request,
    Sleep,
    no_answer,
    without_key,
)

T = TypeVar("T")

MAX_CONNECTIONS = 20
"""Most requests under way at once, and so most sockets to one host; further ones wait in front of them."""

WAKE_TOGETHER = 0.1
"""Long sleeps end at multiples of these seconds: one turn of the loop then serves many waits.

Without it a poll of 1,000 waits took 1.6 times the CPU; with longer ones, those who wake hold up the loop.
"""

LONG_SLEEP = 2.0
"""Seconds from which on a sleep may be so much longer."""

UNAUTHORIZED = 401

KeyRenewal = Callable[[str], Awaitable[str | None]]
"""Called with a key that was refused; returns the key to try instead, if there is another."""


class AsyncDriver(abc.ABC):
    """Drives flows; no step of it blocks.

    Args:
        api_key: Goes on every request that is authenticated.
        renew: Asked for another key when the server refuses the one in use, once a request.
    """

    def __init__(self, api_key: str | None, renew: KeyRenewal | None = None) -> None:
        self._api_key = api_key
        self._renew = renew
        self._in_flight = asyncio.Semaphore(MAX_CONNECTIONS)

    async def run(self, flow: Flow[T]) -> T:
        """Drive ``flow`` to its end and return its value."""
        try:
            step = next(flow)
            while True:
                if isinstance(step, Sleep):
                    await asyncio.sleep(_together(step.seconds))
                    step = flow.send(None)
                    continue
                try:
                    answer = await self._answer(step)
                except TransportError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(answer)
                    del answer  # or it would be kept for as long as the flow sleeps
        except StopIteration as stop:
            value: T = stop.value
            return value
        finally:
            flow.close()

    async def _answer(self, request: Request) -> Answer:
        key = self._api_key if request.authenticated else None
        async with self._place(request):
            answer = await self._send_in_time(request, key)
            if answer.status != UNAUTHORIZED or key is None or self._renew is None:
                return answer
            fresh = await self._renew(key)
            if not fresh or fresh == key:
                return answer
            self._api_key = fresh
            return await self._send_in_time(request, fresh)

    @contextlib.asynccontextmanager
    async def _place(self, request: Request) -> AsyncIterator[None]:
        """One of the places for requests under way, which is waited for no longer than for an answer."""
        try:
            async with asyncio.timeout(request.whole_timeout):
                await self._in_flight.acquire()
        except TimeoutError as error:
            text = f"{MAX_CONNECTIONS} requests are under way and none has ended"
            raise no_answer(request, error, text, sent=False) from None
        try:
            yield
        finally:
            self._in_flight.release()

    async def _send_in_time(self, request: Request, key: str | None) -> Answer:
        try:
            async with asyncio.timeout(request.whole_timeout):
                return without_key(await self._send(request, key), key)
        except TimeoutError as error:
            raise no_answer(request, error, sent=True) from None

    @abc.abstractmethod
    async def _send(self, request: Request, key: str | None) -> Answer:
        """Send one request under a key.

        Raises:
            TransportError: there was no answer.
        """

    @abc.abstractmethod
    async def aclose(self) -> None:
        """Close the sockets."""


def _together(seconds: float) -> float:
    """A long sleep, so much longer that it ends when others do."""
    if seconds < LONG_SLEEP:
        return seconds
    return seconds + -(asyncio.get_running_loop().time() + seconds) % WAKE_TOGETHER


async def blocks_of(body: FileBody) -> AsyncIterator[bytes]:
    """The bytes of a file, read by a thread."""
    blocks = body.blocks()
    while block := await asyncio.to_thread(next, blocks, b""):
        yield block
