"""A figure passes when it is one of the facts, rounded as it is written; names and list numbers are none."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_cleartrace.local.figure_check import invented_figures

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


def test_booleans_and_gaps_are_no_numbers() -> None:
    assert invented_figures("1 and 0", {"known": True, "fidelity": None}) == ["1", "0"]
