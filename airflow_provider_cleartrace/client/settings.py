"""How a client reaches the service: arguments, the documented environment, the hosted default."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit

from airflow_provider_cleartrace.api.errors import ValidationError
from airflow_provider_cleartrace.api.operations import BY_NAME

DEFAULT_BASE_URL = "https://cleartrace-api.onrender.com"
BASE_URL_VARIABLE = "OUTERPRODUCT_API_URL"
API_KEY_VARIABLE = "OUTERPRODUCT_API_KEY"

DEFAULT_TIMEOUT = 300.0
DEFAULT_POLL_INTERVAL = 2.0
DEFAULT_MAX_RETRIES = 3

_MODEL_ID = "{model_id}"


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything a transport needs to know. ``verify`` is True, False, or the path of a CA bundle.

    ``timeout`` (seconds) bounds one HTTP request, and a blocking wait as a whole. ``paths`` overrides the
    path of an operation by its name. ``model_page`` is the URL of a model's page for people, with
    ``{model_id}`` in it; by default the page of ClearTrace Local.
    """

    base_url: str
    api_key: str | None = field(default=None, repr=False)
    timeout: float = DEFAULT_TIMEOUT
    poll_interval: float = DEFAULT_POLL_INTERVAL
    max_retries: int = DEFAULT_MAX_RETRIES
    verify: bool | str = True
    paths: Mapping[str, str] = field(default_factory=dict)
    model_page: str | None = None

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
        if self.model_page is not None:
            _check_model_page(self.model_page)

    def model_url(self, model_id: str) -> str:
        """Where a person looks at a model; the URL holds no credentials."""
        template = self.model_page or f"{self.base_url}/#{_MODEL_ID}"
        return template.replace(_MODEL_ID, quote(model_id, safe=""))

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
        model_page: str | None = None,
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
            model_page=model_page,
        )


def _check_model_page(template: str) -> None:
    """Refuse what is no address of a page for each model, without quoting what may be a secret."""
    try:
        parts = urlsplit(template)
        credentials = parts.username or parts.password
    except ValueError:
        raise ValidationError("model_page is no URL") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or _MODEL_ID not in template:
        raise ValidationError(f"model_page must be an http:// or https:// URL with {_MODEL_ID} in it")
    if credentials or _MODEL_ID in parts.netloc:
        raise ValidationError(f"model_page must carry no credentials, and {_MODEL_ID} behind its host")
