"""How an Airflow connection is read, however it was entered: form, URI, JSON or environment."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from airflow_provider_cleartrace.api.errors import ValidationError
from airflow_provider_cleartrace.client.settings import (
    DEFAULT_MAX_RETRIES,
    DEFAULT_POLL_INTERVAL,
    DEFAULT_TIMEOUT,
    Settings,
)
from airflow_provider_cleartrace.provider_info import CONNECTION_TYPE

_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})


def settings_from(connection: Any, extra: Mapping[str, Any]) -> Settings:
    """The client settings a connection asks for.

    Args:
        connection: Airflow's connection: ``host`` (a URL, or a bare host with ``schema`` and ``port``) and
            ``password`` (the API key). What is missing falls back to the client's environment and defaults.
        extra: The connection's extra as a dict; values may be strings, keys this provider does not know are
            left alone.

    Raises:
        ValidationError: a field that cannot be read, named with its connection.
    """
    fields = _Fields(connection.conn_id or "", extra)
    timeout = fields.number("timeout", DEFAULT_TIMEOUT)
    poll_interval = fields.number("poll_interval", DEFAULT_POLL_INTERVAL)
    max_retries = fields.whole_number("max_retries", DEFAULT_MAX_RETRIES)
    verify, paths = fields.flag_or_path("verify"), fields.mapping("paths")
    model_page = fields.text("model_page")
    try:
        return Settings.resolve(
            base_url_of(connection),
            connection.password,
            timeout=timeout,
            poll_interval=poll_interval,
            max_retries=max_retries,
            verify=verify,
            paths=paths,
            model_page=model_page,
        )
    except ValidationError as error:
        raise ValidationError(f"connection {connection.conn_id!r}: {error}") from None


def base_url_of(connection: Any) -> str | None:
    """The URL of a connection: its host as it is, or put together from scheme, host and port."""
    host: str = (connection.host or "").strip()
    if not host:
        return None
    scheme, separator, rest = host.partition("://")
    if not separator:
        scheme, rest = connection.schema or "https", host
    authority, slash, path = rest.partition("/")
    if connection.port and ":" not in authority.rpartition("]")[2]:  # the colons of an IPv6 address aside
        authority = f"{authority}:{connection.port}"
    return f"{scheme}://{authority}{slash}{path}"


class _Fields:
    """The extra fields of one connection, with their names for error messages."""

    def __init__(self, conn_id: str, extra: Mapping[str, Any]) -> None:
        self._conn_id = conn_id
        self._extra = extra

    def _get(self, name: str) -> Any:
        """The field, also under the prefix that older connection forms stored it with; "" counts as unset."""
        value = self._extra.get(name, self._extra.get(f"extra__{CONNECTION_TYPE}__{name}"))
        return None if isinstance(value, str) and not value.strip() else value

    def number(self, name: str, default: float) -> float:
        value = self._get(name)
        if value is None:
            return default
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise self._wrong(name, "a number") from None
        if isinstance(value, bool) or not math.isfinite(number):
            raise self._wrong(name, "a number")
        return number

    def whole_number(self, name: str, default: int) -> int:
        number = self.number(name, default)
        if number != int(number):
            raise self._wrong(name, "a whole number")
        return int(number)

    def flag_or_path(self, name: str) -> bool | str:
        value = self._get(name)
        if value is None or isinstance(value, bool):
            return True if value is None else value
        text = str(value).strip()
        if text.lower() in _TRUE | _FALSE:
            return text.lower() in _TRUE
        return text

    def text(self, name: str) -> str | None:
        value = self._get(name)
        if value is None:
            return None
        if not isinstance(value, str):
            raise self._wrong(name, "a text")
        return value.strip()

    def mapping(self, name: str) -> Mapping[str, str]:
        value = self._get(name)
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except ValueError:
                raise self._wrong(name, "a JSON object") from None
        if not isinstance(value or {}, dict):
            raise self._wrong(name, "a JSON object")
        return {str(key): str(path) for key, path in (value or {}).items()}

    def _wrong(self, name: str, wanted: str) -> ValidationError:
        return ValidationError(f"connection {self._conn_id!r}: the extra field {name!r} must be {wanted}")
