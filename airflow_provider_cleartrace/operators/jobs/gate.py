"""Lets a task interfere with its own flows: before each request that starts a job, and during long sleeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from airflow_provider_cleartrace.api.errors import TransportError
from airflow_provider_cleartrace.api.operations import OPERATIONS
from airflow_provider_cleartrace.client import ClearTrace
from airflow_provider_cleartrace.client.exchange import Answer, Flow, Request, Sleep, pause

T = TypeVar("T")

_STARTS_A_JOB = frozenset(operation.name for operation in OPERATIONS if operation.job is not None)

NAP = 1.0
"""Seconds that a task which waits on its worker sleeps at a time: a signal does not end a sleep."""


class GatedClient(ClearTrace):
    """Calls ``before_submit`` right before a job is asked for; where that raises, nothing is sent.

    It uses the session and the sockets of ``client``, whose owner closes them.
    """

    def __init__(self, client: ClearTrace, before_submit: Callable[[], None]) -> None:
        self.session = client.session
        self._transport = client._transport
        self._before_submit = before_submit

    def run(self, flow: Flow[T]) -> T:
        """Drive a flow with this client's sockets, through the gate."""
        return super().run(_taken_by(self._take, flow))

    def _take(self, step: Request | Sleep) -> Flow[Answer | None]:
        if isinstance(step, Request) and step.operation in _STARTS_A_JOB:
            self._before_submit()
        return (yield step)


def in_naps(flow: Flow[T], before_nap: Callable[[], None]) -> Flow[T]:
    """The same flow with its sleeps in pieces; it ends where ``before_nap`` raises."""

    def take(step: Request | Sleep) -> Flow[Answer | None]:
        if isinstance(step, Request):
            return (yield step)
        left = step.seconds
        while left > 0:
            before_nap()
            yield from pause(min(left, NAP))
            left -= NAP
        return None

    return _taken_by(take, flow)


def _taken_by(take: Callable[[Request | Sleep], Flow[Answer | None]], flow: Flow[T]) -> Flow[T]:
    """The same flow, each step of which is taken by ``take``."""
    try:
        step = next(flow)
        while True:
            try:
                answer = yield from take(step)
            except TransportError as error:
                step = flow.throw(error)
            else:
                step = flow.send(answer)
    except StopIteration as stop:
        value: T = stop.value
        return value
    finally:
        flow.close()
