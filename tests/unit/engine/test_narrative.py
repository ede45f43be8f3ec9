"""The narrative: deterministic, and without a figure that is not among its facts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from airflow_provider_cleartrace.local.engine import (
    FitConfig,
    InputError,
    Model,
    Table,
    distill,
    explain,
    fit,
)
from airflow_provider_cleartrace.local.engine.facts import facts
from airflow_provider_cleartrace.local.engine.figures import decimal, number, percent
from airflow_provider_cleartrace.local.engine.narrative import narrate, tell
from airflow_provider_cleartrace.local.engine.segmentation import segment
from airflow_provider_cleartrace.local.engine.table import is_missing
from tests.unit.engine.engine_tables import Labelled

Models = dict[tuple[str, str], Model]
EVERY_MODEL = [
    (base, task) for base in ("xrfm", "xgboost") for task in ("regression", "binary", "multiclass")
]


def values(known: Any) -> Iterator[Any]:
    """Every scalar and every key among the facts."""
    if isinstance(known, dict):
        yield from known
        for value in known.values():
            yield from values(value)
    elif isinstance(known, list):
        for value in known:
            yield from values(value)
    else:
        yield known


def figures_without_a_fact(text: str, known: dict[str, Any]) -> set[str]:
    scalars = list(values(known))
    for name in sorted((value for value in scalars if isinstance(value, str)), key=len, reverse=True):
        text = text.replace(name, " ")
    numbers = [float(v) for v in scalars if isinstance(v, int | float) and not isinstance(v, bool)]
    # The share of the listed drivers is the one sum in the text.
    numbers.append(sum(driver["importance"] for driver in known["drivers"]))
    allowed = {write(v) for v in numbers for write in (number, percent, decimal)}
    allowed |= {f"{v:,.0f}" for v in numbers}
    said = {word.strip("-") for word in re.findall(r"-?\d[\d,.]*%?", text)}
    bare = {figure.rstrip("%") for figure in allowed} | {figure.lstrip("-") for figure in allowed}
    return {word.rstrip(".,") for word in said if word.rstrip(".,") not in allowed | bare}


@pytest.mark.parametrize(("base", "task"), EVERY_MODEL)
def test_every_figure_in_the_text_is_a_fact(models: Models, unseen: Labelled, base: str, task: str) -> None:
    model = models[base, task]
    segmentation = segment(model, n_search_steps=7)
    arguments: dict[str, Any] = {"kpi_name": "Price", "context": "Q3 of 2024", "segmentation": segmentation}
    text = narrate(model, unseen.table, **arguments)
    known = facts(model, unseen.table, **arguments)
    assert text == tell(known)
    assert figures_without_a_fact(text, known) == set()
    assert json.loads(json.dumps(known)) == known


def test_the_check_for_figures_would_notice_an_invented_one(models: Models, unseen: Labelled) -> None:
    known = facts(models["xrfm", "regression"], unseen.table, kpi_name="Price")
    assert figures_without_a_fact("It rose by 12.34% to 98,765.", known) == {"12.34%", "98,765"}


def test_the_text_is_deterministic(models: Models, unseen: Labelled) -> None:
    model = models["xrfm", "binary"]
    assert narrate(model, unseen.table, kpi_name="Price") == narrate(model, unseen.table, kpi_name="Price")


def test_facts_equal_what_the_model_says(german_credit: tuple[Table, list[float]]) -> None:
    table, target = german_credit
    model = fit(table, target, target_name="good_credit", config=FitConfig(mode="fast"))
    labelled = Table.from_columns({**table.columns, "good_credit": target})
    known = facts(model, labelled, kpi_name="Good credit")
    predictions = model.predict(table)
    assert known["data"]["mean_prediction"] == pytest.approx(predictions.mean())
    assert known["data"]["predicted_share"] == pytest.approx((predictions >= 0.5).mean())
    assert known["data"]["mean_observed"] == pytest.approx(0.7)
    strongest = np.argsort(-model.global_drivers, kind="stable")[:5]
    assert [driver["feature"] for driver in known["drivers"]] == [table.names[j] for j in strongest]
    text = narrate(model, labelled, kpi_name="Good credit")
    assert "It was observed for 70%." in text
    named = [text.index(f"- {driver['feature']} (") for driver in known["drivers"]]
    assert named == sorted(named)
    assert "duration_in_month" in text
    assert re.search(r"duration_in_month \(\d+%\): a higher value lowers the prediction", text)


def test_directions_are_those_of_a_known_function() -> None:
    random = np.random.default_rng(0)
    up, down, both = random.standard_normal((3, 500))
    town = random.choice(["Bonn", "Kiel", "Ulm"], 500)
    worth = np.select([town == "Bonn", town == "Kiel"], [1.5, -1.5], 0.0)
    table = Table.from_columns({"up": up, "down": down, "both": both, "town": list(town)})
    target = 2 * up - 2 * down + both**2 + worth
    model = fit(table, target, target_name="y", config=FitConfig(mode="fast"))
    text = narrate(model, table, kpi_name="y")
    assert re.search(r"- up \(\d+%\): a higher value raises", text)
    assert re.search(r"- down \(\d+%\): a higher value lowers", text)
    assert re.search(r"- both \(\d+%\): whether a higher value", text)
    assert re.search(r"- town \(\d+%\): the prediction is highest with Bonn and lowest with Kiel", text)


@pytest.mark.parametrize("sign", [1, -1])
def test_rows_in_which_nothing_reacts_do_not_vote_on_a_direction(sign: int) -> None:
    random = np.random.default_rng(0)
    x, z = random.standard_normal((2, 600))
    table = Table.from_columns({"x": x, "z": z})
    config = FitConfig(mode="fast", base_model_type="xgboost")
    # A tree's difference is zero for all but the rows near the step.
    model = fit(table, sign * 10.0 * (x > 2.5), target_name="y", config=config)
    gradients = model.feature_gradients(model.encode(table))[:, 0, 0]
    reacting = (sign * gradients > 0).mean()
    assert 0 < reacting < 0.2
    driver = facts(model, table, kpi_name="y")["drivers"][0]
    direction = "raises" if sign > 0 else "lowers"
    assert (driver["feature"], driver["direction"]) == ("x", direction)
    assert driver["agreement"] == pytest.approx(reacting)
    text = narrate(model, table, kpi_name="y")
    assert f"a higher value {direction} the prediction in {percent(reacting)} of the rows" in text


@pytest.mark.parametrize("base", ["xrfm", "xgboost"])
def test_a_direction_is_that_of_the_rows_it_counts(models: Models, unseen: Labelled, base: str) -> None:
    model = models[base, "regression"]
    explained = explain(model, unseen.table)
    counted = 0
    for driver in facts(model, unseen.table, kpi_name="Price")["drivers"]:
        if driver["direction"] in ("raises", "lowers"):
            present = ~is_missing(unseen.table[driver["feature"]])
            slopes = explained.local_drivers[present, explained.feature_names.index(driver["feature"])]
            sign = 1 if driver["direction"] == "raises" else -1
            assert driver["agreement"] == pytest.approx((sign * slopes > 0).mean())
            counted += 1
    assert counted


def test_a_class_is_named_with_what_speaks_for_it(models: Models, unseen: Labelled) -> None:
    text = narrate(models["xrfm", "multiclass"], unseen.table, kpi_name="Price")
    assert re.search(r"- area \(\d+%\): a higher value speaks for high and against low", text)


def test_gaps_strangers_and_values_beyond_training_are_reported(models: Models, unseen: Labelled) -> None:
    columns: dict[str, Any] = {name: list(unseen.table[name]) for name in unseen.table.names}
    columns["area"] = [1e6] * 10 + columns["area"][10:]
    columns["town"] = ["Atlantis"] * 20 + columns["town"][20:]
    columns["rooms"] = [None] * 30 + columns["rooms"][30:]
    text = narrate(models["xrfm", "regression"], Table.from_columns(columns), kpi_name="Price")
    assert "most in town (50%)" in text
    assert "area (25%)" in text
    assert "rooms (75%)" in text
    assert "extrapolations" in text


def test_a_student_is_told_to_be_one(german_credit: tuple[Table, list[float]]) -> None:
    table, target = german_credit
    config = FitConfig(mode="fast")
    teacher = fit(
        table, target, target_name="good_credit", config=FitConfig(mode="fast", base_model_type="xgboost")
    )
    student = distill(table, teacher.predict(table), config=config)
    text = narrate(student, table, kpi_name="Score")
    assert student.fidelity is not None
    assert f"reproduces {percent(student.fidelity['r2'])} of the variance" in text
    assert "no labels" in text


def test_dropped_rows_and_notes_are_told(mixed: Labelled) -> None:
    target: list[Any] = [*[None] * 12, *mixed.value[12:]]
    model = fit(mixed.table, target, target_name="price", config=FitConfig(mode="fast"))
    text = narrate(model, mixed.table, kpi_name="Price")
    assert "12 rows without a target value had to be left out" in text
    assert all(note in text for note in model.notes)


def test_an_empty_table_is_refused(models: Models, unseen: Labelled) -> None:
    with pytest.raises(InputError, match="at least one row"):
        narrate(models["xrfm", "binary"], unseen.table.take(np.array([], dtype=int)), kpi_name="Price")


def test_headings_are_markdown_and_segments_only_stand_there_when_given(
    models: Models, unseen: Labelled
) -> None:
    model = models["xrfm", "binary"]
    plain = narrate(model, unseen.table, kpi_name="Price")
    assert re.findall(r"^#+ .*$", plain, re.MULTILINE) == [
        "# Price: what the model has learned",
        "## What the model predicts",
        "## What drives Price",
        "## Data quality",
        "## How to read this",
    ]
    segmentation = segment(model, n_search_steps=7)
    told = narrate(model, unseen.table, kpi_name="Price", segmentation=segmentation)
    assert "## Segments" in told
    assert all(f"**{persona.persona_name}**" in told for persona in segmentation.personas)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.12345, "0.123"), (3.5, "3.5"), (99.96, "100"), (1234.5678, "1,235"), (-4567.8, "-4,568")],
)
def test_numbers_are_rounded_for_a_reader(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0, "0%"),
        (1.0, "100%"),
        (0.4567, "46%"),
        (0.997, "99.7%"),
        (0.004, "0.4%"),
        (0.99999, "more than 99.9%"),
    ],
)
def test_shares_near_the_ends_are_not_rounded_onto_them(share: float, text: str) -> None:
    assert percent(share) == text
