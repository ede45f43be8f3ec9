"""A bound on what a request's body costs once its key is known: its size, and the time it takes to arrive."""

from __future__ import annotations

import asyncio

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

from airflow_provider_cleartrace.local.refusals import Refusal, TooLarge, TooSlow


def bounded_body(receive: Receive, *, seconds: float, max_bytes: int | None = None) -> Receive:
    """Wrap ``receive`` so that the body ends in time and in size; None: any size.

    The time runs from this call. What the server waits for after the last byte, a client that leaves, takes
    as long as it takes.
    """
    loop = asyncio.get_running_loop()
    due = loop.time() + seconds
    received, complete = 0, False

    async def bounded() -> Message:
        nonlocal received, complete
        if complete:
            return await receive()
        try:
            async with asyncio.timeout_at(due):
                message = await receive()
        except TimeoutError:
            raise _answered_with(too_slow(seconds)) from None
        received += len(message.get("body", b""))
        complete = not message.get("more_body", False)
        if max_bytes is not None and received > max_bytes:
            raise _answered_with(too_large(max_bytes))
        return message

    return bounded


def too_large(max_bytes: int) -> TooLarge:
    """Build the refusal of a body that is, or says it is, over the limit."""
    return TooLarge(f"the body is larger than the {max_bytes} bytes this server takes; upload a file instead")


def too_slow(seconds: float) -> TooSlow:
    """Build the refusal of a body that did not end in time."""
    return TooSlow(f"the body did not arrive within {seconds:g} s; send it again, or upload a file instead")


def _answered_with(refusal: Refusal) -> HTTPException:
    """The routes read the body inside of Starlette, which answers its own exceptions alone."""
    return HTTPException(refusal.status, str(refusal))
