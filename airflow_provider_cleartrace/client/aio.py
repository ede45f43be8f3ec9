"""``AsyncClearTrace``, the documented client for an event loop."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from airflow_provider_cleartrace.client import analysis, inference, jobs, session, training, uploads
from airflow_provider_cleartrace.client.base import Client
from airflow_provider_cleartrace.client.exchange import Flow
from airflow_provider_cleartrace.client.transport import AsyncTransport

P = ParamSpec("P")
T = TypeVar("T")


def _awaitable(
    flow: Callable[Concatenate[session.Session, P], Flow[T]],
) -> Callable[Concatenate[AsyncClearTrace, P], Coroutine[Any, Any, T]]:
    """A coroutine method that drives ``flow`` to its end, with the flow's signature and docstring."""

    @functools.wraps(flow)
    async def method(self: AsyncClearTrace, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.run(flow(self.session, *args, **kwargs))

    return method


class AsyncClearTrace(Client[AsyncTransport]):
    """Every call of :class:`ClearTrace`, to be awaited; also an async context manager.

    ``await client.status`` reads the status. ``load`` sends nothing; awaiting what it returns is allowed, so
    that "await each call" needs no exception.
    """

    _transport_type = AsyncTransport

    async def run(self, flow: Flow[T]) -> T:
        """Drive a flow with this client's sockets."""
        return await self._transport.run(flow)

    create_upload = _awaitable(uploads.create_upload)
    upload_fileobj = _awaitable(uploads.upload_fileobj)
    upload_file = _awaitable(uploads.upload_file)
    fit = _awaitable(training.fit)
    fit_distill = _awaitable(training.fit_distill)
    cancel = _awaitable(jobs.cancel)
    predict = _awaitable(inference.predict)
    explain = _awaitable(inference.explain)
    predict_and_explain = _awaitable(inference.predict_and_explain)
    interpret = _awaitable(inference.interpret)
    get_schema = _awaitable(inference.get_schema)
    scenario = _awaitable(inference.scenario)
    segment = _awaitable(analysis.segment)
    get_segments = _awaitable(analysis.get_segments)
    narrative = _awaitable(analysis.narrative)
    get_narrative = _awaitable(analysis.get_narrative)
    health = _awaitable(session.health)
    status = property(_awaitable(jobs.current_status))

    async def aclose(self) -> None:
        """Close the sockets."""
        await self._transport.aclose()

    def __await__(self) -> Generator[None, None, Self]:
        yield from ()
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: Any) -> None:
        await self.aclose()
