"""Draws the files beside it, which are synthetic: ``python example_dags/data/transactions/draw.py``.

Two habits of laundering decide what an investigation would have confirmed: cash in amounts just below the
limit from which banks report, and money that is passed on within hours. A young account and a country of high
risk add to it, and so does chance.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

SEED = 11
FILES = {"history": slice(1200), "calibration": slice(1200, 1900), "today": slice(1900, 1970)}
"""Rows of each: those of the first two were investigated, the last came in today."""


def transactions() -> pd.DataFrame:
    """Return all rows: ``transaction`` (an id), five features, and ``confirmed`` (0 or 1)."""
    random, count = np.random.default_rng(SEED), max(rows.stop for rows in FILES.values())
    rows = pd.DataFrame({"transaction": [f"T-{number:04d}" for number in range(count)]})
    rows["cash_share"] = random.beta(1.2, 4, count).round(2)
    rows["near_limit_deposits"] = random.poisson(0.7, count)
    rows["hours_held"] = random.gamma(1.3, 60, count).round(1)
    rows["account_age_days"] = random.integers(5, 4000, count)
    rows["country_risk"] = random.choice(["low", "medium", "high"], count, p=[0.8, 0.15, 0.05])
    structured = 2 * (rows["near_limit_deposits"] - 1.5) * (0.3 + rows["cash_share"])
    passed_on = 2.5 * np.exp(-rows["hours_held"] / 12) + 1.5 * (rows["country_risk"] == "high")
    score = structured + passed_on - rows["account_age_days"] / 4000 + random.normal(0, 0.3, count)
    return rows.assign(confirmed=(score > 1).astype(int))


def files() -> dict[str, str]:
    """Return what stands in each file, as CSV."""
    rows = transactions()
    unknown = {"history": "transaction", "calibration": "transaction", "today": "confirmed"}
    return {name: rows[part].drop(columns=unknown[name]).to_csv(index=False) for name, part in FILES.items()}


if __name__ == "__main__":
    for name, content in files().items():
        Path(__file__).with_name(f"{name}.csv").write_text(content, encoding="utf-8")
