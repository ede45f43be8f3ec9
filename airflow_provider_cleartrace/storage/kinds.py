"""What a column is taken for, so that every part of an input is read alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Literal

from airflow_provider_cleartrace.storage.errors import StorageError

if TYPE_CHECKING:
    import pyarrow as pa

Kind = Literal["number", "boolean", "text", "date", "any"]
"""``number``: a double. ``date``: a date, a time or a text. ``any``: as a Parquet file has it; a text from a
CSV."""

AS_IT_IS = {"date", "any"}
"""Kinds that no type belongs to."""


def check_kind(what: str, field: pa.Field, kind: Kind) -> None:
    """Refuse a column of a typed file whose values cannot be what is asked for.

    Raises:
        StorageError: names the column, its type and the kind.
    """
    import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)

    held = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    is_number = pa.types.is_integer(held) or pa.types.is_floating(held) or pa.types.is_decimal(held)
    is_text = held in _texts()
    is_moment = pa.types.is_temporal(held) and not pa.types.is_duration(held)
    simple = is_number or is_text or pa.types.is_boolean(held) or pa.types.is_null(held)
    fits = {
        "number": is_number or pa.types.is_boolean(held) or pa.types.is_null(held),
        "boolean": simple,
        "text": simple or pa.types.is_temporal(held),
        "date": is_text or is_moment or pa.types.is_null(held),
        "any": simple or is_moment,
    }
    if not fits[kind]:
        wanted = "a simple value" if kind == "any" else f"a {kind}"
        raise StorageError(f"{what}: the column {field.name!r} is {field.type}, where {wanted} is needed")


def _texts() -> tuple[pa.DataType, ...]:
    """Every type that Arrow has for texts."""
    import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)

    return pa.string(), pa.large_string(), pa.string_view()


def common_type(types: Iterable[pa.DataType]) -> pa.DataType | None:
    """The type that holds a column of several files: of texts and others texts, so that ``007`` stays itself.

    A file in which the column has no value at all has no say. None if no type holds them all.
    """
    import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)

    plain = (kind.value_type if pa.types.is_dictionary(kind) else kind for kind in types)
    held = {pa.string() if kind in _texts() else kind for kind in plain} - {pa.null()}
    if not held:
        return pa.null()
    if pa.string() in held:
        return pa.string()
    if any(map(pa.types.is_timestamp, held)):
        held = {pa.timestamp("s") if pa.types.is_date(kind) else kind for kind in held}
    try:
        (field,) = pa.unify_schemas(
            [pa.schema([("column", kind)]) for kind in sorted(held, key=str)], promote_options="permissive"
        )
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        return None
    return field.type


def converted(batch: pa.RecordBatch, kinds: Mapping[str, Kind]) -> tuple[pa.RecordBatch, dict[int, str]]:
    """Give each column its kind's type.

    Returns:
        The batch, and for each row with a cell that could not be read (it is null now) what was wrong.
    """
    import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)

    faults: dict[int, str] = {}
    columns = []
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        kind = kinds.get(name, "any")
        plain = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
        if kind in AS_IT_IS:
            # pandas writes texts as large ones, Arrow as plain ones: an output has one type for both.
            columns.append(plain.cast(pa.string()) if plain.type in _texts()[1:] else plain)
            continue
        target = {"number": pa.float64(), "boolean": pa.bool_(), "text": pa.string()}[kind]
        try:
            # Even a cast to the same type loads Arrow's functions, 9 megabytes of them.
            # An integer that no double holds is the nearest one, as it is out of a CSV.
            is_safe = not (kind == "number" and pa.types.is_integer(plain.type))
            columns.append(plain if plain.type == target else plain.cast(target, safe=is_safe))
        except pa.ArrowInvalid:
            values, unread = _cell_by_cell(plain, target)
            columns.append(values)
            for row in unread:
                faults.setdefault(row, f"column {name!r} is no {kind}")
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names), faults


def _cell_by_cell(column: pa.Array, target: pa.DataType) -> tuple[pa.Array, list[int]]:
    import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)
    import pyarrow.compute as pc  # noqa: PLC0415

    if pa.types.is_string(column.type):
        column = pc.utf8_trim_whitespace(column)
    values, unread = [], []
    for row, cell in enumerate(column):
        try:
            values.append(cell.cast(target).as_py())
        except pa.ArrowInvalid:
            values.append(None)
            unread.append(row)
    return pa.array(values, target), unread
