"""What a model's schema says about reading a file for it."""

from __future__ import annotations

from airflow_provider_cleartrace.api.models import SchemaResult


def text_columns(schema: SchemaResult) -> list[str]:
    """Columns whose levels are texts: a CSV must not guess at them.

    A part of the rows may hold only ``007`` and ``012``, which on their own look like numbers, and would then
    be levels that the model has never seen.
    """
    return [
        name
        for name, column in schema.columns.items()
        if column.categories and all(isinstance(level, str) for level in column.categories)
    ]
