"""The JSON of a Compare task, from the real comparison of small outputs, models and tables of rules."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from airflow_provider_cleartrace.comparison.comparing import Model, compare
from airflow_provider_cleartrace.comparison.models import Comparison
from tests.unit.comparison.outputs import Frame, explained, rule

ROWS = 200
THRESHOLDS = {"psi": 0.2, "driver_rank_correlation": -1.0, "interval_width_ratio": 1.25}
"""The first and the last are crossed."""


def compared(
    features: Sequence[str] = ("age", "income", "plan"),
    persona: str = "Old",
    thresholds: dict[str, float] = THRESHOLDS,
    *,
    rows: int = ROWS,
    tried: bool = True,
) -> Comparison:
    """Everything that can be compared; rules are ``tried`` where the current output carries the features."""
    then, now = (judged(shift, features, persona, rows) for shift in (0, 1))
    if not tried:
        now = now.drop(columns=features[0])
    return compare(
        outputs=(Frame(then, "then.parquet"), Frame(now, persona)),
        models=(
            Model("m-0", dict(zip(features, (0.5, 0.3125, 0.1875), strict=True))),
            Model(persona, dict(zip(features, (0.125, 0.375, 0.5), strict=True))),
        ),
        calibrated=(Frame(widths(0.25), "then/rules.parquet"), Frame(widths(0.375), persona)),
        thresholds=thresholds,
    )


def judged(shift: int, features: Sequence[str], persona: str, rows: int) -> pd.DataFrame:
    """Rows with a rule about the first feature, and all but the first with a persona."""
    frame = explained(rows, seed=shift, features=features, shift=shift)
    frame["persona"] = np.where(frame["prediction"] > 0.5, persona, "Young")
    frame.loc[0, "persona"] = None
    frame[features[0]] = np.arange(rows) % 50
    limit = 10 + shift * (np.arange(rows) % 2)
    frame["rules"] = [[rule((features[0], "<=", int(each)))] for each in limit]
    return frame


def widths(width: float) -> pd.DataFrame:
    """The intervals of four rows with a rule each, the last without an upper bound."""
    low = np.full(4, 0.25)
    high = np.where(np.arange(4) < 3, low + width, np.inf)
    rows = pd.DataFrame({"row": range(4), "kind": "factual"})
    return rows.assign(prediction_low=low, prediction_high=high, weight_low=-low, weight_high=low)


def written(comparison: Comparison, path: Path) -> str:
    path.write_text(comparison.model_dump_json(indent=1))
    return str(path)
