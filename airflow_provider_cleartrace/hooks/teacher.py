"""The predict endpoint of a black-box model, from an Airflow connection of any type."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_cleartrace.api.errors import ValidationError
from airflow_provider_cleartrace.hooks.connection import base_url_of


@dataclass(frozen=True, slots=True)
class Teacher:
    """Where to ask for predictions, and the headers that authorise it."""

    url: str
    headers: dict[str, str] | None = field(default=None, repr=False)


def teacher_from_connection(connection: Any) -> Teacher:
    """Read URL and credentials of a predict endpoint.

    Raises:
        ValidationError: the connection has no host, or its ``headers`` extra is not an object.
    """
    url = base_url_of(connection)
    if url is None:
        raise ValidationError(
            f"connection {connection.conn_id!r} has no host: the predict endpoint's URL is needed"
        )
    headers = connection.extra_dejson.get("headers") or {}
    if not isinstance(headers, dict):
        raise ValidationError(
            f"connection {connection.conn_id!r}: the extra field 'headers' must be an object"
        )
    if connection.password and connection.login:
        token = base64.b64encode(f"{connection.login}:{connection.password}".encode()).decode()
        headers = {"Authorization": f"Basic {token}"} | headers
    elif connection.password:
        headers = {"Authorization": f"Bearer {connection.password}"} | headers
    return Teacher(url, {str(name): str(value) for name, value in headers.items()} or None)
