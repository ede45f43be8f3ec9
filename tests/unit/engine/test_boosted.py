"""Boosted trees: their gradients are the stated differences, exactly."""

from __future__ import annotations

import numpy as np
import pytest

from airflow_provider_cleartrace.local.engine import Model, Table, explain
from airflow_provider_cleartrace.local.engine.boosted import STEP
from tests.unit.engine.engine_tables import Labelled

Models = dict[tuple[str, str], Model]


@pytest.fixture(params=["regression", "binary", "multiclass"])
def model(request: pytest.FixtureRequest, models: Models) -> Model:
    return models["xgboost", request.param]


def replaced(table: Table, name: str, values: object) -> Table:
    return Table.from_columns({**table.columns, name: values})  # type: ignore[dict-item]


def per_feature(model: Model, table: Table, name: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    position = model.schema.feature_names.index(name)
    return model.feature_gradients(model.encode(table))[:, :, position]


def scores(model: Model, table: Table) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return model.scores(model.encode(table))


@pytest.mark.parametrize("name", ["area", "rooms", "income"])
def test_a_quantity_has_the_central_difference_within_the_training_range(
    model: Model, unseen: Labelled, name: str
) -> None:
    column = model.schema.feature(name)
    table = unseen.table.take(~np.isnan(unseen.table[name]))
    values, sd = table[name], column.std or 0.0
    step = max(1, round(STEP * sd)) if column.kind == "integer" else STEP * sd
    up = np.minimum(values + step, column.maximum or 0.0)
    down = np.maximum(values - step, column.minimum or 0.0)
    difference = scores(model, replaced(table, name, up)) - scores(model, replaced(table, name, down))
    expected = difference / ((up - down) / sd)[:, None]
    np.testing.assert_allclose(per_feature(model, table, name), expected, rtol=1e-9, atol=1e-12)


def test_a_category_has_the_exact_contrast_against_the_training_mix(
    model: Model, mixed: Labelled, unseen: Labelled
) -> None:
    towns = mixed.table["town"]
    base = scores(model, unseen.table)
    expected = base.copy()
    for town in ("Ulm", "Bonn", "Kiel", None):
        share = np.mean([value == town for value in towns])
        expected -= share * scores(model, replaced(unseen.table, "town", [town] * len(unseen.table)))
    np.testing.assert_allclose(per_feature(model, unseen.table, "town"), expected, atol=1e-6)


def test_a_boolean_has_the_exact_contrast_too(model: Model, mixed: Labelled, unseen: Labelled) -> None:
    share = mixed.table["garden"].astype(float).mean()
    with_garden, without = (
        scores(model, replaced(unseen.table, "garden", [value] * len(unseen.table)))
        for value in (True, False)
    )
    expected = scores(model, unseen.table) - share * with_garden - (1 - share) * without
    np.testing.assert_allclose(per_feature(model, unseen.table, "garden"), expected, atol=1e-6)


def test_a_gap_has_its_contrast_against_the_training_mean(model: Model, unseen: Labelled) -> None:
    column = model.schema.feature("income")
    gaps = replaced(unseen.table, "income", [None] * len(unseen.table))
    at_mean = replaced(unseen.table, "income", [column.mean] * len(unseen.table))
    expected = (1 - column.missing_share) * (scores(model, gaps) - scores(model, at_mean))
    np.testing.assert_allclose(per_feature(model, gaps, "income"), expected, atol=1e-6)


def test_a_row_far_outside_the_training_range_has_no_slope(model: Model, unseen: Labelled) -> None:
    far = replaced(unseen.table, "area", [1e6] * len(unseen.table))
    np.testing.assert_array_equal(per_feature(model, far, "area"), 0.0)


def test_trees_find_the_directions_of_a_known_truth(models: Models, unseen: Labelled) -> None:
    explanation = explain(models["xgboost", "regression"], unseen.table)
    by_name = dict(zip(explanation.feature_names, explanation.local_drivers.T, strict=True))
    assert by_name["area"].mean() == pytest.approx(0.02, rel=0.5)
    assert by_name["rooms"].mean() == pytest.approx(0.3, rel=0.5)
