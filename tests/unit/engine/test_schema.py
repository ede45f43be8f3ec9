"""Schemas: what is inferred, what can be declared, and what is refused by name."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from airflow_provider_cleartrace.local.engine import (
    Column,
    InputError,
    Model,
    ModelSchema,
    Table,
    infer_schema,
)
from airflow_provider_cleartrace.local.engine.schema import MAX_CATEGORIES
from tests.unit.engine.engine_tables import Labelled


def column(values: list[Any], **wish: Any) -> Column:
    (found,) = infer_schema(Table.from_columns({"a": values}), {"a": wish} if wish else None)
    return found


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, 2.5, None], "number"),
        ([1, 2, None], "integer"),
        ([True, None, False], "boolean"),
        (["x", "y", None], "category"),
        (["2024-01-31", None, "2024-02-01T10:30:00Z"], "datetime"),
        (["2024-01-31", "soon"], "category"),
        (["20240131", "20240201"], "category"),
        ([None, None], "number"),
    ],
)
def test_kinds_follow_from_the_values(values: list[Any], kind: str) -> None:
    assert column(values).kind == kind


def test_moments_are_those_of_the_present_values() -> None:
    found = column([1.0, None, 3.0, 5.5])
    assert (found.minimum, found.maximum, found.missing_share) == (1.0, 5.5, 0.25)
    assert found.mean == pytest.approx(np.mean([1, 3, 5.5]))
    assert found.std == pytest.approx(np.std([1, 3, 5.5]))


def test_a_constant_column_has_no_spread() -> None:
    assert column([0.1] * 7).std == 0.0


def test_dates_are_days_and_read_back_as_dates() -> None:
    found = column(["1970-01-02", "1970-01-03T12:00:00+00:00"])
    assert (found.minimum, found.maximum) == (1.0, 2.5)
    assert found.json_value(1.0) == "1970-01-02"
    assert found.json_value(2.5) == "1970-01-03T12:00:00"


def test_values_are_given_as_the_user_writes_them() -> None:
    assert column([1, 2]).json_value(2.0) == 2
    assert isinstance(column([1, 2]).json_value(2.0), int)
    assert column([True, False]).json_value("true") is True
    assert column(["x", "y"]).json_value("x") == "x"
    assert column([1.5, 2]).json_value(float("nan")) is None


def test_levels_are_sorted_and_numbers_can_be_levels() -> None:
    assert column(["b", "a", None, "b"]).categories == ("a", "b")
    assert column([10, 2, 2.0], dtype="category").categories == ("10", "2")
    assert column(["a", "b"], categories=["b", "a", "c"]).categories == ("b", "a", "c")


@pytest.mark.parametrize("value", ["true", "True", "1", True, 1.0])
def test_a_boolean_accepts_its_spellings(value: Any) -> None:
    found = column([True, False])
    assert list(found.to_levels(Table.from_columns({"a": [value]})["a"])) == ["true"]


def test_ignored_columns_are_left_out() -> None:
    table = Table.from_columns({"a": [1, 2], "key": ["p", "q"]})
    assert [c.name for c in infer_schema(table, {"key": {"dtype": "ignore"}})] == ["a"]


def test_too_many_levels_are_refused_with_both_ways_out() -> None:
    texts = [f"user {i}" for i in range(MAX_CATEGORIES + 1)]
    with pytest.raises(InputError, match=r"'a' is text with 201 different values.*ignore.*category"):
        column(texts)
    assert len(column(texts, dtype="category").categories) == MAX_CATEGORIES + 1


@pytest.mark.parametrize(
    ("feature_schema", "message"),
    [
        ({"b": {"dtype": "number"}}, "'b', which is no feature column"),
        ({"a": {"dtype": "text"}}, "dtype 'text'"),
        ({"a": {"kind": "number"}}, r"unknown keys \['kind'\]"),
        ({"a": {"dtype": "number", "categories": ["x"]}}, "lists categories"),
        ({"a": {"categories": []}}, "at least one level"),
        ({"a": {"categories": ["x", "x"]}}, "distinct levels"),
        ({"a": "category"}, "must be an object"),
        ({"a": {"dtype": "ignore"}}, "no feature column to learn from"),
        ({"a": {"dtype": "integer"}}, "declared integer"),
        ({"a": {"dtype": "boolean"}}, "expected true, false"),
    ],
)
def test_a_wrong_declaration_is_refused_by_name(feature_schema: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        infer_schema(Table.from_columns({"a": [1.5, 2]}), feature_schema)


@pytest.mark.parametrize(("kind", "wanted"), [("number", "a number"), ("datetime", "an ISO date")])
def test_an_unreadable_cell_is_named_but_not_shown(kind: str, wanted: str) -> None:
    with pytest.raises(InputError, match=f"'a', row 1: expected {wanted}") as caught:
        column([None, "secret"], dtype=kind)
    assert "secret" not in str(caught.value)


def test_numbers_too_large_to_compute_with_are_refused_by_column() -> None:
    with pytest.raises(InputError, match="'a' holds numbers too large"):
        column([1e300, -1e300])


def test_the_schema_of_a_model_describes_its_training_table(
    models: dict[tuple[str, str], Model], mixed: Labelled
) -> None:
    for model in models.values():
        assert model.schema.feature_names == mixed.table.names
        kinds = ["number", "number", "integer", "category", "boolean", "datetime", "integer"]
        assert [found.kind for found in model.schema.features] == kinds
        for name in ("area", "income", "rooms", "country"):
            values, found = mixed.table[name], model.schema.feature(name)
            assert (found.minimum, found.maximum) == (np.nanmin(values), np.nanmax(values))
            assert found.mean == pytest.approx(np.nanmean(values))
            assert found.std == pytest.approx(np.nanstd(values))
            assert found.missing_share == pytest.approx(np.isnan(values).mean())
        towns, listed = mixed.table["town"], model.schema.feature("listed")
        assert model.schema.feature("town").categories == tuple(sorted({town for town in towns if town}))
        assert model.schema.feature("town").missing_share == pytest.approx(
            np.mean([town is None for town in towns])
        )
        dates = sorted(mixed.table["listed"])
        assert [listed.json_value(end) for end in (listed.minimum, listed.maximum)] == [dates[0], dates[-1]]
        assert ModelSchema.from_json(json.loads(json.dumps(model.schema.to_json()))) == model.schema


def test_a_schema_survives_json() -> None:
    table = Table.from_columns(
        {"n": [1.5, None], "c": ["x", "y"], "b": [True, False], "d": ["2024-01-01", None]}
    )
    for classes in ((), (False, True), (0, 1, 5), ("no", "yes")):
        schema = ModelSchema(infer_schema(table), "y", "multiclass", classes)
        restored = ModelSchema.from_json(json.loads(json.dumps(schema.to_json())))
        assert restored == schema
        assert [type(label) for label in restored.classes] == [type(label) for label in classes]
