"""The page at /: the models of a key, watched from a browser; it loads and runs nothing but itself."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files

from airflow_provider_cleartrace import __version__

_TEMPLATE = "status_page.html"
_NEEDS_KEY = "{{needs-key}}"
_VERSION = "{{version}}"


@dataclass(frozen=True, slots=True)
class StatusPage:
    """The page as it is sent. It holds no data: its script asks ``GET /v1/models``, with the reader's key.

    Attributes:
        needs_key: whether the page asks for a key before it asks the server.
        html: the document.
        headers: what goes with it: the policy that a browser holds it to, and that it is not to be kept.
    """

    needs_key: bool
    html: str = field(init=False)
    headers: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        template = files(__package__).joinpath(_TEMPLATE).read_text(encoding="utf-8")
        html = template.replace(_NEEDS_KEY, "yes" if self.needs_key else "no").replace(_VERSION, __version__)
        policy = (
            "default-src 'none'",
            f"script-src {_digest(html, 'script')}",
            f"style-src {_digest(html, 'style')}",
            "connect-src 'self'",
            "img-src data:",  # the empty icon, without which browsers ask for /favicon.ico
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",  # the browser refuses to read any text as markup
            "trusted-types 'none'",
        )
        headers = {
            "Content-Security-Policy": "; ".join(policy),
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
        }
        object.__setattr__(self, "html", html)
        object.__setattr__(self, "headers", headers)


def _digest(html: str, element: str) -> str:
    """Name the one inline element of a kind as a Content-Security-Policy does, by its content."""
    (content,) = re.findall(rf"<{element}>(.*?)</{element}>", html, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
