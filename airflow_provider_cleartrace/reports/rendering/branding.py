"""A reader's own look: colours, name and logo from JSON, or rules from a CSS file."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from airflow_provider_cleartrace.reports.errors import ReportError
from airflow_provider_cleartrace.reports.texts import Text
from airflow_provider_cleartrace.storage.locations import Location

MOST_BYTES = 512 * 1024
"""Of a branding file: a logo as a data URI, not a photograph."""

Colour = Annotated[str, Field(pattern=r"^#[0-9A-Fa-f]{6}$")]
Logo = Annotated[str, Field(pattern=r"^data:image/(png|jpeg|svg\+xml);base64,[A-Za-z0-9+/=]+$")]

_OUTSIDE = re.compile(r"@import|image-set\(|src\(|url\(\s*['\"]?(?!data:)|</|expression\(|\\", re.IGNORECASE)
"""What could leave the page, or the style element; an escape could hide either."""


class Branding(BaseModel):
    """The entries of a branding JSON; ``dark`` colours are for readers whose system is dark."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Text | None = None
    logo: Logo | None = None
    accent: Colour | None = None
    accent_dark: Colour | None = None
    css: str = ""


def read_branding(location: Location) -> Branding:
    """Read a ``.json`` or ``.css`` file.

    Raises:
        ReportError: another extension, a file too large, an unknown entry, or CSS that loads something.
    """
    if location.suffix not in {".json", ".css"}:
        raise ReportError(f"{location.uri}: branding is a .json or a .css file")
    if location.size() > MOST_BYTES:
        raise ReportError(f"{location.uri}: branding of more than {MOST_BYTES} bytes")
    data = location.read_bytes()
    try:
        if location.suffix == ".json":
            told = Branding.model_validate_json(data)
        else:
            told = Branding(css=data.decode())
    except ValidationError as error:
        fault: Any = error.errors()[0]
        place = ".".join(map(str, fault["loc"])) or "the file"
        raise ReportError(f"{location.uri}: {place}: {fault['msg']}") from None
    except UnicodeDecodeError:
        raise ReportError(f"{location.uri}: not UTF-8") from None
    if found := _OUTSIDE.search(told.css):
        raise ReportError(f"{location.uri}: CSS must not hold {found.group()!r}: a report loads nothing")
    return told


def read_templates(folder: Location) -> dict[str, str]:
    """A user's templates: the ``.html``, ``.md`` and ``.css`` files of a folder, by their names in it.

    Raises:
        ReportError: there are none, or one is too large or no UTF-8.
    """
    told: dict[str, str] = {}
    for name in folder.names():
        place = folder.child(name)
        if place.suffix not in {".html", ".md", ".css"}:
            continue
        if place.size() > MOST_BYTES:
            raise ReportError(f"{place.uri}: a template of more than {MOST_BYTES} bytes")
        try:
            told[name] = place.read_bytes().decode()
        except UnicodeDecodeError:
            raise ReportError(f"{place.uri}: not UTF-8") from None
    if not told:
        raise ReportError(f"{folder.uri}: no .html, .md or .css template")
    return told
