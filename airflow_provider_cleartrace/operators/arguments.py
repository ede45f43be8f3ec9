"""Arguments that are known while a DAG is parsed, and so are checked there."""

from __future__ import annotations

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
