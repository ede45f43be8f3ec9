"""``cleartrace://`` URIs: the name of a model among Airflow's assets."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import SplitResult, urlsplit

from airflow.providers.common.compat.sdk import Asset

from airflow_provider_cleartrace.api.models import MODEL_ID_PATTERN
from airflow_provider_cleartrace.client.settings import DEFAULT_BASE_URL

SCHEME = "cleartrace"

_DEFAULT_PORT = 443
"""A service listens for HTTPS: the one port that a URI leaves out."""

_PORTS = {"https": _DEFAULT_PORT, "http": 80}


def model_uri(model_id: str, base_url: str) -> str:
    """The URI of a model: ``cleartrace://<host>[:<port>][/<path>]/models/<model_id>``.

    Args:
        model_id: The model.
        base_url: Where its server is, as in the connection. A server is the same one however its URL is
            spelt: scheme and host in any case, its default port written or not.
    """
    server = urlsplit(base_url)
    authority = _authority(server, _PORTS.get(server.scheme, _DEFAULT_PORT))
    return f"{SCHEME}://{authority}{server.path.rstrip('/')}/models/{model_id}"


def sanitize_uri(uri: SplitResult) -> SplitResult:
    """Normalise a ``cleartrace://`` URI; Airflow calls this for every asset of the scheme.

    Raises:
        ValueError: it names no server, or no model of it.
    """
    server, models, model_id = uri.path.rpartition("/models/")
    if not uri.hostname:
        raise ValueError("a cleartrace:// URI names a server: cleartrace://<host>/models/<model_id>")
    if not models or not re.fullmatch(MODEL_ID_PATTERN, model_id):
        raise ValueError("a cleartrace:// URI ends with /models/<model_id>")
    if uri.query:
        raise ValueError("a cleartrace:// URI has no query")
    return uri._replace(
        scheme=SCHEME,
        netloc=_authority(uri, _DEFAULT_PORT),
        path=f"{server.rstrip('/')}/models/{model_id}",
        fragment="",
    )


def cleartrace_model_asset(
    model_id: str, base_url: str = DEFAULT_BASE_URL, *, extra: dict[str, Any] | None = None
) -> Asset:
    """A model as an asset (Airflow 3) or data set (2.11): an outlet of tasks, a schedule of DAGs.

    Args:
        model_id: The id that the author gave the model. One that is derived changes with each run and is
            known only then: use an ``AssetAlias`` as the outlet of such a task.
        base_url: Where the server is, as in the connection, which is not read while a DAG is parsed.
        extra: What the asset itself carries, on every event alike.
    """
    return Asset(uri=model_uri(model_id, base_url), extra=extra)


def _authority(server: SplitResult, scheme_port: int) -> str:
    """Host in lower case, and the port where it is not the scheme's of a ``cleartrace://`` URI."""
    host = (server.hostname or "").lower()
    if ":" in host:
        host = f"[{host}]"
    port = server.port or scheme_port
    return host if port == _DEFAULT_PORT else f"{host}:{port}"
