"""Tables: one normal form for every source, and clear refusals."""

from __future__ import annotations

import datetime
import json
import math

import numpy as np
import pytest

from airflow_provider_cleartrace.local.engine import InputError, Table
from airflow_provider_cleartrace.local.engine.table import column_array, is_missing


def test_json_rows_become_named_columns() -> None:
    table = Table.from_rows(["a", "b"], [[1, "x"], [None, None], [2.5, "y"]])
    assert table.names == ("a", "b")
    assert len(table) == 3
    assert table["a"].dtype == np.float64
    np.testing.assert_array_equal(table["a"], [1.0, math.nan, 2.5])
    assert list(table["b"]) == ["x", None, "y"]


def test_no_rows_make_an_empty_table_with_its_columns() -> None:
    table = Table.from_rows(["a", "b"], [])
    assert len(table) == 0
    assert table.names == ("a", "b")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([True, None, False], [True, None, False]),
        ([True, 2, None], [1.0, 2.0, None]),
        (["x", 1, 1.5, True, math.nan], ["x", "1", "1.5", "true", None]),
        (["x", "", "  "], ["x", None, None]),
        ([None, None], [None, None]),
        ([datetime.date(2024, 2, 29), None], ["2024-02-29", None]),
        (np.array(["2024-02-29", "NaT"], dtype="datetime64[D]"), ["2024-02-29", None]),
        (np.array(["1", "2"]), ["1", "2"]),
        (np.array([True, False]), [True, False]),
        (np.array([1, 2], dtype=np.int8), [1.0, 2.0]),
    ],
)
def test_values_take_one_of_three_normal_forms(values: object, expected: list[object]) -> None:
    assert Table.from_columns({"a": values}).to_json() == {"a": expected}  # type: ignore[dict-item]


def test_texts_of_numpy_stay_texts() -> None:
    assert all(type(value) is str for value in column_array("a", np.array(["1", "2"])))


def test_a_table_survives_json() -> None:
    table = Table.from_rows(["n", "t", "b"], [[0.1 + 0.2, "ä", True], [None, None, None]])
    restored = Table.from_columns(json.loads(json.dumps(table.to_json())))
    assert restored.to_json() == table.to_json()


def test_gaps_are_found_in_every_form() -> None:
    table = Table.from_rows(["n", "t", "b"], [[1, "x", True], [None, None, None]])
    for name in table.names:
        np.testing.assert_array_equal(is_missing(table[name]), [False, True])


def test_rows_and_columns_can_be_taken() -> None:
    table = Table.from_rows(["a", "b"], [[1, "x"], [2, "y"], [3, "z"]])
    assert table.select(["b", "a"]).names == ("b", "a")
    assert table.take(np.array([2, 0])).to_json() == {"a": [3.0, 1.0], "b": ["z", "x"]}
    assert len(table.take(np.array([True, False, False]))) == 1


def test_a_ragged_row_is_refused_by_its_position() -> None:
    with pytest.raises(InputError, match="row 1 has 1 values"):
        Table.from_rows(["a", "b"], [[1, 2], [3]])


def test_duplicate_names_are_refused_by_name() -> None:
    with pytest.raises(InputError, match="'a'"):
        Table.from_rows(["a", "b", "a"], [])


def test_unequal_columns_are_refused() -> None:
    with pytest.raises(InputError, match="differ in length"):
        Table.from_columns({"a": [1], "b": [1, 2]})


@pytest.mark.parametrize("values", [[math.inf], np.array([-math.inf])])
def test_an_infinite_number_is_refused(values: object) -> None:
    with pytest.raises(InputError, match="'a' holds an infinite"):
        Table.from_columns({"a": values})  # type: ignore[dict-item]


@pytest.mark.parametrize("values", [[10**400], [-(10**400), "a"], [1.5, 10**400, None]])
def test_a_number_beyond_the_range_of_floats_is_refused_by_column(values: list[object]) -> None:
    with pytest.raises(InputError, match="'account' holds a whole number beyond"):
        Table.from_columns({"account": values})


def test_a_nested_value_is_refused_without_showing_it() -> None:
    with pytest.raises(InputError, match="type list") as caught:
        Table.from_rows(["a"], [[["secret"]]])
    assert "secret" not in str(caught.value)


def test_every_missing_column_is_named() -> None:
    with pytest.raises(InputError, match=r"\['b', 'c'\]"):
        Table.from_columns({"a": [1]}).select(["a", "b", "c"])
