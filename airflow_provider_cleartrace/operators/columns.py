"""What a model's schema says about reading a file for it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from airflow_provider_cleartrace.api.models import SchemaColumn, SchemaResult
from airflow_provider_cleartrace.storage.kinds import Kind
from airflow_provider_cleartrace.storage.sources import Source

_NUMBER = re.compile(r"(number|numeric|integer|u?int\d*|float\d*|double|decimal)\b", re.IGNORECASE)
_BOOLEAN = re.compile(r"bool", re.IGNORECASE)
_DATE = re.compile(r"date|time", re.IGNORECASE)


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


def feature_kinds(schema: SchemaResult) -> dict[str, Kind | None]:
    """What each feature is read as; None where the schema does not tell."""
    return {name: _kind(schema.columns.get(name)) for name in schema.feature_names}


def _kind(column: SchemaColumn | None) -> Kind | None:
    if column is None:
        return None
    levels = column.categories or ()
    if _BOOLEAN.match(column.dtype) or (levels and all(isinstance(level, bool) for level in levels)):
        return "boolean"
    if levels and all(isinstance(level, int | float) for level in levels):
        return "number"
    if _NUMBER.match(column.dtype):
        return "number"
    return "date" if _DATE.match(column.dtype) else "any"


def guessed_kinds(source: Source, columns: Sequence[str]) -> dict[str, Kind]:
    """What columns that no schema tells of are, from all of their values: numbers, or as the file has them.

    A first pass over a CSV; the types of a Parquet file stand in its schema.
    """
    import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)

    numbers = set(columns) if any(file.is_csv for file in source.files) else set()
    if numbers:
        for block in source.read(columns):
            for name in sorted(numbers):
                try:
                    block.batch.column(name).cast(pa.float64())
                except pa.ArrowInvalid:
                    numbers.discard(name)
    return {name: "number" if name in numbers else "any" for name in columns}


def filter_kinds(values: Mapping[str, Sequence[object]]) -> dict[str, Kind]:
    """What a column is that a filter compares with these values."""

    def kind(compared: Sequence[object]) -> Kind:
        if all(isinstance(value, bool) for value in compared):
            return "boolean"
        return "number" if all(isinstance(value, int | float) for value in compared) else "any"

    return {name: kind(compared) for name, compared in values.items()}
