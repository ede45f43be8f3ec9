"""Figures as a reader takes them in: rounded, with thousands separators, without false precision."""

from __future__ import annotations

from airflow_provider_cleartrace.local.engine.schema import Label
from airflow_provider_cleartrace.local.engine.table import number_text

_WHOLE_FROM = 100
"""From here on three significant digits are reached without decimals."""


def number(value: float) -> str:
    """Write a number with three significant digits, or as a whole number from 100 on: 0.124, 3.5, 12,346."""
    if abs(value) >= _WHOLE_FROM - 0.5:
        return f"{value:,.0f}"
    text = f"{value:.3g}"
    return "0" if float(text) == 0 else text


def percent(share: float) -> str:
    """Write a share as a whole percentage; near 0 and 1 with a decimal, so that neither is feigned."""
    if 0 < share < 0.0005:
        return "less than 0.1%"
    if 0.9995 <= share < 1:
        return "more than 99.9%"
    return f"{share:.1%}" if 0 < share < 0.0095 or 0.9905 < share < 1 else f"{share:.0%}"


def decimal(value: float) -> str:
    """Write a score between -1 and 1, such as an AUC, with two decimals."""
    return f"{value:.2f}"


def label_text(label: Label) -> str:
    """Write a class label or a value of a feature: 1.0 as 1, True as true."""
    if isinstance(label, bool):
        return str(label).lower()
    return label if isinstance(label, str) else number_text(label)


def listing(parts: list[str]) -> str:
    """Join parts as a sentence does: "a", "a and b", "a, b and c"."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
