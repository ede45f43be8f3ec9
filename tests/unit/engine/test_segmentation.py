"""Segmentation: clusters of reasons, found again, kept under shuffling, named by what sets them apart."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, silhouette_score

from airflow_provider_cleartrace.local.engine import FitConfig, InputError, Model, Table, explain, fit
from airflow_provider_cleartrace.local.engine.figures import label_text, number, percent
from airflow_provider_cleartrace.local.engine.segmentation import Segmentation, assign, segment
from airflow_provider_cleartrace.local.engine.table import json_values
from tests.unit.engine.engine_tables import Labelled

Models = dict[tuple[str, str], Model]
QUICK: dict[str, Any] = {"n_search_steps": 14}
EVERY_MODEL = [
    (base, task) for base in ("xrfm", "xgboost") for task in ("regression", "binary", "multiclass")
]
SHARE = r"((?:less than |more than )?[\d.]+%)"


@pytest.fixture(scope="module")
def planted() -> tuple[Model, Table, np.ndarray, np.ndarray]:
    """A model of four regimes: in each quadrant of (u, v) another feature moves the target."""
    random = np.random.default_rng(0)
    x = random.standard_normal((1200, 6))
    regime = (x[:, 0] > 0) * 2 + (x[:, 1] > 0)
    target = np.choose(regime, [2 * x[:, 2], 2 * x[:, 3], -2 * x[:, 4], 1.5 * x[:, 5] - 1.5 * x[:, 2]])
    table = Table.from_columns(dict(zip("uvabcd", x.T, strict=True)))
    return fit(table, target, target_name="y", config=FitConfig(mode="fast")), table, target, regime


@pytest.fixture(scope="module")
def credit(german_credit: tuple[Table, list[float]]) -> tuple[Model, Table, list[float], Segmentation]:
    table, target = german_credit
    model = fit(table, target, target_name="good_credit", config=FitConfig(mode="fast"))
    return model, table, target, segment(model, table, target, **QUICK)


def segment_values(values: np.ndarray, k: int) -> np.ndarray:
    """What clustering the rows themselves gives, for comparison."""
    return KMeans(k, n_init=5, random_state=0).fit_predict(values)


def test_planted_regimes_are_found_by_their_reasons(
    planted: tuple[Model, Table, np.ndarray, np.ndarray],
) -> None:
    model, table, target, regime = planted
    found = segment(model, table, target, **QUICK)
    assert 4 <= found.n_clusters <= 10
    of_values = segment_values(np.column_stack([table[name] for name in table.names]), found.n_clusters)
    by_reasons, by_values = (adjusted_rand_score(regime, ids) for ids in (found.cluster_ids, of_values))
    assert by_reasons > 0.4
    assert by_reasons > by_values + 0.25
    names = " ".join(persona.persona_name for persona in found.personas[:4])
    assert re.search(r"(high|low) u", names, re.IGNORECASE)
    assert re.search(r"(high|low) v", names, re.IGNORECASE)


def test_clusters_are_within_limits_and_none_is_empty(
    credit: tuple[Model, Table, list[float], Segmentation],
) -> None:
    model, table, _, found = credit
    assert len(found.cluster_ids) == len(table)
    sizes = np.bincount(found.cluster_ids, minlength=found.n_clusters)
    assert sizes.min() > 0
    assert sizes.tolist() == sorted(sizes.tolist(), reverse=True)
    assert [persona.size for persona in found.personas] == sizes.tolist()
    fixed = segment(model, table, min_clusters=6, max_clusters=6, n_search_steps=3)
    assert fixed.n_clusters == len(fixed.personas) == 6


def test_quality_is_the_silhouette_in_explanation_space(
    credit: tuple[Model, Table, list[float], Segmentation],
) -> None:
    model, table, _, found = credit
    gradients = explain(model, table).local_drivers * model.encoder.units(table)
    points = gradients / np.array(found.scale)
    assert found.quality == pytest.approx(silhouette_score(points, found.cluster_ids), abs=1e-6)
    assert 0 <= found.quality <= 1


def test_shuffled_rows_keep_their_cluster_and_the_texts(
    credit: tuple[Model, Table, list[float], Segmentation],
) -> None:
    model, table, target, found = credit
    order = np.random.default_rng(1).permutation(len(table))
    again = segment(model, table.take(order), np.array(target)[order], **QUICK)
    assert np.array_equal(np.array(found.cluster_ids)[order], again.cluster_ids)
    assert again.centroids == found.centroids
    assert again.quality == pytest.approx(found.quality)
    assert [persona.persona_name for persona in again.personas] == [
        persona.persona_name for persona in found.personas
    ]
    assert [persona.persona_description for persona in again.personas] == [
        persona.persona_description for persona in found.personas
    ]


def test_any_seed_numbers_the_same_clusters_alike(
    planted: tuple[Model, Table, np.ndarray, np.ndarray],
) -> None:
    model, table, _, _ = planted
    one, other = (
        segment(model, table, min_clusters=4, max_clusters=4, n_search_steps=8, random_state=seed)
        for seed in (1, 2)
    )
    assert adjusted_rand_score(one.cluster_ids, other.cluster_ids) > 0.95
    assert np.mean(np.array(one.cluster_ids) == np.array(other.cluster_ids)) > 0.95


@pytest.mark.parametrize("base", ["xrfm", "xgboost"])
@pytest.mark.parametrize("task", ["regression", "binary", "multiclass"])
def test_rows_are_assigned_to_the_cluster_they_were_segmented_into(
    models: Models, mixed: Labelled, base: str, task: str
) -> None:
    model = models[base, task]
    found = segment(model, mixed.table, mixed.target(task), **QUICK)
    assert np.array_equal(assign(found, model, mixed.table), found.cluster_ids)
    few = mixed.table.take(np.array([7, 3]))
    assert assign(found, model, few).tolist() == [found.cluster_ids[7], found.cluster_ids[3]]
    assert len({persona.persona_name for persona in found.personas}) == found.n_clusters
    assert [persona.cluster_id for persona in found.personas] == list(range(found.n_clusters))


def test_every_figure_of_a_persona_is_counted_on_its_rows(
    credit: tuple[Model, Table, list[float], Segmentation],
) -> None:
    model, table, target, found = credit
    predictions, observed = model.predict(table), np.array(target)
    for persona in found.personas:
        group = np.array(found.cluster_ids) == persona.cluster_id
        assert persona.share == pytest.approx(group.mean())
        assert persona.mean_prediction == pytest.approx(predictions[group].mean())
        assert persona.mean_target == pytest.approx(observed[group].mean())
        text = persona.persona_description
        assert text.startswith(f"{group.sum()} of 1,000 rows ({percent(group.mean())}).")
        assert (
            f"is {percent(predictions[group].mean())} ({percent(predictions.mean())} over all rows)" in text
        )
        assert f"for {percent(observed[group].mean())} ({percent(observed.mean())} of all rows)" in text
        for name, inside, overall in re.findall(r"(\w+) averages (\S+) \((\S+) over all rows\)", text):
            assert (inside, overall) == (number(table[name][group].mean()), number(table[name].mean()))
        for name, level, inside, overall in re.findall(
            r"(\w+) is ([^;]+) for (\d+%) \((\d+%) of all rows\)", text
        ):
            if name in table:
                having = table[name] == level
                assert (inside, overall) == (percent(having[group].mean()), percent(having.mean()))


def explanation_space(model: Model, table: Table) -> np.ndarray:
    """Gradients per training standard deviation, (n, d)."""
    return np.asarray(explain(model, table).local_drivers * model.encoder.units(table))


@pytest.mark.parametrize(("base", "task"), EVERY_MODEL)
def test_every_row_is_nearest_to_its_own_centroid_and_the_quality_is_the_silhouette(
    models: Models, mixed: Labelled, base: str, task: str
) -> None:
    model = models[base, task]
    found = segment(model, mixed.table, **QUICK)
    points = explanation_space(model, mixed.table) / np.array(found.scale)
    assert cdist(points, np.array(found.centroids)).argmin(axis=1).tolist() == list(found.cluster_ids)
    silhouette = silhouette_score(points, found.cluster_ids)
    assert found.quality == pytest.approx(max(0.0, silhouette), abs=1e-6)


@pytest.mark.parametrize(("base", "task"), EVERY_MODEL)
def test_no_number_stands_in_a_persona_but_those_counted_on_its_rows(
    models: Models, mixed: Labelled, base: str, task: str
) -> None:
    model, table = models[base, task], mixed.table
    found = segment(model, table, mixed.target(task), **QUICK)
    predictions, gradients = model.predict(table), explanation_space(model, table)
    classes = None if task == "regression" else np.array(model.classes)[model.predicted_classes(predictions)]

    def mean(name: str, rows: np.ndarray) -> str:
        if name == "listed":
            days = np.array(table[name][rows], dtype="M8[D]").astype(int)
            return str(np.datetime64("1970-01-01") + round(days.mean()))
        return number(float(np.nanmean(table[name][rows])))

    def having(name: str, level: str) -> np.ndarray:
        values = json_values(table[name])
        return np.array([level == ("missing" if value is None else label_text(value)) for value in values])

    for persona in found.personas:
        group, everyone = np.array(found.cluster_ids) == persona.cluster_id, np.ones(len(table), dtype=bool)
        text = persona.persona_description
        expected = [f"{group.sum()} of 260 rows ({percent(group.mean())})."]
        if task == "regression":
            inside, overall = number(predictions[group].mean()), number(predictions.mean())
            expected.append(f"The mean predicted price is {inside} ({overall} over all rows).")
            inside, overall = number(mixed.value[group].mean()), number(mixed.value.mean())
            expected.append(f"The observed mean of price is {inside} ({overall} over all rows).")
        elif task == "binary":
            inside, overall = percent(predictions[group].mean()), percent(predictions.mean())
            expected.append(f"probability of price = true is {inside} ({overall} over all rows).")
            inside, overall = percent(mixed.flag[group].mean()), percent(mixed.flag.mean())
            expected.append(f"Observed: price = true for {inside} ({overall} of all rows).")
        else:
            assert classes is not None
            common = Counter(classes[group]).most_common(1)[0][0]
            inside, overall = percent((classes[group] == common).mean()), percent((classes == common).mean())
            expected.append(f"prediction is price = {common}, for {inside} of them ({overall} of all rows).")
        for sentence in expected:
            assert sentence in text
            text = text.replace(sentence, "")
        for name, inside, overall in re.findall(r"(\w+) averages (\S+) \((\S+) over all rows\)", text):
            assert (inside, overall) == (mean(name, group), mean(name, everyone))
        for name, level, inside, overall in re.findall(
            rf"(\w+) is (\w+) for {SHARE} \({SHARE} of all rows\)", text
        ):
            held = having(name, level)
            assert (inside, overall) == (percent(held[group].mean()), percent(held.mean()))
        text = re.sub(r"\w+ averages \S+ \(\S+ over all rows\)", "", text)
        text = re.sub(rf"\w+ is \w+ for {SHARE} \({SHARE} of all rows\)", "", text)
        assert not re.search(r"\d", text)
        strengths = np.abs(gradients[group]).mean(axis=0)
        strongest = [table.names[position] for position in np.argsort(-strengths, kind="stable")[:3]]
        assert persona.top_drivers == tuple(strongest)
        for name, direction in re.findall(r"(\w+) \(a higher value (raises|lowers) it\)", text):
            slope = gradients[group, table.names.index(name)].mean()
            assert direction == ("raises" if slope > 0 else "lowers")


def test_names_say_what_distinguishes_and_never_repeat(
    credit: tuple[Model, Table, list[float], Segmentation],
) -> None:
    _, table, _, found = credit
    names = [persona.persona_name for persona in found.personas]
    assert len(set(names)) == len(names)
    for persona in found.personas:
        assert any(column in persona.persona_name for column in (*table.names, "good_credit"))
        assert set(persona.top_drivers) <= set(table.names)


def test_the_training_rows_are_segmented_when_no_table_is_given(models: Models) -> None:
    model = models["xrfm", "binary"]
    found = segment(model, **QUICK, kpi_field="Price", problem_context="a note")
    assert len(found.cluster_ids) == len(model.reference_table)
    assert all(persona.mean_target is None for persona in found.personas)
    assert (found.kpi_field, found.problem_context) == ("Price", "a note")


def test_a_segmentation_round_trips_as_json(credit: tuple[Model, Table, list[float], Segmentation]) -> None:
    found = credit[3]
    assert Segmentation.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_progress_is_told(models: Models) -> None:
    heard: list[float] = []
    segment(
        models["xrfm", "regression"], n_search_steps=5, progress=lambda share, message: heard.append(share)
    )
    assert heard == sorted(heard)
    assert heard[-1] == 1.0


def test_fewer_rows_than_clusters_are_refused(models: Models, mixed: Labelled) -> None:
    with pytest.raises(InputError, match="3 rows cannot make 4 clusters"):
        segment(models["xrfm", "binary"], mixed.table.take(np.arange(3)))
    found = segment(models["xrfm", "binary"], mixed.table.take(np.arange(4)), n_search_steps=2)
    assert found.n_clusters == 4


def test_equal_explanations_are_refused(models: Models, mixed: Labelled) -> None:
    same = mixed.table.take(np.zeros(30, dtype=int))
    with pytest.raises(InputError, match="1 different explanations"):
        segment(models["xrfm", "binary"], same)


@pytest.mark.parametrize(
    ("argument", "named"),
    [
        ({"min_clusters": 1}, "min_clusters"),
        ({"min_clusters": 5, "max_clusters": 4}, "max_clusters"),
        ({"n_search_steps": 0}, "n_search_steps"),
        ({"max_clusters": 4.0}, "max_clusters"),
        ({"random_state": None}, "random_state"),
        ({"target_values": [1.0]}, "1 values for 260 rows"),
        ({"target_values": ["great"] * 260}, "target_values"),
    ],
)
def test_invalid_arguments_are_refused_by_name(
    models: Models, mixed: Labelled, argument: dict[str, Any], named: str
) -> None:
    with pytest.raises(InputError, match=named):
        segment(models["xrfm", "binary"], mixed.table, **argument)


def test_a_segmentation_of_another_model_is_refused(
    models: Models, mixed: Labelled, credit: tuple[Model, Table, list[float], Segmentation]
) -> None:
    with pytest.raises(InputError, match="another model"):
        assign(credit[3], models["xrfm", "binary"], mixed.table)
