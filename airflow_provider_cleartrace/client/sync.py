"""``ClearTrace``, the documented blocking client."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from airflow_provider_cleartrace.client import analysis, inference, jobs, session, training, uploads
from airflow_provider_cleartrace.client.base import Client
from airflow_provider_cleartrace.client.exchange import Flow
from airflow_provider_cleartrace.client.transport import SyncTransport

P = ParamSpec("P")
T = TypeVar("T")


def _blocking(
    flow: Callable[Concatenate[session.Session, P], Flow[T]],
) -> Callable[Concatenate[ClearTrace, P], T]:
    """A method that drives ``flow`` to its end, with the flow's signature and docstring."""

    @functools.wraps(flow)
    def method(self: ClearTrace, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.run(flow(self.session, *args, **kwargs))

    return method


class ClearTrace(Client[SyncTransport]):
    """Client for the ClearTrace API; also a context manager that closes its sockets."""

    _transport_type = SyncTransport

    def run(self, flow: Flow[T]) -> T:
        """Drive a flow with this client's sockets."""
        return self._transport.run(flow)

    create_upload = _blocking(uploads.create_upload)
    upload_fileobj = _blocking(uploads.upload_fileobj)
    upload_file = _blocking(uploads.upload_file)
    fit = _blocking(training.fit)
    fit_distill = _blocking(training.fit_distill)
    cancel = _blocking(jobs.cancel)
    predict = _blocking(inference.predict)
    explain = _blocking(inference.explain)
    predict_and_explain = _blocking(inference.predict_and_explain)
    interpret = _blocking(inference.interpret)
    get_schema = _blocking(inference.get_schema)
    scenario = _blocking(inference.scenario)
    segment = _blocking(analysis.segment)
    get_segments = _blocking(analysis.get_segments)
    narrative = _blocking(analysis.narrative)
    get_narrative = _blocking(analysis.get_narrative)
    health = _blocking(session.health)
    status = property(_blocking(jobs.current_status))

    def close(self) -> None:
        """Close the sockets."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self.close()
