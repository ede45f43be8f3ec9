"""Makes the two synthetic tables beside it; nobody in them exists, and no business is meant.

    python example_dags/data/synthetic.py

``customers.csv`` are the customers of an invented telephone company: those of three quarters with whether
they left (``churned``), and those of the last quarter, of whom nobody knows yet. ``leads.csv`` are enquiries
at an invented software house: those of 20 weeks with whether they bought (``won``), and the open ones of the
last week. Outcomes are drawn from probabilities that follow from the other columns by the formulas below, so
that there is something to learn, and chance besides. The seed makes the files the same, byte by byte.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

SEED = 20261121
QUARTERS = ("2026-Q1", "2026-Q2", "2026-Q3", "2026-Q4")
CUSTOMERS_OF_A_QUARTER = 250
WEEKS = 21
LEADS_OF_A_WEEK = 50


def customers(random: np.random.Generator) -> pd.DataFrame:
    """Customers who are new, pay much, call for help and are bound to nothing leave."""
    count = len(QUARTERS) * CUSTOMERS_OF_A_QUARTER
    rows = pd.DataFrame(
        {
            "customer": [f"C{number:04d}" for number in range(1, count + 1)],
            "quarter": np.repeat(QUARTERS, CUSTOMERS_OF_A_QUARTER),
            "months_with_us": random.integers(1, 73, count),
            "contract": random.choice(["monthly", "one year", "two years"], count, p=[0.55, 0.25, 0.2]),
            "monthly_bill": random.normal(55, 15, count).clip(15, 110).round(2),
            "discount_percent": random.choice([0, 5, 10, 20], count, p=[0.6, 0.2, 0.15, 0.05]),
            "support_calls": random.poisson(1.2, count),
            "late_payments": random.poisson(0.5, count),
            "pays_automatically": random.choice(["yes", "no"], count, p=[0.6, 0.4]),
        }
    )
    score = (
        -1.6
        + 1.8 * (rows["contract"] == "monthly")
        - 1.2 * (rows["contract"] == "two years")
        - 0.035 * rows["months_with_us"]
        + 0.05 * (rows["monthly_bill"] - 55)
        - 0.08 * rows["discount_percent"]
        + 0.7 * rows["support_calls"]
        + 0.4 * rows["late_payments"]
        - 0.4 * (rows["pays_automatically"] == "yes")
    )
    known = rows["quarter"] != QUARTERS[-1]
    return rows.assign(churned=_drawn(random, score, known))


def leads(random: np.random.Generator) -> pd.DataFrame:
    """Leads that look around, open mails and ask for a demonstration buy."""
    count = WEEKS * LEADS_OF_A_WEEK
    rows = pd.DataFrame(
        {
            "lead": [f"L{number:04d}" for number in range(1, count + 1)],
            "week": np.repeat(np.arange(1, WEEKS + 1), LEADS_OF_A_WEEK),
            "source": random.choice(["search", "fair", "partner", "advert"], count, p=[0.4, 0.2, 0.15, 0.25]),
            "employees": random.lognormal(4, 1.2, count).round().clip(1, 5000).astype(int),
            "pages_viewed": random.poisson(6, count),
            "mails_opened": random.poisson(2, count),
            "asked_for_demo": random.choice(["yes", "no"], count, p=[0.3, 0.7]),
            "days_since_contact": random.integers(0, 60, count),
        }
    )
    score = (
        -2.6
        + 1.9 * (rows["asked_for_demo"] == "yes")
        + 0.22 * rows["pages_viewed"]
        + 0.35 * rows["mails_opened"]
        - 0.03 * rows["days_since_contact"]
        + 0.8 * (rows["source"] == "partner")
        - 0.7 * (rows["source"] == "advert")
    )
    return rows.assign(won=_drawn(random, score, rows["week"] < WEEKS))


def _drawn(random: np.random.Generator, score: pd.Series[float], known: pd.Series[bool]) -> pd.Series[int]:
    """Outcomes of which the probability is the logistic of the score; missing where nobody knows yet."""
    drawn = pd.Series(random.random(len(score)) < 1 / (1 + np.exp(-score))).astype("Int64")
    return drawn.where(known)


def write(folder: Path) -> None:
    """Write both tables."""
    random = np.random.default_rng(SEED)
    customers(random).to_csv(folder / "customers.csv", index=False)
    leads(random).to_csv(folder / "leads.csv", index=False)


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
