"""What the sync and the async client share: their construction and their memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Generic, Self, TypeVar

from airflow_provider_cleartrace.client.session import Session
from airflow_provider_cleartrace.client.settings import (
    DEFAULT_MAX_RETRIES,
    DEFAULT_POLL_INTERVAL,
    DEFAULT_TIMEOUT,
    Settings,
)
from airflow_provider_cleartrace.client.transport import AsyncTransport, SyncTransport

Transport = TypeVar("Transport", SyncTransport, AsyncTransport)


class Client(Generic[Transport]):
    """A model's session and the transport that carries its flows."""

    _transport_type: ClassVar[type]

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        poll_interval: float = DEFAULT_POLL_INTERVAL,
        max_retries: int = DEFAULT_MAX_RETRIES,
        *,
        verify: bool | str = True,
        paths: Mapping[str, str] | None = None,
    ) -> None:
        """Prepare a client; nothing is sent.

        Args:
            base_url: The server; by default ``OUTERPRODUCT_API_URL``, then the hosted service.
            api_key: The bearer token; by default ``OUTERPRODUCT_API_KEY``.
            timeout: Seconds for one HTTP request, and for the whole wait for a job.
            poll_interval: Seconds before the second look at a job; later looks come less often.
            max_retries: Retries of a request that failed for a passing reason.
            verify: False to accept any certificate, or the path of a CA bundle.
            paths: Paths of operations that differ on this server, by operation name.
        """
        settings = Settings.resolve(
            base_url,
            api_key,
            timeout=timeout,
            poll_interval=poll_interval,
            max_retries=max_retries,
            verify=verify,
            paths=paths,
        )
        self._attach(settings)

    def _attach(self, settings: Settings, renew: Callable[[str], Any] | None = None) -> None:
        self.session = Session(settings)
        self._transport: Transport = self._transport_type(settings, renew=renew)

    @classmethod
    def from_settings(cls, settings: Settings, *, renew: Callable[[str], Any] | None = None) -> Self:
        """A client for settings that were resolved elsewhere, such as an Airflow connection.

        Args:
            settings: Where to and how.
            renew: Called (by the async client: awaited) with a key that the server refused; returns the key
                to try instead, or None.
        """
        client = cls.__new__(cls)
        client._attach(settings, renew)
        return client

    @property
    def model_id(self) -> str | None:
        """Id of the current model."""
        return self.session.model_id

    @property
    def feature_names(self) -> list[str] | None:
        """Columns captured by the last fit of this client."""
        return self.session.feature_names

    def load(self, model_id: str) -> Self:
        """Attach to a model by its id; nothing is sent."""
        self.session.model_id = model_id
        self.session.feature_names = None
        return self
