"""Texts out of data made safe to show: short, visible, and without a meaning to the page they stand on."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from typing import Annotated, Any

from pydantic import AfterValidator

NONE = "\N{EN DASH}"
"""Where there is no value."""

SHORT = 200
"""Most characters of a name or value: what a table cell can hold."""

LONG = 60_000
"""Most characters of a narrative: some twenty printed pages."""

_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Controls, among them those that turn the direction of text, and what no font can show."""

_MARKDOWN = re.compile(r"([\\`*_\[\]<>|#~&$@{}!])")
_LINES = re.compile(r"[\r\n]+")
_BEGINNING = re.compile(r"^(\s*\d+(?=[.)])|\s*(?=[-+=]))(.)")
"""What would begin a list, a line, or a formula where the text is pasted into a spreadsheet."""

_LINK = re.compile(r"(?i)(:)(?=//)|(?<=www)(\.)|(?<=mailto)(:)")


def legible(text: Any, limit: int = SHORT, *, lines: bool = False) -> str:
    """A text with its hidden characters shown by number, and cut at ``limit`` with a note of its length.

    The note holds a digest, so that two long texts that begin alike stay apart. What comes out goes through
    unchanged a second time.

    Args:
        text: Anything; it is taken by its ``str``.
        limit: Most characters of the result.
        lines: Keep line breaks; otherwise they and all runs of space become one space.
    """
    whole = str(text)
    note = ""
    if len(whole) > limit:
        note = _cut_note(whole)
        whole = whole[:limit]
    seen = "".join(_visible(character, lines=lines) for character in whole)
    if not lines:
        seen = " ".join(seen.split())
    if len(seen) + len(note) > limit:
        note = note or _cut_note(str(text))
        seen = seen[: limit - len(note)]
    return seen + note


def _cut_note(text: str) -> str:
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]
    return f"… ({len(text):,} characters, {digest})"


def _visible(character: str, *, lines: bool) -> str:
    if character in "\n\r\t":
        return "\n" if lines and character == "\n" else " "
    if unicodedata.category(character) in _HIDDEN_CATEGORIES:
        return f"[U+{ord(character):04X}]"
    return character


def shortened(text: str, length: int) -> str:
    """A text that fits a plot's label; the table beside the plot has all of it."""
    return text if len(text) <= length else f"{text[: length - 1].rstrip()}…"


Text = Annotated[str, AfterValidator(legible)]
"""A name or a value out of data, safe to show."""

Prose = Annotated[str, AfterValidator(lambda text: legible(text, LONG, lines=True))]


class Markdown(str):
    """A text that is Markdown already."""

    __slots__ = ()


def markdown_escaped(text: str) -> Markdown:
    """A text as Markdown shows it literally, in a line or a table's cell: no mark-up, link or HTML."""
    if isinstance(text, Markdown):
        return text
    escaped = _MARKDOWN.sub(r"\\\1", _LINES.sub(" ", text))
    escaped = _LINK.sub(lambda found: f"\\{found.group()}", escaped)
    return Markdown(_BEGINNING.sub(r"\1\\\2", escaped))
