"""A figure passes when it is one of the facts, rounded as it is written; names and list numbers are none."""

from __future__ import annotations

import re
import time
from typing import Any

import numpy as np
import pytest

from airflow_provider_cleartrace.local.engine import FitConfig, Table, fit
from airflow_provider_cleartrace.local.engine.facts import facts
from airflow_provider_cleartrace.local.engine.narrative import tell
from airflow_provider_cleartrace.local.engine.segmentation import segment
from airflow_provider_cleartrace.local.figure_check import invented_figures
from airflow_provider_cleartrace.local.storyteller import sections

FACTS: dict[str, Any] = {
    "rows": 12346,
    "held_out": 40,
    "importance": 0.34567,
    "r2": -0.125,
    "mean": -1234.5,
    "small": 0.0000123,
    "rare": 0.0004,
    "turnover": 1_234_567.0,
    "all": 1.0,
    "levels": ["purpose 2024", "1", "x<=25", "tier_3", "Thousand Oaks"],
    "shares": {"A 7": 0.5},
    "known": True,
}


@pytest.mark.parametrize(
    "text",
    [
        "12,346 rows, 12346 rows, 12.3 thousand rows, 12k rows",
        "12\u202f346 rows, 12\u2019346 rows",
        "0.34567, 0.3457, 0.346, 0.35 and 0.3",
        "35%, 34.6 %, 34.57 percent, 35 per cent, **35**%, 35\\%",
        "-0.125, \u22120.125, -0.12 and -0.13, minus 0.125",
        "-1,234.5 or -1,235, and -$1,235",
        "$1,234,567, 1.2 million, 1.23M",
        "1.23e-05",
        "0.04% and 0.0004",
        "100% and 1.0",
        "50% in A 7",
        "It ends with 40.",
        "between 40\u201312,346",
        "thirty-five percent of forty rows",
        "one of the two features",
    ],
)
def test_a_fact_rounded_to_the_digits_written_passes(text: str) -> None:
    assert invented_figures(text, FACTS) == []


@pytest.mark.parametrize(
    ("text", "invented"),
    [
        ("12,345 rows", ["12,345"]),
        ("12,300 rows", ["12,300"]),
        ("0.34", ["0.34"]),
        ("34%, again 34%", ["34%"]),
        ("34.5%", ["34.5%"]),
        ("0.125", ["0.125"]),
        ("1,234.5", ["1,234.5"]),
        ("-35%", ["-35%"]),
        ("40%", ["40%"]),  # 40 rows are no share
        ("4000%", ["4000%"]),
        ("0%", ["0%"]),  # nor is 0.04 % nothing
        ("0", ["0"]),
        ("0,35", ["0,35"]),  # not English
        ("1/40 and 1:40", ["1/40", "1:40"]),
        ("EUR99 and x99", ["99"]),
        ("5 percentage points", ["5 percentage points"]),
        ("1.3 million, 13k", ["1.3 million", "13k"]),
        ("ninety-nine percent of two hundred and six", ["ninety-nine percent", "two hundred and six"]),
        ("9**9**%, &#57;9%, \uff19\uff19%, 9\u200b9%", ["99%"]),
        ("5e999% and 0e999", ["5e999%", "0e999"]),
        ("2,34,567", ["2,34,567"]),
        ("the \u00bd of it", ["1\u20442"]),
    ],
)
def test_any_other_figure_is_listed_once_as_it_is_written(text: str, invented: list[str]) -> None:
    assert invented_figures(text, FACTS) == invented


def test_digits_in_names_are_no_figures() -> None:
    text = "`purpose 2024`, tier\\_3, TIER_3, **x<=25** and x<=25, level 1, Thousand Oaks; R\u00b2 is -0.125"
    assert invented_figures(text, FACTS) == []


def test_a_name_that_is_a_number_hides_no_figure() -> None:
    text = "1.7, 17, $1, -1, 1 million and level 1; tier_35"
    facts = {"level": "1", "name": "tier_3"}
    assert invented_figures(text, facts) == ["1.7", "17", "$1", "-1", "1 million", "35"]
    assert invented_figures("1%", facts) == ["1%"]


def test_numbers_of_a_list_are_no_figures() -> None:
    text = "## 1. Drivers\n\n1. income\n2) age\n- 3. town\n\n7 rows"
    assert invented_figures(text, {"rows": 8}) == ["7"]


def test_what_the_caller_said_may_be_repeated_as_it_was_said() -> None:
    quotable = ["Loans of 2019 to 2023, aim: 90%"]
    assert invented_figures("Of 2019 to 2023: 90% was the aim.", {}, quotable) == []
    assert invented_figures("In 2020, 90 loans", {}, quotable) == ["2020", "90"]


@pytest.mark.parametrize("task", ["regression", "binary", "multiclass"])
def test_the_narrative_of_the_engine_passes(task: str) -> None:
    draw = np.random.default_rng(0)
    age = draw.integers(18, 90, 300).astype(np.float64)
    table = Table.from_columns(
        {"age in 2024": age, "t-3": draw.choice(["A 1", "<25", "3"], 300), "noise": draw.normal(50, 9, 300)}
    )
    target = {
        "regression": 1_000 * age + draw.normal(0, 9_000, 300),
        "binary": (age > 50).astype(np.float64),
        "multiclass": np.digitize(age, [40, 60]).astype(np.float64),
    }[task]
    model = fit(table, target, target_name="y 7", config=FitConfig(mode="fast"))
    known = facts(model, table, kpi_name="Price of 2025", segmentation=segment(model, n_search_steps=2))
    bounds = re.compile("more than 99.9%|less than 0.1%")
    assert invented_figures(bounds.sub("", tell(known)), sections(known), ["Price of 2025"]) == []


@pytest.mark.parametrize("piece", ["1,", "one ", "-", "1", " ", "\n", "> ", "1 ", "name 7 ", "&#49;"])
def test_a_long_text_takes_no_long_time(piece: str) -> None:
    began = time.monotonic()
    invented_figures(piece * (20_000 // len(piece)), {"names": [f"name {n}" for n in range(300)]})
    assert time.monotonic() - began < 2


def test_booleans_and_gaps_are_no_numbers() -> None:
    assert invented_figures("1 and 0", {"known": True, "fidelity": None}) == ["1", "0"]
