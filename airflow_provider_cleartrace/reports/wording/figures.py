"""Numbers as they are shown: the text for people, the value for machines beside it."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from airflow_provider_cleartrace.reports.texts import NONE

MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True)
class Shown:
    """A number in a report; HTML keeps its exact value in a ``data`` element, which the JSON has as well."""

    value: float
    text: str

    def __str__(self) -> str:
        return self.text

    def __html__(self) -> str:
        """As HTML, for templates that escape everything else."""
        return f'<data value="{self.value!r}">{self.text}</data>'


Part = Shown | str
Sentence = tuple[Part, ...]
"""Words and numbers in turn; the numbers keep their exact values."""


def number(value: float | None) -> Part:
    """A count in full, another number to four digits, with separators for thousands."""
    if value is None:
        return NONE
    if isinstance(value, int) or (abs(value) >= 1000 and float(value).is_integer()):
        return Shown(value, _signed_well(f"{value:,.0f}"))
    return Shown(value, _signed_well(f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"))


def decimal(value: float | None, places: int = 3, *, sign: bool = False) -> Part:
    """So many decimals, that a column of them lines up; ``sign`` is for differences."""
    if value is None:
        return NONE
    return Shown(value, _signed_well(f"{value:+,.{places}f}" if sign else f"{value:,.{places}f}"))


def percent(value: float | None) -> Part:
    """A share of 1 as a percentage with one decimal."""
    return NONE if value is None else Shown(value, _signed_well(f"{value:.1%}"))


def signed(value: float | None) -> Part:
    """Three significant digits with the sign always."""
    if value is None:
        return NONE
    digits = f"{value:+.3f}" if abs(value) >= 0.0005 or value == 0 else f"{value:+.1e}"
    return Shown(value, _signed_well(digits if abs(value) < 1000 else f"{value:+,.0f}"))


def points(value: float | None, *, sign: bool = True) -> Part:
    """A difference of two shares in percentage points; without a sign it is a width."""
    if value is None:
        return NONE
    return Shown(value, _signed_well(f"{value * 100:+.1f} pp" if sign else f"{value * 100:.1f} pp"))


def moment(told: str) -> str:
    """A time in ISO 8601 to the minute, with its zone."""
    at = dt.datetime.fromisoformat(told)
    return f"{at:%Y-%m-%d %H:%M} {at.tzname() or ''}".strip()


def _signed_well(text: str) -> str:
    """With a true minus, and no sign where the rounded number is zero."""
    if not any(digit in text for digit in "123456789"):
        return text.lstrip("+-")
    return text.replace("-", MINUS, 1) if text.startswith("-") else text
