"""How a client reaches the service: arguments, the documented environment, the hosted default."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from airflow_provider_cleartrace.api.errors import ValidationError
from airflow_provider_cleartrace.api.operations import BY_NAME

DEFAULT_BASE_URL = "https://cleartrace-api.onrender.com"
BASE_URL_VARIABLE = "OUTERPRODUCT_API_URL"
API_KEY_VARIABLE = "OUTERPRODUCT_API_KEY"

DEFAULT_TIMEOUT = 300.0
DEFAULT_POLL_INTERVAL = 2.0
DEFAULT_MAX_RETRIES = 3


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything a transport needs to know. ``verify`` is True, False, or the path of a CA bundle.

    ``timeout`` (seconds) bounds one HTTP request, and a blocking wait as a whole. ``paths`` overrides the
    path of an operation by its name.
    """

    base_url: str
    api_key: str | None = field(default=None, repr=False)
    timeout: float = DEFAULT_TIMEOUT
    poll_interval: float = DEFAULT_POLL_INTERVAL
    max_retries: int = DEFAULT_MAX_RETRIES
    verify: bool | str = True
    paths: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        parts = urlsplit(self.base_url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValidationError(
                f"base_url must be an http:// or https:// URL, not {parts.scheme or 'empty'!r}"
            )
        if parts.username or parts.password or parts.query:
            raise ValidationError("base_url must not carry credentials or a query: pass the key as api_key")
        if self.api_key and not (self.api_key.isascii() and self.api_key.isprintable()):
            raise ValidationError("api_key has characters that no HTTP header can carry")
        for name in ("timeout", "poll_interval"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValidationError(f"{name} must be a positive number, not {getattr(self, name)}")
        if isinstance(self.verify, str) and not Path(self.verify).is_file():
            raise ValidationError(f"verify: there is no CA bundle {self.verify!r}")
        for name, path in self.paths.items():
            if name not in BY_NAME:
                raise ValidationError(f"paths: {name!r} is no operation; known: {', '.join(BY_NAME)}")
            if not path.startswith("/") or ("{model_id}" in BY_NAME[name].path) != ("{model_id}" in path):
                raise ValidationError(f"paths: {name!r} must look like {BY_NAME[name].path!r}")
        if self.max_retries < 0:
            raise ValidationError(f"max_retries must not be negative, not {self.max_retries}")

    @classmethod
    def resolve(
        cls,
        base_url: str | None,
        api_key: str | None,
        *,
        timeout: float,
        poll_interval: float,
        max_retries: int,
        verify: bool | str = True,
        paths: Mapping[str, str] | None = None,
    ) -> Settings:
        """Fill what was not given from the environment; an empty key counts as none."""
        return cls(
            base_url=(base_url or os.environ.get(BASE_URL_VARIABLE) or DEFAULT_BASE_URL).rstrip("/"),
            api_key=(api_key or os.environ.get(API_KEY_VARIABLE) or "").strip() or None,
            timeout=timeout,
            poll_interval=poll_interval,
            max_retries=max_retries,
            verify=verify,
            paths=dict(paths or {}),
        )
