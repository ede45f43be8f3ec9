"""Holds every figure of a text against the facts it was to be written from."""

from __future__ import annotations

import html
import math
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

_SCALES = {"thousand": 1e3, "k": 1e3, "million": 1e6, "m": 1e6, "billion": 1e9, "bn": 1e9}
_PERCENT = r"\s?%|[\s-]?per\s?cent(?:age[\s-]points?)?\b"
_SCALE = r"\s(?:thousand|million|billion)\b|(?:k|K|M|bn)\b"
_FIGURE = re.compile(
    # A dash between words or figures joins them, and one with a space after it opens a list item.
    r"(?P<sign>(?<![\w)%\]])[-\u2010\u2212\u2013]|\b[Mm]inus\s+)?[$€£¥]?"
    r"(?P<digits>(?<![\d.])\.?\d(?:[\d.,'\u2019/:\u2044]*\d)?)(?P<power>[eE][-+]?\d+)?"
    rf"(?P<scale>{_SCALE})?(?P<percent>{_PERCENT})?"
)
_DIGITS = re.compile(r"(?:\d+|\d{1,3}(?:[,'\u2019]\d{3})+)?(?:\.(?P<decimals>\d+))?")
_LIST_NUMBER = re.compile(r"^[ \t>#+-]*\d{1,2}[.)]\s", re.MULTILINE)

_UP_TO_NINETEEN = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_WORDS = {word: value for value, word in enumerate(_UP_TO_NINETEEN.split(), start=1)}
_WORDS |= {word: 10 * value for value, word in enumerate(_TENS.split(), start=2)}
_WORD = "|".join([*sorted(_WORDS, key=len, reverse=True), "hundred", "thousand", "million", "billion"])
_IN_WORDS = re.compile(
    rf"\b(?P<words>(?:{_WORD})(?:[\s-]+(?:and\s+)?(?:{_WORD}))*)\b(?P<percent>{_PERCENT})?", re.IGNORECASE
)
_FIGURE_FROM = 10
"""Smaller numbers in words are language ("one of the", "these two"), unless a percent sign follows."""

_MEASURES = ("R2", "R^2", "F1")
"""Names of measures; R² is R2 once the text is in plain characters."""
_EPSILON = 1e-9
"""For comparing a half: 0.125 may be written as 0.12 and as 0.13."""


@dataclass(frozen=True, slots=True)
class _Figure:
    """A figure as written: ``unit`` is the worth of its last digit, None if it is no single number."""

    text: str = field(compare=False)
    value: float
    unit: float | None
    is_share: bool

    def rounds(self, number: float) -> bool:
        """Tell whether this is the number, rounded to the digits written."""
        if self.unit is None or (self.is_share and (isinstance(number, int) or abs(number) > 1)):
            return False
        if abs(number) < self.unit and number != self.value and not (self.is_share and self.value):
            return False  # 0.95 written as 1, or 0.3 % as 0 %, keeps no digit of the number
        return abs(number - self.value) <= self.unit / 2 * (1 + _EPSILON)


def invented_figures(text: str, facts: Any, quotable: Sequence[str] = ()) -> list[str]:
    """List the figures of a text that are none of the facts, as they are written, each once.

    A figure is one of the facts when a number there, rounded to the digits written, gives it; with a percent
    sign it has to be a share (a float from -1 to 1). Signs count. Numbers in words count from ten on. That a
    figure stands beside the right words is not checked.

    Args:
        text: English Markdown.
        facts: JSON; its texts and keys are names, and digits within a name are no figures.
        quotable: texts of the caller; their figures may be repeated as they are written there.
    """
    names = {*_MEASURES, *quotable, *(value for value in _scalars(facts) if isinstance(value, str))}
    numbers = [v for v in _scalars(facts) if isinstance(v, int | float) and not isinstance(v, bool)]
    quoted = {figure for text_ in quotable for figure in _figures(_plain(text_))}
    invented = [
        figure.text.strip()
        for figure in _figures(_without(_plain(text), names))
        if figure not in quoted and not any(figure.rounds(number) for number in numbers)
    ]
    return list(dict.fromkeys(invented))


def _scalars(document: Any) -> Iterator[Any]:
    if isinstance(document, dict):
        yield from document
        for value in document.values():
            yield from _scalars(value)
    elif isinstance(document, list):
        for value in document:
            yield from _scalars(value)
    else:
        yield document


def _plain(text: str) -> str:
    """Undo what a reader does not see: entities, escapes, emphasis, and unusual forms of characters."""
    shown = re.sub(r"(?<=\d)[\u00a0\u2009\u202f](?=\d{3}(?!\d))", ",", html.unescape(text))
    visible = "".join(letter for letter in shown if unicodedata.category(letter) != "Cf")
    return re.sub(r"[\\*`]", "", unicodedata.normalize("NFKC", visible))


def _without(text: str, names: set[str]) -> str:
    """Take names out where they stand alone; a level called 1 stays in 1.5, in -1, in 1% and in 1 million."""
    plain = sorted({_plain(name).strip() for name in names} - {""}, key=len, reverse=True)
    alternatives = "|".join(re.escape(name) for name in plain)
    alone = re.compile(
        rf"(?<![\w$€£¥\u2212-])(?<!\d[.,/:\u2044])"
        rf"(?:{alternatives})(?!\w|[.,/:\u2044]\d|{_PERCENT}|{_SCALE})",
        re.IGNORECASE,
    )
    return alone.sub("x", text)


def _figures(plain: str) -> Iterator[_Figure]:
    text = _LIST_NUMBER.sub("", plain)
    for found in _FIGURE.finditer(text):
        yield _read(found)
    for found in _IN_WORDS.finditer(_FIGURE.sub("x", text)):
        value, is_share = _value_of(found["words"]), found["percent"] is not None
        if is_share or value >= _FIGURE_FROM:
            worth = 0.01 if is_share else 1.0
            yield _Figure(found[0], value * worth, worth, is_share)


def _read(found: re.Match[str]) -> _Figure:
    is_share = found["percent"] is not None
    digits = _DIGITS.fullmatch(found["digits"])
    if digits is None:
        return _Figure(found[0], 0.0, None, is_share)
    power = found["power"] or ""
    worth = _SCALES[(found["scale"] or "").strip().lower()] if found["scale"] else 1.0
    worth *= float(f"1{power}") * (0.01 if is_share else 1.0)
    value = float(re.sub(r"[,'\u2019]", "", found["digits"])) * worth
    unit = 10.0 ** -len(digits["decimals"] or "") * worth
    readable = math.isfinite(value) and math.isfinite(unit)
    return _Figure(found[0], -value if found["sign"] else value, unit if readable else None, is_share)


def _value_of(words: str) -> int:
    total = current = 0
    for word in re.findall(_WORD, words.lower()):
        if word in _WORDS:
            current += _WORDS[word]
        elif word == "hundred":
            current = max(1, current) * 100
        else:
            total, current = total + max(1, current) * int(_SCALES[word]), 0
    return total + current
