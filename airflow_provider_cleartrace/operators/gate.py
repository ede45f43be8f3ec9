"""A client that asks its task before each request that starts a job."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from airflow_provider_cleartrace.api.errors import TransportError
from airflow_provider_cleartrace.api.operations import OPERATIONS
from airflow_provider_cleartrace.client import ClearTrace
from airflow_provider_cleartrace.client.exchange import Flow, Request

T = TypeVar("T")

_STARTS_A_JOB = frozenset(operation.name for operation in OPERATIONS if operation.job is not None)


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
        return super().run(self._gated(flow))

    def _gated(self, flow: Flow[T]) -> Flow[T]:
        try:
            step = next(flow)
            while True:
                if isinstance(step, Request) and step.operation in _STARTS_A_JOB:
                    self._before_submit()
                try:
                    answer = yield step
                except TransportError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(answer)
        except StopIteration as stop:
            value: T = stop.value
            return value
        finally:
            flow.close()
