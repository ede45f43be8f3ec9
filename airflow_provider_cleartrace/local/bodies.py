"""A bound on what a request's body costs once its key is known: its size, and the time it takes to arrive."""

from __future__ import annotations

import asyncio
import contextlib

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

from airflow_provider_cleartrace.local.refusals import Refusal, TooLarge, TooSlow

_DRAIN_SECONDS = 5.0
"""How long a body that nobody wants is still read: a client that is sending would see a reset, no answer."""


class BoundedBody:
    """A request's body that ends in time and in size; ``max_bytes`` None: any size.

    The time runs from its making. What the server waits for after the last byte, a client that leaves, takes
    as long as it takes.
    """

    def __init__(self, receive: Receive, *, seconds: float, max_bytes: int | None = None) -> None:
        self._receive = receive
        self._seconds = seconds
        self._max_bytes = max_bytes
        self._due = asyncio.get_running_loop().time() + seconds
        self._received = 0
        self._complete = False
        self._refused = False

    async def __call__(self) -> Message:
        """Give the next message of the body, as ASGI's ``receive`` does."""
        if self._complete:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._due):
                message = await self._receive()
        except TimeoutError:
            self._refused = True
            raise _answered_with(too_slow(self._seconds)) from None
        self._received += len(message.get("body", b""))
        self._complete = not message.get("more_body", False)
        if self._max_bytes is not None and self._received > self._max_bytes:
            self._refused = True
            raise _answered_with(too_large(self._max_bytes))
        return message

    async def ended(self) -> bool:
        """Read what the answer did not need, for a while; False: more of it may come.

        The connection is then of no more use: its next bytes would be read as another request.
        """
        if self._complete or self._refused:
            return self._complete
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_SECONDS):
                while not self._complete:
                    self._complete = not (await self._receive()).get("more_body", False)
        return self._complete


def too_large(max_bytes: int) -> TooLarge:
    """Build the refusal of a body that is, or says it is, over the limit."""
    return TooLarge(f"the body is larger than the {max_bytes} bytes this server takes; upload a file instead")


def too_slow(seconds: float) -> TooSlow:
    """Build the refusal of a body that did not end in time."""
    return TooSlow(f"the body did not arrive within {seconds:g} s; send it again, or upload a file instead")


def _answered_with(refusal: Refusal) -> HTTPException:
    """The routes read the body inside of Starlette, which answers its own exceptions alone."""
    return HTTPException(refusal.status, str(refusal))
