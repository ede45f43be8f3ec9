"""Record batches as CSV can hold them: what nests is JSON, and no text is a formula to a spreadsheet."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

_FORMULA = r"(?s)^[=@\t\r]|^[+-].*[^0-9.,eE+-]"
"""What a spreadsheet would calculate: OWASP's list of beginnings, without the numbers among them."""


def csv_schema(schema: pa.Schema) -> pa.Schema:
    """Give the columns of a CSV file: nested ones hold texts, and no name is a formula."""
    import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)

    return pa.schema([pa.field(_inert(field.name), _cell_type(field.type)) for field in schema])


def csv_batch(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Give the rows of a CSV file; a text that would be a formula stands behind an apostrophe."""
    import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)

    return pa.RecordBatch.from_arrays(
        [_cells(column) for column in batch.columns], schema=csv_schema(batch.schema)
    )


def _cell_type(kind: pa.DataType) -> pa.DataType:
    import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)

    if pa.types.is_dictionary(kind):
        return kind.value_type
    return pa.string() if pa.types.is_nested(kind) else kind


def _cells(column: pa.Array) -> pa.Array:
    import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)

    if pa.types.is_nested(column.type):
        return _as_json(column)
    plain = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
    return _without_formulas(plain) if _is_text(plain.type) else plain


def _as_json(column: pa.Array) -> pa.Array:
    import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)
    import pydantic_core  # noqa: PLC0415

    return pa.array(
        [
            None if value is None else pydantic_core.to_json(value, inf_nan_mode="null").decode()
            for value in column.to_pylist()
        ],
        pa.string(),
    )


def _without_formulas(column: pa.Array) -> pa.Array:
    import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)
    import pyarrow.compute as pc  # noqa: PLC0415

    if not pc.any(pc.match_substring_regex(column, _FORMULA)).as_py():
        return column
    return pa.array([value and _inert(value) for value in column.to_pylist()], column.type)


def _inert(text: str) -> str:
    return f"'{text}" if re.match(_FORMULA, text) else text


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
