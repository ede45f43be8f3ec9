"""One look after another at a connection's models, for all watchers of the connection together."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from airflow_provider_cleartrace.api import operations
from airflow_provider_cleartrace.api.errors import AuthenticationError, OuterProductError
from airflow_provider_cleartrace.api.listing import ListedModel
from airflow_provider_cleartrace.client.exchange import Flow
from airflow_provider_cleartrace.client.jobs import LOOK_TIMEOUT
from airflow_provider_cleartrace.client.retry import Backoff, is_transient, retry_after_of
from airflow_provider_cleartrace.client.session import Session, call
from airflow_provider_cleartrace.triggers.pool import SharedClient, borrow

T = TypeVar("T")

log = logging.getLogger(__name__)

MAX_PAUSE = 600.0
"""Seconds between two looks at a service that is out of reach, unless the watch itself looks less often."""

UNLISTED = 600.0
"""Seconds until a service that has no list of models is asked for one again."""


@dataclass(frozen=True, slots=True)
class Look:
    """The models that changed last, by id; None where the service has no list, and ``reason`` tells why."""

    models: Mapping[str, ListedModel] | None
    reason: str = ""


async def looks(conn_id: str, poll_interval: float) -> AsyncGenerator[Look]:
    """Look at the models of a connection for ever; outages and refusals are logged and outwaited."""
    backoff = patient_backoff(poll_interval)
    failures = 0
    look, ask_again = Look(None), float("-inf")
    async with borrow(conn_id) as shared:
        while True:
            if time.monotonic() >= ask_again:
                try:
                    look = Look({model.model_id: model for model in await _listed(shared)})
                except Exception as error:
                    if _may_pass(error):
                        log.warning("models of connection %s cannot be looked at: %s", conn_id, told(error))
                        await asyncio.sleep(backoff.delay(failures, asked_pause(error)))
                        failures += 1
                        continue
                    look, ask_again = Look(None, told(error)), time.monotonic() + UNLISTED
            failures = 0
            yield look
            await asyncio.sleep(poll_interval)


def patient_backoff(poll_interval: float) -> Backoff:
    """The pauses between looks that fail."""
    return Backoff(first=poll_interval, factor=2.0, cap=max(poll_interval, MAX_PAUSE))


async def look_with(shared: SharedClient, flow_of: Callable[[Session], Flow[T]]) -> T:
    """One look through a shared client: not repeated, for the next one is its retry."""
    settings, transport = await shared.ready()
    looking = dataclasses.replace(settings, timeout=min(settings.timeout, LOOK_TIMEOUT), max_retries=0)
    return await transport.run(flow_of(Session(looking)))


async def _listed(shared: SharedClient) -> list[ListedModel]:
    listing = await look_with(shared, lambda session: call(session, operations.LIST_MODELS))
    return listing.models


def asked_pause(error: Exception) -> float | None:
    """The pause that the server asked for, in seconds."""
    return retry_after_of(error) if isinstance(error, OuterProductError) else None


def _may_pass(error: Exception) -> bool:
    """Whether the failure says nothing about the list itself: an outage, a key, a connection."""
    if not isinstance(error, OuterProductError) or isinstance(error, AuthenticationError):
        return True
    return is_transient(error)


def told(error: Exception) -> str:
    """Our own words for an error: a secrets backend's may hold a secret."""
    return str(error) if isinstance(error, OuterProductError) else type(error).__name__
