"""Tables of any documented kind become JSON: column names plus rows, each value with one defined form.

===========================================  ==========================================
in Python                                    in JSON
===========================================  ==========================================
None, NaN, NaT, pandas.NA                    null
bool, numpy.bool_                            true, false
int of any size, numpy integers              number
finite float, numpy floats, Decimal          number
str, numpy.str_                              string
date, datetime, Timestamp, datetime64        ISO 8601 string, with its offset where it has one
a pandas categorical                         the form of its value
===========================================  ==========================================

Anything else (infinities, bytes, durations, nested values, lone surrogates) is refused by name.
"""

from __future__ import annotations

import datetime as dt
import decimal
import math
import numbers
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, SupportsFloat

from airflow_provider_cleartrace.api.errors import ValidationError


@dataclass(frozen=True, slots=True)
class Rows:
    """A rectangular table: ``values`` has one list a row; ``names`` is None where the input had none."""

    names: list[str] | None
    values: list[list[Any]]

    def records(self) -> list[dict[str, Any]]:
        """One object a row, keyed by column name."""
        names = self.names or []
        return [dict(zip(names, row, strict=True)) for row in self.values]


def is_frame(data: Any) -> bool:
    """Whether ``data`` is a pandas DataFrame (pandas is not imported to find out)."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(data, pandas.DataFrame)


def _is_record_batch(data: Any) -> bool:
    pyarrow = sys.modules.get("pyarrow")
    return pyarrow is not None and isinstance(data, pyarrow.RecordBatch)


def rows_from(data: Any, *, feature_names: Sequence[str] | None = None, what: str = "X") -> Rows:
    """Read a DataFrame, an Arrow record batch, a 2-D ndarray, a nested list or a list of dicts.

    Args:
        data: The table, n rows by d columns.
        feature_names: Names for the columns, or for a named table the columns to take, in this order.
        what: How error messages call the argument.

    Raises:
        ValidationError: not a table, no rows, ragged rows, unknown or duplicate columns, or a value that
            has no JSON form; the message names the place.
    """
    if is_frame(data):
        rows = _from_frame(data, feature_names, what)
    elif _is_record_batch(data):
        rows = _from_record_batch(data, feature_names, what)
    elif hasattr(data, "__array__") and hasattr(data, "ndim"):
        rows = Rows(_names(feature_names), _from_array(data, what))
    elif isinstance(data, Sequence) and not isinstance(data, str | bytes):
        rows = _from_list(data, feature_names, what)
    else:
        raise ValidationError(
            f"{what}: a table is needed (DataFrame, 2-D array, nested list), not {_kind(data)}"
        )
    if not rows.values:
        raise ValidationError(f"{what} has no rows")
    if not rows.values[0]:
        raise ValidationError(f"{what} has no columns")
    if rows.names is not None:
        _check_names(rows.names, len(rows.values[0]), what)
    return rows


def column_from(values: Any, *, what: str) -> list[Any]:
    """Read a 1-D column (Series, 1-D array, list) as JSON values."""
    if hasattr(values, "ndim") and values.ndim != 1:
        raise ValidationError(f"{what}: one dimension is needed, not {values.ndim}")
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise ValidationError(f"{what}: a column of values is needed, not {_kind(values)}")
    if hasattr(values, "__array__") and hasattr(values, "dtype"):
        return _column(values, what)
    return [scalar_from(value, what=what) for value in values]


def scalar_from(value: Any, *, what: str) -> Any:
    """The JSON form of one value; see the table of this module."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value, what)
    if isinstance(value, dt.date):  # datetimes and Timestamps are dates too
        return None if value != value else value.isoformat()
    if getattr(getattr(value, "dtype", None), "kind", None) in ("b", "M", "m"):
        return _numpy_scalar(value, what)
    if isinstance(value, decimal.Decimal):
        return None if value.is_nan() else _number(value, what)
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return _number(value, what)
    pandas = sys.modules.get("pandas")
    if pandas is not None and value is pandas.NA:
        return None
    raise ValidationError(f"{what}: a value of type {type(value).__name__} has no JSON form")


def _number(value: SupportsFloat, what: str) -> float | None:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if math.isinf(number):
        raise ValidationError(f"{what}: infinity has no JSON form")
    return None if math.isnan(number) else number


def _text(value: str, what: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValidationError(f"{what}: a text with lone surrogates has no JSON form") from None
    return str(value)


def _numpy_scalar(value: Any, what: str) -> Any:
    if value.dtype.kind == "b":
        return bool(value)
    if value.dtype.kind == "M":
        text = str(value)
        return None if text == "NaT" else text
    raise ValidationError(f"{what}: a value of type {value.dtype} has no JSON form")


def _column(values: Any, what: str) -> list[Any]:
    """One column with a dtype: fast where numpy can convert it whole, value by value otherwise."""
    kind = getattr(values.dtype, "kind", "O")
    whole = not hasattr(values.dtype, "na_value")  # pandas' own dtypes carry a missing value of their own
    if whole and kind in "biu":
        return list(values.tolist())
    if whole and kind == "f":
        return _floats(values, what)
    # A list() of dates keeps their type, where tolist() turns datetime64[ns] into integers.
    return [scalar_from(value, what=what) for value in (list(values) if kind in "Mm" else values.tolist())]


def _floats(values: Any, what: str) -> list[Any]:
    import numpy as np  # noqa: PLC0415  (only a caller that holds arrays pays for numpy)

    array = np.asarray(values, dtype=float)
    if np.isinf(array).any():
        raise ValidationError(f"{what}: infinity has no JSON form")
    listed: list[Any] = array.tolist()
    for index in np.flatnonzero(np.isnan(array)).tolist():
        listed[index] = None
    return listed


def _from_frame(frame: Any, feature_names: Sequence[str] | None, what: str) -> Rows:
    names = [str(name) for name in frame.columns]
    _check_names(names, len(names), what)
    if feature_names is not None:
        wanted = _names(feature_names) or []
        if missing := [name for name in wanted if name not in names]:
            raise ValidationError(f"{what} has no column {_listed(missing)}; its columns: {_listed(names)}")
    else:
        wanted = names
    columns = [_column(frame.iloc[:, names.index(name)], f"{what}, column {name!r}") for name in wanted]
    return Rows(wanted, [list(row) for row in zip(*columns, strict=True)])


def _from_record_batch(batch: Any, feature_names: Sequence[str] | None, what: str) -> Rows:
    import pyarrow as pa  # noqa: PLC0415  (loaded already by whoever holds a batch)

    held = dict.fromkeys(batch.schema.names)  # thousands, which Arrow names anew at every look
    wanted = _names(feature_names) or list(held)
    if missing := [name for name in wanted if name not in held]:
        raise ValidationError(f"{what} has no column {_listed(missing)}; its columns: {_listed(held)}")
    columns = []
    for name in wanted:
        column, place = batch.column(name), f"{what}, column {name!r}"
        if pa.types.is_floating(column.type):
            columns.append(_floats(_plain_floats(column), place))
        elif pa.types.is_string(column.type) or pa.types.is_boolean(column.type):
            columns.append(column.to_pylist())  # Arrow's texts are valid Unicode
        else:
            columns.append([scalar_from(value, what=place) for value in column.to_pylist()])
    return Rows(wanted, [list(row) for row in zip(*columns, strict=True)])


def _plain_floats(column: Any) -> Any:
    """An Arrow column of floats as a numpy array; Arrow's own way loads pandas."""
    import numpy as np  # noqa: PLC0415  (only a caller that holds arrays pays for numpy)
    import pyarrow as pa  # noqa: PLC0415

    # Even a cast to the same type loads Arrow's functions, 9 megabytes of them.
    whole = column if column.type == pa.float64() else column.cast(pa.float64())
    if whole.null_count:
        whole = whole.fill_null(float("nan"))
    return np.frombuffer(whole.buffers()[1], np.float64)[whole.offset : whole.offset + len(whole)]


def _from_array(array: Any, what: str) -> list[list[Any]]:
    if array.ndim != 2:
        raise ValidationError(f"{what}: two dimensions are needed, not {array.ndim}")
    columns = [_column(array[:, index], f"{what}, column {index}") for index in range(array.shape[1])]
    return [list(row) for row in zip(*columns, strict=True)]


def _from_list(data: Sequence[Any], feature_names: Sequence[str] | None, what: str) -> Rows:
    if data and all(isinstance(row, Mapping) for row in data):
        keys = list(dict.fromkeys(str(key) for row in data for key in row))
        names = _names(feature_names) or keys
        values = [
            [scalar_from(row.get(name), what=f"{what}, column {name!r}") for name in names] for row in data
        ]
        if missing := [name for name in names if name not in keys]:
            raise ValidationError(f"{what} has no column {_listed(missing)}; its columns: {_listed(keys)}")
        return Rows(names, values)
    values = []
    for index, row in enumerate(data):
        if isinstance(row, str | bytes | Mapping) or not isinstance(row, Iterable):
            raise ValidationError(f"{what}: row {index} is {_kind(row)}, not a list of values")
        values.append([scalar_from(value, what=f"{what}, row {index}") for value in row])
        if len(values[-1]) != len(values[0]):
            raise ValidationError(
                f"{what}: row {index} has {len(values[-1])} values, the first row has {len(values[0])}"
            )
    return Rows(_names(feature_names), values)


def _names(feature_names: Sequence[str] | None) -> list[str] | None:
    return None if feature_names is None else [str(name) for name in feature_names]


def _check_names(names: Sequence[str], width: int, what: str) -> None:
    if len(names) != width:
        raise ValidationError(f"{what} has {width} columns, but {len(names)} feature names were given")
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValidationError(f"{what} has duplicate columns: {_listed(twice)}")


def _kind(value: Any) -> str:
    return type(value).__name__


def _listed(names: Iterable[str]) -> str:
    shown = [repr(name) for name in names]
    return ", ".join(shown[:20]) + (f" and {len(shown) - 20} more" if len(shown) > 20 else "")
