"""Scenarios beside DiCE's random and genetic search: the same model, rows and constraints, in one run.

Twenty applicants of German credit who are denied. Four features are immutable, the duration may only fall,
and the amount has a range. DiCE knows no direction of change: the range it may use ends at each applicant's
own duration.

DiCE is not a dependency of this project, and its wheel asks for GPU libraries that the search does not use:
    pip install --no-deps dice-ml raiutils && pip install jsonschema requests tqdm
"""

from __future__ import annotations

import csv
import importlib.util
import logging
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from airflow_provider_cleartrace.local.engine import FitConfig, Model, Table, fit
from airflow_provider_cleartrace.local.engine.scenario import search

GERMAN_CREDIT = Path(__file__).parents[1] / "example_dags/data/german_credit.csv"
TARGET = "good_credit"
ROWS, WANTED = 20, 5
IMMUTABLE = ("personal_status_and_sex", "foreign_worker", "age_in_years", "credit_history")
FALLING, RANGED, RANGE = "duration_in_month", "credit_amount", (500.0, 8000.0)


class Wrapped:
    """The model as DiCE asks for one: a classifier of data frames."""

    classes_ = np.array([0, 1])

    def __init__(self, model: Model) -> None:
        self._model = model

    def predict_proba(self, frame: pd.DataFrame) -> Any:
        columns = {
            name: frame[name].astype(str).tolist()
            if self._model.schema.feature(name).is_levelled
            else frame[name].astype(float).to_numpy()
            for name in self._model.schema.feature_names
        }
        positive = self._model.predict(Table.from_columns(columns))
        return np.column_stack([1 - positive, positive])

    def predict(self, frame: pd.DataFrame) -> Any:
        return (self.predict_proba(frame)[:, 1] >= 0.5).astype(int)


def german_credit() -> pd.DataFrame:
    with GERMAN_CREDIT.open(newline="", encoding="utf-8") as file:
        names, *rows = csv.reader(file)
    return pd.DataFrame([[float(c) if c.isdecimal() else c for c in row] for row in rows], columns=names)


def table(frame: pd.DataFrame) -> Table:
    return Table.from_columns({str(name): frame[name].tolist() for name in frame.columns if name != TARGET})


def changes(row: pd.Series, candidate: pd.Series, features: list[str]) -> list[str]:
    """Name the features that differ."""
    return [name for name in features if candidate[name] != row[name]]


def keeps(row: pd.Series, candidate: pd.Series, changed: list[str]) -> bool:
    """Whether a candidate keeps all constraints."""
    in_range = RANGED not in changed or RANGE[0] <= candidate[RANGED] <= RANGE[1]
    return not set(changed) & set(IMMUTABLE) and candidate[FALLING] <= row[FALLING] and in_range


def ours(model: Model) -> Callable[[pd.Series], list[pd.Series]]:
    constraints: dict[str, dict[str, Any]] = {name: {"immutable": True} for name in IMMUTABLE}
    constraints[FALLING] = {"monotonic": "decrease"}
    constraints[RANGED] = {"value_range": list(RANGE)}

    def candidates(row: pd.Series) -> list[pd.Series]:
        (found,) = search(model, table(row.to_frame().T), constraints=constraints, limit=WANTED)
        edits = [{name: after for name, (_, after) in one.changes.items()} for one in found.scenarios]
        return [pd.Series({**row.to_dict(), **edit}) for edit in edits]

    return candidates


def dice(model: Model, frame: pd.DataFrame, method: str) -> Callable[[pd.Series], list[pd.Series]]:
    import dice_ml

    numbers = [c.name for c in model.schema.features if not c.is_levelled]
    data = dice_ml.Data(dataframe=frame, continuous_features=numbers, outcome_name=TARGET)
    explainer = dice_ml.Dice(data, dice_ml.Model(model=Wrapped(model), backend="sklearn"), method=method)
    features = list(model.schema.feature_names)

    def candidates(row: pd.Series) -> list[pd.Series]:
        permitted = {FALLING: [frame[FALLING].min(), row[FALLING]], RANGED: list(RANGE)}
        fixed = {FALLING} if row[FALLING] <= frame[FALLING].min() else set()
        query = row.to_frame().T[features].astype(frame[features].dtypes.to_dict())
        try:
            found = explainer.generate_counterfactuals(
                query,
                total_CFs=WANTED,
                desired_class=1,
                features_to_vary=[name for name in features if name not in {*IMMUTABLE, *fixed}],
                permitted_range=permitted,
                verbose=False,
                **({"random_seed": 0} if method == "random" else {}),
            )
        except Exception as error:  # DiCE raises many kinds when it finds nothing
            logging.getLogger(__name__).debug("%s found nothing: %s", method, error)
            return []
        best = found.cf_examples_list[0].final_cfs_df
        return [] if best is None else [one for _, one in best.iterrows()]

    return candidates


def main() -> None:
    """Print a Markdown table."""
    if importlib.util.find_spec("dice_ml") is None or importlib.util.find_spec("raiutils") is None:
        print(f"DiCE is not installed, and this compares with it.\n\n{__doc__}")
        return
    warnings.filterwarnings("ignore")
    frame = german_credit()
    model = fit(table(frame), frame[TARGET].tolist(), target_name=TARGET, config=FitConfig(mode="fast"))
    denied = frame[model.predict(table(frame)) < 0.5].head(ROWS)
    wrapped, features = Wrapped(model), list(model.schema.feature_names)
    methods = {
        "ClearTrace Local": ours(model),
        "DiCE random": dice(model, frame, "random"),
        "DiCE genetic": dice(model, frame, "genetic"),
    }
    print(
        "| method | solved | fewest changes, mean | candidates | broken | not flipped | s a row |\n"
        "|---|---|---|---|---|---|---|"
    )
    for name, candidates in methods.items():
        fewest: list[int] = []
        count = broken = unflipped = 0
        start = time.perf_counter()
        answers = [candidates(row) for _, row in denied.iterrows()]
        seconds = (time.perf_counter() - start) / len(denied)
        for (_, row), found in zip(denied.iterrows(), answers, strict=True):
            edits = [changes(row, one, features) for one in found]
            count += len(found)
            broken += sum(not keeps(row, one, edit) for one, edit in zip(found, edits, strict=True))
            if found:
                unflipped += int((wrapped.predict(pd.DataFrame(found)) == 0).sum())
                fewest.append(min(len(edit) for edit in edits))
        print(
            f"| {name} | {len(fewest)}/{len(denied)} | {np.mean(fewest):.2f} | {count} | {broken} "
            f"| {unflipped} | {seconds:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
