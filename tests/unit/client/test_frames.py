"""Every documented kind of table has one JSON form, or is refused by name."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import math

import numpy as np
import pandas as pd
import pydantic_core
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_cleartrace.api.errors import ValidationError
from airflow_provider_cleartrace.client.frames import column_from, rows_from, scalar_from

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.dates(),
    st.datetimes(timezones=st.one_of(st.none(), st.just(dt.UTC))),
    st.decimals(allow_infinity=False, min_value=-(10**20), max_value=10**20)
    | st.just(decimal.Decimal("nan")),
    st.just(pd.NaT),
    st.just(pd.NA),
    st.booleans().map(np.bool_),
    st.integers(-(2**63), 2**63 - 1).map(np.int64),
    st.floats(width=32, allow_infinity=False).map(np.float32),
    st.datetimes(min_value=dt.datetime(1700, 1, 1), max_value=dt.datetime(2200, 1, 1)).map(pd.Timestamp),
    st.datetimes(min_value=dt.datetime(1700, 1, 1), max_value=dt.datetime(2200, 1, 1)).map(np.datetime64),
)


def expected(value: object) -> object:
    """The documented JSON form, told independently of the code."""
    if value is None or value is pd.NaT or value is pd.NA:
        return None
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, float | np.floating | decimal.Decimal):
        return None if math.isnan(value) else float(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, np.datetime64):
        return str(value)
    if isinstance(value, dt.date):
        return value.isoformat()
    return value


@given(st.lists(st.lists(SCALARS, min_size=2, max_size=2), min_size=1, max_size=6))
def test_any_table_of_supported_values_crosses_json_unchanged(table: list[list[object]]) -> None:
    rows = rows_from(table).values

    crossed = json.loads(pydantic_core.to_json(rows))

    assert crossed == [[expected(value) for value in row] for row in table]


@given(st.lists(SCALARS, min_size=1, max_size=6))
def test_a_frame_gives_the_values_of_its_columns(values: list[object]) -> None:
    frame = pd.DataFrame({"a": pd.Series(values, dtype=object), "b": range(len(values))})

    rows = rows_from(frame)

    assert rows.names == ["a", "b"]
    assert [row[0] for row in rows.values] == [expected(value) for value in values]


@pytest.mark.parametrize(
    ("column", "form"),
    [
        (pd.Series([1, None], dtype="Int64"), [1, None]),
        (pd.Series([True, None], dtype="boolean"), [True, None]),
        (pd.Series(["x", None], dtype="string"), ["x", None]),
        (pd.Series(["x", None], dtype="category"), ["x", None]),
        (pd.Series([2**53, 5], dtype="category"), [2**53, 5]),
        (pd.Series([0.5, math.nan]), [0.5, None]),
        (pd.Series([np.float32(0.1)], dtype="float32"), [float(np.float32(0.1))]),
        (pd.Series([2**64 - 1], dtype="uint64"), [2**64 - 1]),
        (pd.Series([2**80, -(2**80)], dtype=object), [2**80, -(2**80)]),
        (pd.to_datetime(pd.Series(["2026-11-21", None])), ["2026-11-21T00:00:00", None]),
        (
            pd.to_datetime(pd.Series(["2026-11-21T10:00:00+02:00"])),
            ["2026-11-21T10:00:00+02:00"],
        ),
        (np.array(["2026-11-21"], dtype="datetime64[ns]"), ["2026-11-21T00:00:00.000000000"]),
        (np.array([True, False]), [True, False]),
    ],
)
def test_typed_columns_keep_their_values(column: object, form: list[object]) -> None:
    assert column_from(column, what="c") == form


@pytest.mark.parametrize(
    "value",
    [
        math.inf,
        -math.inf,
        np.float32("inf"),
        decimal.Decimal("Infinity"),
        b"bytes",
        dt.timedelta(1),
        np.timedelta64(1, "D"),
        pd.Timedelta(1),
        pd.Period("2026-11"),
        1j,
        [1],
        {"a": 1},
        object(),
        "\ud800",
    ],
)
def test_values_without_a_json_form_are_refused_by_name(value: object) -> None:
    with pytest.raises(ValidationError, match="column_x"):
        scalar_from(value, what="column_x")


@pytest.mark.parametrize(
    "array",
    [np.array([[1.0, math.inf]]), np.array([[np.timedelta64(1, "D")]]), np.array([[1j]])],
)
def test_arrays_are_checked_column_by_column(array: np.ndarray) -> None:
    with pytest.raises(ValidationError, match="X, column"):
        rows_from(array)


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ([], "no rows"),
        ([[]], "no columns"),
        (pd.DataFrame({"a": []}), "no rows"),
        ([[1, 2], [3]], "row 1 has 1 values, the first row has 2"),
        ([1, 2], "row 0 is int"),
        (["ab", "cd"], "row 0 is str"),
        ("text", "a table is needed"),
        (None, "a table is needed"),
        (np.zeros(3), "two dimensions are needed, not 1"),
        (np.zeros((1, 1, 1)), "two dimensions are needed, not 3"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "duplicate columns: 'a'"),
    ],
)
def test_what_is_no_table_is_refused(table: object, complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        rows_from(table)


def test_records_take_their_names_from_all_of_them_and_fill_gaps_with_null() -> None:
    rows = rows_from([{"age": 25, "income": 50000}, {"age": 40, "score": 1}])

    assert rows.names == ["age", "income", "score"]
    assert rows.values == [[25, 50000, None], [40, None, 1]]
    assert rows.records()[0] == {"age": 25, "income": 50000, "score": None}


def test_feature_names_choose_and_order_the_columns_of_a_named_table() -> None:
    frame = pd.DataFrame({"a": [1], "b": [2], "c": [3]})

    assert rows_from(frame, feature_names=["c", "a"]).values == [[3, 1]]
    with pytest.raises(ValidationError, match="no column 'z'"):
        rows_from(frame, feature_names=["z"])
    with pytest.raises(ValidationError, match="2 columns, but 1 feature names"):
        rows_from([[1, 2]], feature_names=["a"])


def test_an_error_never_quotes_the_data() -> None:
    with pytest.raises(ValidationError) as caught:
        rows_from(pd.DataFrame({"secret": [b"4111-1111"]}))

    assert "4111" not in str(caught.value)
