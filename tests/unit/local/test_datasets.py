"""Rows of a body become tables, and tables become features and a target."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_cleartrace.local.datasets import SizeLimits, read_rows, rows_for_model, training_data
from airflow_provider_cleartrace.local.engine.errors import InputError

LIMITS = SizeLimits(rows=3, columns=3)
FEATURES = ("a", "b")


class TestRowsForAModel:
    @pytest.mark.parametrize(
        ("rows", "names"),
        [
            ([[1, 2]], None),
            ([[1, 2]], ["a", "b"]),
            ([[2, 1]], ["b", "a"]),
            ([{"b": 2, "a": 1}], None),
            ([{"b": 2, "a": 1, "c": 3}], ["a", "b"]),
        ],
    )
    def test_order_and_form_do_not_matter(self, rows: list[Any], names: list[str] | None) -> None:
        table = rows_for_model(rows, names, FEATURES, LIMITS)
        assert table.names == FEATURES
        assert table.to_json() == {"a": [1.0], "b": [2.0]}

    def test_absent_features_are_missing_where_allowed(self) -> None:
        table = rows_for_model([{"a": 1}, {"b": 2}], None, FEATURES, LIMITS, absent_allowed=True)
        assert table.to_json() == {"a": [1.0, None], "b": [None, 2.0]}
        table = rows_for_model([[5]], ["b"], FEATURES, LIMITS, absent_allowed=True)
        assert table.to_json() == {"a": [None], "b": [5.0]}

    def test_extra_columns_are_ignored_where_allowed(self) -> None:
        rows = [{"a": 1, "b": 2, "target": 1}]
        assert rows_for_model(rows, None, FEATURES, LIMITS, extra_allowed=True).names == FEATURES
        with pytest.raises(InputError, match="target"):
            rows_for_model(rows, None, FEATURES, LIMITS)

    @pytest.mark.parametrize(
        ("rows", "names", "named"),
        [
            ([], None, "empty"),
            ([[]], [], "no columns"),
            ([[1, 2]] * 4, None, "up to 3"),
            ([[1, 2, 3, 4]], list("abcd"), "up to 3"),
            ([[1]], None, "1 values, but the model has 2"),
            ([[1, 2]], ["a"], "1 column names"),
            ([[1, 2]], ["a", "a"], "more than once"),
            ([[1, 2], [1]], None, "row 1"),
            ([{"a": 1, "b": 2}, {"a": 1}], None, r"row 1 lacks the columns \['b'\]"),
            ([{"a": 1}], None, r"missing columns: \['b'\]"),
            ([[1, {"deep": 1}]], None, "'b'"),
        ],
    )
    def test_what_is_wrong_is_named(self, rows: list[Any], names: list[str] | None, named: str) -> None:
        with pytest.raises(InputError, match=named):
            rows_for_model(rows, names, FEATURES, LIMITS)


class TestTrainingData:
    def test_the_target_is_never_a_feature(self) -> None:
        table = read_rows([{"a": 1, "y": 0, "b": 2}], None, LIMITS)
        data = training_data(table, "y", None)
        assert data.features.names == ("a", "b")
        assert (data.target_name, list(data.target)) == ("y", [0.0])

    def test_values_get_a_name_that_no_column_has(self) -> None:
        table = read_rows([{"target": 1}], None, LIMITS)
        data = training_data(table, ["yes"], None)
        assert data.features.names == ("target",)
        assert (data.target_name, list(data.target)) == ("target_", ["yes"])

    def test_arrays_get_numbered_names(self) -> None:
        assert read_rows([[1, 2]], None, LIMITS).names == ("feature_0", "feature_1")
