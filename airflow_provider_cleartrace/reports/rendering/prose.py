"""A narrative's Markdown as blocks: headings, bullets, paragraphs, bold words; the rest is its text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

_HEADING = re.compile(r"(#{1,6}) +(.+?) *#*")
_BULLET = re.compile(r"(?:[-*+]|\d{1,3}[.)]) +(.+)")
_BOLD = re.compile(r"\*\*(?=\S)(.+?)(?<=\S)\*\*")


@dataclass(frozen=True)
class Span:
    """Words of a block."""

    text: str
    bold: bool


@dataclass(frozen=True)
class Block:
    """A paragraph, a heading, or a list with one entry an item."""

    kind: Literal["heading", "paragraph", "list"]
    items: tuple[tuple[Span, ...], ...]


def blocks(text: str) -> list[Block]:
    """Cut a narrative into blocks. Links, images, tables and HTML stay the characters they are."""
    told: list[Block] = []
    for kind, line in _lines(text):
        spans = tuple(_spans(line))
        if kind == "list" and told and told[-1].kind == "list":
            told[-1] = Block("list", (*told[-1].items, spans))
        else:
            told.append(Block(kind, (spans,)))
    return told


def _lines(text: str) -> Iterator[tuple[Literal["heading", "paragraph", "list"], str]]:
    paragraph: list[str] = []
    for line in [*text.splitlines(), ""]:
        stripped = line.strip()
        heading, bullet = _HEADING.fullmatch(stripped), _BULLET.fullmatch(stripped)
        if paragraph and (not stripped or heading or bullet):
            yield "paragraph", " ".join(paragraph)
            paragraph = []
        if heading:
            yield "heading", heading[2]
        elif bullet:
            yield "list", bullet[1]
        elif stripped:
            paragraph.append(stripped)


def _spans(line: str) -> Iterator[Span]:
    for index, part in enumerate(_BOLD.split(line)):
        if part:
            yield Span(part, bold=index % 2 == 1)
