"""Explanations: the identities that tie gradients, drivers, AGOP and predictions together."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from airflow_provider_cleartrace.local.engine import (
    FitConfig,
    Model,
    ModelSchema,
    Table,
    explain,
    fit,
    infer_schema,
)
from airflow_provider_cleartrace.local.engine.calibration import Identity
from airflow_provider_cleartrace.local.engine.encoding import Encoder
from airflow_provider_cleartrace.local.engine.rfm import fit_kernel_machine
from airflow_provider_cleartrace.local.engine.scaling import SCALINGS, Scaling
from tests.unit.engine.engine_tables import Labelled

QUANTITIES = ("area", "income", "rooms")
MODELS = [(base, task) for base in ("xrfm", "xgboost") for task in ("regression", "binary", "multiclass")]
Models = dict[tuple[str, str], Model]


def moved(table: Table, name: str, by: float | NDArray[np.float64]) -> Table:
    return Table.from_columns({**table.columns, name: table[name] + by})


def with_level(table: Table, name: str, level: object) -> Table:
    return Table.from_columns({**table.columns, name: [level] * len(table)})


@pytest.mark.parametrize("key", MODELS)
class TestEveryModel:
    def test_predictions_are_those_of_predict(
        self, models: Models, unseen: Labelled, key: tuple[str, str]
    ) -> None:
        predicted = models[key].predict(unseen.table)
        explained = explain(models[key], unseen.table).predictions
        np.testing.assert_array_equal(explained, predicted if predicted.ndim == 1 else predicted.max(axis=1))

    def test_the_root_of_the_agop_squares_to_it(
        self, models: Models, unseen: Labelled, key: tuple[str, str]
    ) -> None:
        root = explain(models[key], unseen.table, use_sqrt=True).local_agop
        plain = explain(models[key], unseen.table, use_sqrt=False).local_agop
        np.testing.assert_allclose(root**2, plain, rtol=1e-12)

    def test_the_global_agop_is_the_mean_of_the_local_ones(
        self, models: Models, key: tuple[str, str]
    ) -> None:
        model = models[key]
        local = explain(model, model.reference_table, use_sqrt=False).local_agop
        np.testing.assert_allclose(local.mean(axis=0), np.diag(model.global_agop), rtol=1e-9, atol=1e-15)

    def test_the_global_agop_is_symmetric_and_positive(self, models: Models, key: tuple[str, str]) -> None:
        agop = models[key].global_agop
        np.testing.assert_allclose(agop, agop.T, atol=1e-12)
        assert np.linalg.eigvalsh(agop).min() > -1e-9 * np.trace(agop)

    def test_global_drivers_are_shares(self, models: Models, key: tuple[str, str]) -> None:
        drivers = models[key].global_drivers
        assert (drivers >= 0).all()
        assert drivers.sum() == pytest.approx(1.0)
        assert len(drivers) == len(models[key].schema.features)

    def test_global_drivers_are_roots_of_the_mean_squared_gradients(
        self, models: Models, key: tuple[str, str]
    ) -> None:
        model = models[key]
        local = explain(model, model.reference_table, use_sqrt=False).local_agop
        roots = np.sqrt(local.mean(axis=0))
        np.testing.assert_allclose(model.global_drivers, roots / roots.sum(), rtol=1e-9, atol=1e-12)

    def test_columns_are_taken_by_name_whatever_their_order(
        self, models: Models, unseen: Labelled, key: tuple[str, str]
    ) -> None:
        model = models[key]
        shuffled = Table.from_columns({"extra": [0] * 40, **dict(reversed(unseen.table.columns.items()))})
        np.testing.assert_array_equal(model.predict(shuffled), model.predict(unseen.table))
        one, other = explain(model, shuffled), explain(model, unseen.table)
        assert one.feature_names == other.feature_names == model.schema.feature_names
        np.testing.assert_array_equal(one.local_drivers, other.local_drivers)
        np.testing.assert_array_equal(one.local_agop, other.local_agop)

    def test_a_constant_column_drives_nothing(
        self, models: Models, unseen: Labelled, key: tuple[str, str]
    ) -> None:
        explanation = explain(models[key], unseen.table)
        position = explanation.feature_names.index("country")
        np.testing.assert_array_equal(explanation.local_drivers[:, position], 0.0)
        np.testing.assert_array_equal(explanation.local_agop[:, position], 0.0)
        assert models[key].global_drivers[position] == 0.0

    def test_raw_and_weighted_drivers_differ_by_the_deviation(
        self, models: Models, unseen: Labelled, key: tuple[str, str]
    ) -> None:
        raw = explain(models[key], unseen.table, raw_gradient=True)
        weighted = explain(models[key], unseen.table, raw_gradient=False)
        for position, column in enumerate(models[key].schema.features):
            if column.name in QUANTITIES:
                present = ~np.isnan(unseen.table[column.name])
                deviation = unseen.table[column.name][present] - (column.mean or 0.0)
                expected = raw.local_drivers[present, position] * deviation
                np.testing.assert_allclose(weighted.local_drivers[present, position], expected, rtol=1e-9)
            elif column.is_levelled:
                np.testing.assert_array_equal(
                    weighted.local_drivers[:, position], raw.local_drivers[:, position]
                )


@pytest.mark.parametrize("key", [key for key in MODELS if key[1] != "multiclass"])
def test_the_agop_of_one_output_is_its_squared_driver_per_standard_deviation(
    models: Models, unseen: Labelled, key: tuple[str, str]
) -> None:
    explanation = explain(models[key], unseen.table)
    per_sd = explanation.local_drivers * models[key].encoder.units(unseen.table)
    np.testing.assert_allclose(explanation.local_agop, np.abs(per_sd), rtol=1e-9)


def test_the_agop_of_several_classes_sums_the_squared_derivatives_of_their_scores(
    models: Models, unseen: Labelled
) -> None:
    model = models["xrfm", "multiclass"]
    local = explain(model, unseen.table, use_sqrt=False).local_agop
    sd = float(model.schema.feature("area").std or 0.0)
    up, down = (model.scores(model.encode(moved(unseen.table, "area", sign * 1e-5 * sd))) for sign in (1, -1))
    expected = (((up - down) / 2e-5) ** 2).sum(axis=1)
    np.testing.assert_allclose(local[:, 0], expected, rtol=1e-4, atol=1e-8)


def with_scaling(data: Labelled, scaling: Scaling) -> Model:
    """Build a regression model whose encoder has one chosen scaling."""
    features = infer_schema(data.table)
    encoder = Encoder.fit(data.table, features, scaling)
    encoded, targets = encoder.encode(data.table), data.value[:, None]
    fitted = fit_kernel_machine(
        encoded, targets, encoded[:50], targets[:50], bandwidth=8.0, ridge=0.05, max_centers=6000, seed=0
    )
    return Model(
        schema=ModelSchema(features, "price", "regression"),
        encoder=encoder,
        predictor=fitted.machine,
        calibration=Identity(),
        metrics={},
        trials=(),
        notes=(),
        config={},
        fidelity=None,
        reference=encoded,
        reference_table=data.table,
    )


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("name", QUANTITIES)
def test_a_driver_is_the_derivative_per_unit_of_the_column(
    mixed: Labelled, unseen: Labelled, name: str, scaling: Scaling
) -> None:
    model = with_scaling(mixed, scaling)
    explanation = explain(model, unseen.table, raw_gradient=True)
    step = 1e-5 * float(model.schema.feature(name).std or 0.0)
    up, down = (model.predict(moved(unseen.table, name, sign * step)) for sign in (1, -1))
    present = ~np.isnan(unseen.table[name])
    driver = explanation.local_drivers[present, explanation.feature_names.index(name)]
    difference = ((up - down) / (2 * step))[present]
    np.testing.assert_allclose(driver, difference, rtol=1e-4, atol=1e-4 * np.abs(difference).max())


@pytest.mark.parametrize("task", ["regression", "binary", "multiclass"])
def test_encoded_gradients_are_derivatives_of_the_raw_score(
    models: Models, unseen: Labelled, task: str
) -> None:
    model = models["xrfm", task]
    encoded = model.encode(unseen.table)
    gradients = model.gradients(encoded)
    for column in range(encoded.shape[1]):
        step = np.zeros(encoded.shape[1])
        step[column] = 1e-5
        difference = (model.scores(encoded + step) - model.scores(encoded - step)) / 2e-5
        np.testing.assert_allclose(gradients[:, :, column], difference, rtol=1e-4, atol=1e-6)


def test_multiclass_drivers_are_those_of_the_predicted_class(models: Models, unseen: Labelled) -> None:
    model = models["xrfm", "multiclass"]
    explanation = explain(model, unseen.table)
    step = 1e-5 * float(model.schema.feature("area").std or 0.0)
    up, down = (model.scores(model.encode(moved(unseen.table, "area", sign * step))) for sign in (1, -1))
    predicted = model.predict(unseen.table).argmax(axis=1)
    rows = np.arange(len(predicted))
    expected = ((up - down) / (2 * step))[rows, predicted]
    np.testing.assert_allclose(explanation.local_drivers[:, 0], expected, rtol=1e-4, atol=1e-9)


def test_levels_that_help_push_up_and_others_push_down(models: Models, unseen: Labelled) -> None:
    drivers = {
        town: explain(models["xrfm", "regression"], with_level(unseen.table, "town", town)).local_drivers[
            :, 3
        ]
        for town in ("Bonn", "Ulm")
    }
    assert drivers["Bonn"].mean() == pytest.approx(0.75, rel=0.3)
    assert drivers["Ulm"].mean() == pytest.approx(-0.25, rel=0.4)


def test_a_linear_truth_is_recovered_in_units_of_the_columns(models: Models, mixed: Labelled) -> None:
    explanation = explain(models["xrfm", "regression"], mixed.table)
    by_name = dict(zip(explanation.feature_names, explanation.local_drivers.T, strict=True))
    assert np.median(by_name["area"]) == pytest.approx(0.02, rel=0.2)
    assert np.median(by_name["rooms"]) == pytest.approx(0.3, rel=0.2)
    assert np.abs(np.median(by_name["listed"])) < 1e-4


@pytest.mark.parametrize("base", ["xrfm", "xgboost"])
def test_permuted_columns_permute_the_drivers(mixed: Labelled, unseen: Labelled, base: str) -> None:
    config = FitConfig(mode="fast", base_model_type=base)  # type: ignore[arg-type]
    order = [3, 0, 6, 2, 5, 1, 4]
    permuted = mixed.table.select(mixed.table.names[position] for position in order)
    one = fit(mixed.table, mixed.flag, target_name="sold", config=config)
    other = fit(permuted, mixed.flag, target_name="sold", config=config)
    np.testing.assert_array_equal(other.predict(unseen.table), one.predict(unseen.table))
    np.testing.assert_array_equal(
        explain(other, unseen.table).local_drivers, explain(one, unseen.table).local_drivers[:, order]
    )
    np.testing.assert_allclose(other.global_drivers, one.global_drivers[order], rtol=1e-12)


def test_a_change_of_unit_scales_the_raw_driver_and_nothing_else(mixed: Labelled, unseen: Labelled) -> None:
    def in_feet(table: Table) -> Table:
        return Table.from_columns({**table.columns, "area": table["area"] * 10.7639})

    config = FitConfig(mode="fast")
    metres = fit(mixed.table, mixed.value, target_name="price", config=config)
    feet = fit(in_feet(mixed.table), mixed.value, target_name="price", config=config)
    np.testing.assert_allclose(feet.predict(in_feet(unseen.table)), metres.predict(unseen.table), atol=1e-7)
    np.testing.assert_allclose(feet.global_drivers, metres.global_drivers, atol=1e-7)
    weighted = [
        explain(model, table, raw_gradient=False).local_drivers
        for model, table in ((feet, in_feet(unseen.table)), (metres, unseen.table))
    ]
    np.testing.assert_allclose(weighted[0], weighted[1], atol=1e-6)
    raw = [
        explain(model, table).local_drivers[:, 0]
        for model, table in ((feet, in_feet(unseen.table)), (metres, unseen.table))
    ]
    np.testing.assert_allclose(raw[0] * 10.7639, raw[1], atol=1e-6)


def test_the_five_features_that_friedman1_ignores_get_next_to_nothing() -> None:
    random = np.random.default_rng(7)
    x = random.random((2000, 10))
    y = 10 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2 + 10 * x[:, 3] + 5 * x[:, 4]
    y += random.normal(size=2000)
    table = Table.from_columns({f"x{column}": x[:, column] for column in range(10)})
    model = fit(table, y, target_name="y", config=FitConfig(mode="fast"))
    shares = np.diag(model.global_agop) / np.trace(model.global_agop)
    assert shares[5:].max() <= 0.0005
    assert shares[:5].min() > 0.03


def test_a_row_is_explained_the_same_alone_and_in_a_batch(models: Models, unseen: Labelled) -> None:
    for model in models.values():
        together = explain(model, unseen.table)
        alone = explain(model, unseen.table.take(np.array([7])))
        np.testing.assert_allclose(alone.local_drivers[0], together.local_drivers[7], atol=1e-8)
        np.testing.assert_allclose(alone.predictions[0], together.predictions[7], atol=1e-8)


def test_no_rows_have_an_empty_explanation(models: Models, unseen: Labelled) -> None:
    for model in models.values():
        explanation = explain(model, unseen.table.take(np.arange(0)))
        assert explanation.predictions.shape == (0,)
        assert explanation.local_drivers.shape == (0, len(explanation.feature_names))


def test_gaps_and_strangers_are_explained_without_gaps(models: Models, unseen: Labelled) -> None:
    odd = Table.from_columns(
        {**unseen.table.columns, "town": ["Atlantis"] * 40, "area": [None] * 40, "income": [None] * 40}
    )
    for model in models.values():
        for raw_gradient in (True, False):
            explanation = explain(model, odd, raw_gradient=raw_gradient)
            assert np.isfinite(explanation.predictions).all()
            assert np.isfinite(explanation.local_drivers).all()
