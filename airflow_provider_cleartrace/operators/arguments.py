"""Arguments that are known while a DAG is parsed, and so are checked there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow_provider_cleartrace.api.errors import ValidationError


def check_seconds(name: str, value: float | None) -> None:
    """Refuse what is no positive number of seconds; None leaves the argument out."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise ValidationError(f"{name} must be a positive number of seconds, not {value!r}")


def check_count(name: str, value: int, *, least: int) -> None:
    """Refuse what is no whole number of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValidationError(f"{name} must be a whole number of at least {least}, not {value!r}")


def one_of(parameter: str, value: Any, known: Sequence[Any]) -> None:
    """Refuse a word that a parameter does not know.

    Raises:
        ValueError: it is none of them.
    """
    if value not in known:
        raise ValueError(f"{parameter} must be one of {', '.join(map(repr, known))}, not {value!r}")


def named_columns(parameter: str, names: Sequence[str] | None) -> list[str]:
    """Column names as a list without repetitions.

    Raises:
        ValidationError: a name comes twice.
    """
    listed = [names] if isinstance(names, str) else list(names or [])
    if len(set(listed)) != len(listed):
        raise ValidationError(f"{parameter} names a column twice: {', '.join(map(repr, listed))}")
    return listed
