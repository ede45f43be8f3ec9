"""Encodings: scaling and its chain rule, levels, gaps and strangers."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from airflow_provider_cleartrace.local.engine import InputError, Table, infer_schema
from airflow_provider_cleartrace.local.engine.encoding import MAX_ENCODED_COLUMNS, Encoder
from airflow_provider_cleartrace.local.engine.scaling import SCALINGS, Scaling, curve_from_json, fit_curve
from tests.unit.engine.engine_tables import Labelled


def encoder_of(table: Table, scaling: Scaling = "standard") -> Encoder:
    return Encoder.fit(table, infer_schema(table), scaling)


SAMPLES = {
    "normal": np.random.default_rng(0).normal(5, 2, 300),
    "heavy tails": np.random.default_rng(1).standard_cauchy(300),
    "few values": np.array([1.0, 1, 2, 2, 2, 3, 4, 4]),
    "mostly zero": np.array([0.0] * 20 + [1, 5, 9]),
    "two values": np.array([0.0, 1.0, 1.0]),
}


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("sample", SAMPLES)
class TestCurves:
    def test_the_slope_at_encoded_values_is_the_derivative(self, scaling: Scaling, sample: str) -> None:
        values = SAMPLES[sample]
        curve = fit_curve(scaling, values)
        step = 1e-6 * (np.percentile(values, 75) - np.percentile(values, 25) + 0.1)
        at = np.concatenate([values, values + 1.3 * step, [values.min() - 1, values.max() + 1]])
        difference = (curve.forward(at + step) - curve.forward(at - step)) / (2 * step)
        np.testing.assert_allclose(curve.slope(curve.forward(at)), difference, rtol=2e-4, atol=1e-7)

    def test_the_curve_increases(self, scaling: Scaling, sample: str) -> None:
        grid = np.linspace(SAMPLES[sample].min() - 1, SAMPLES[sample].max() + 1, 500)
        assert (np.diff(fit_curve(scaling, SAMPLES[sample]).forward(grid)) > 0).all()

    def test_the_curve_survives_json(self, scaling: Scaling, sample: str) -> None:
        curve = fit_curve(scaling, SAMPLES[sample])
        assert curve_from_json(json.loads(json.dumps(curve.to_json()))) == curve

    def test_a_change_of_unit_changes_nothing(self, scaling: Scaling, sample: str) -> None:
        values = SAMPLES[sample]
        inches = fit_curve(scaling, values / 2.54 + 7).forward(values / 2.54 + 7)
        np.testing.assert_allclose(fit_curve(scaling, values).forward(values), inches, atol=1e-9)


def test_robust_scores_stay_within_three() -> None:
    curve = fit_curve("robust", SAMPLES["heavy tails"])
    assert np.abs(curve.forward(np.array([-1e9, 1e9]))).max() <= 3


def test_a_constant_column_is_encoded_as_zero_even_for_other_values() -> None:
    encoder = encoder_of(Table.from_columns({"a": [3.0, 3.0, 3.0]}))
    np.testing.assert_array_equal(encoder.encode(Table.from_columns({"a": [3.0, 99.0]})), [[0.0], [0.0]])


def test_a_quantity_with_gaps_has_a_column_that_marks_them() -> None:
    encoder = encoder_of(Table.from_columns({"a": [1.0, 3.0, None]}))
    np.testing.assert_allclose(
        encoder.encode(Table.from_columns({"a": [3.0, None]})), [[1.0, 0.0], [0.0, 1.0]]
    )


def test_a_gap_unknown_from_training_counts_as_the_training_mean() -> None:
    encoder = encoder_of(Table.from_columns({"a": [1.0, 3.0], "c": ["x", "y"]}))
    gaps = Table.from_columns({"a": [None, 2.0], "c": ["x", "x"]})
    first, second = encoder.encode(gaps)
    np.testing.assert_array_equal(first, second)


def test_a_missing_level_is_a_level_and_a_stranger_is_all_zeros() -> None:
    encoder = encoder_of(Table.from_columns({"c": ["x", "y", None]}))
    encoded = encoder.encode(Table.from_columns({"c": ["x", "y", None, "z"]}))
    np.testing.assert_array_equal(encoded, [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]])


def test_columns_are_found_by_name_and_strangers_are_ignored(mixed: Labelled) -> None:
    encoder = encoder_of(mixed.table)
    shuffled = Table.from_columns(
        {"extra": [0] * len(mixed.table), **dict(reversed(mixed.table.columns.items()))}
    )
    np.testing.assert_array_equal(encoder.encode(shuffled), encoder.encode(mixed.table))


def test_the_order_of_training_columns_does_not_change_the_matrix(mixed: Labelled) -> None:
    reordered = mixed.table.select(reversed(mixed.table.names))
    one, other = encoder_of(mixed.table), encoder_of(reordered)
    np.testing.assert_array_equal(one.encode(mixed.table), other.encode(mixed.table))
    assert one.groups == tuple(reversed(other.groups))


def test_groups_cover_every_encoded_column_once(mixed: Labelled) -> None:
    encoder = encoder_of(mixed.table)
    covered = sorted(position for group in encoder.groups for position in range(group.start, group.stop))
    assert covered == list(range(encoder.width))


def test_one_feature_is_encoded_as_in_its_table(mixed: Labelled) -> None:
    encoder = encoder_of(mixed.table, "quantile")
    whole = encoder.encode(mixed.table)
    for column, group in zip(encoder.features, encoder.groups, strict=True):
        np.testing.assert_array_equal(
            encoder.encode_feature(column.name, mixed.table[column.name]), whole[:, group]
        )
    with pytest.raises(InputError, match="unknown feature 'x'"):
        encoder.encode_feature("x", np.zeros(1))


def test_missing_feature_columns_are_all_named(mixed: Labelled) -> None:
    with pytest.raises(InputError, match=r"\['rooms', 'town'\]"):
        encoder_of(mixed.table).encode(mixed.table.select(["area", "income", "garden", "listed", "country"]))


def test_a_table_too_wide_to_encode_is_refused_by_its_widest_column() -> None:
    n = MAX_ENCODED_COLUMNS + 1
    table = Table.from_columns({"key": [f"k{i}" for i in range(n)], "a": range(n)})
    with pytest.raises(InputError, match="'key'"):
        Encoder.fit(table, infer_schema(table, {"key": {"dtype": "category"}}), "standard")


@pytest.mark.parametrize("scaling", SCALINGS)
def test_an_encoder_survives_json(mixed: Labelled, scaling: Scaling) -> None:
    encoder = encoder_of(mixed.table, scaling)
    restored = Encoder.from_json(json.loads(json.dumps(encoder.to_json())), encoder.features)
    assert restored == encoder


class TestContraction:
    """f(encoded) = w . encoded has the gradient w, and every feature's entry is known."""

    def contracted(self, table: Table, weights: NDArray[np.float64]) -> tuple[NDArray[np.float64], Encoder]:
        encoder = encoder_of(table, "robust")
        encoded = encoder.encode(table)
        return encoder.contract(np.broadcast_to(weights[: encoder.width], encoded.shape), encoded), encoder

    def test_a_quantity_is_per_training_standard_deviation(self) -> None:
        values = SAMPLES["normal"]
        table = Table.from_columns({"a": values})
        contracted, encoder = self.contracted(table, np.array([2.0]))
        step = 1e-6
        up = encoder.encode(Table.from_columns({"a": values + step}))
        down = encoder.encode(Table.from_columns({"a": values - step}))
        expected = 2.0 * (up - down) / (2 * step) * values.std()
        np.testing.assert_allclose(contracted, expected, rtol=1e-5)

    def test_a_category_is_the_contrast_against_the_training_mix(self) -> None:
        table = Table.from_columns({"c": ["x", "x", "y", "z"]})
        weights = np.array([1.0, 5.0, -2.0])
        contracted, _ = self.contracted(table, weights)
        mix = (2 * 1.0 + 5.0 - 2.0) / 4
        np.testing.assert_allclose(contracted[:, 0], np.array([1.0, 1.0, 5.0, -2.0]) - mix)

    def test_a_gap_is_the_contrast_of_the_gap(self) -> None:
        table = Table.from_columns({"a": [1.0, 2.0, 3.0, None]})
        contracted, _ = self.contracted(table, np.array([1.0, 4.0]))
        assert contracted[3, 0] == pytest.approx(4.0 * 0.75)

    def test_outputs_are_contracted_each(self, mixed: Labelled) -> None:
        encoder = encoder_of(mixed.table)
        encoded = encoder.encode(mixed.table)
        gradient = np.random.default_rng(0).normal(size=(len(encoded), 3, encoder.width))
        together = encoder.contract(gradient, encoded)
        for output in range(3):
            np.testing.assert_array_equal(together[:, output], encoder.contract(gradient[:, output], encoded))
