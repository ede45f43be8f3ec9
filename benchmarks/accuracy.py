"""The engine's accuracy beside scikit-learn's HistGradientBoosting and xgboost, as a Markdown table.

Every method is trained on the same 70% of the rows and measured on the same 30%, for three splits; the figure
is the mean, with the seconds of one fit and prediction. The engine tunes its models as it does by default,
eight configurations judged on rows it holds out itself; the others are at their defaults. Regression: r2.
Two classes: area under the ROC curve. More classes: accuracy.
"""

from __future__ import annotations

import csv
import gzip
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sklearn import datasets
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import accuracy_score, r2_score, roc_auc_score

from airflow_provider_cleartrace.local.engine import FitConfig, Table, fit
from airflow_provider_cleartrace.local.engine.encoding import Encoder
from airflow_provider_cleartrace.local.engine.schema import infer_schema

ROOT = Path(__file__).parents[1]
GERMAN_CREDIT = ROOT / "example_dags/data/german_credit.csv"
ADULT = ROOT.parent / "shared/data/adult.csv.gz"
ADULT_ROWS = 6000
SPLITS = (0, 1, 2)


def bunches() -> Iterator[tuple[str, Table, Any]]:
    """Give name, features and target of every data set that is there."""
    for name, loaded in {
        "breast cancer": datasets.load_breast_cancer(),
        "wine": datasets.load_wine(),
        "diabetes": datasets.load_diabetes(),
    }.items():
        yield name, numeric(loaded.data), loaded.target
    yield "German credit", *read_csv(GERMAN_CREDIT.read_text("utf-8").splitlines())
    if ADULT.exists():
        with gzip.open(ADULT, "rt", encoding="utf-8") as lines:
            table, target = read_csv(lines)
        rows = np.random.default_rng(0).choice(len(table), ADULT_ROWS, replace=False)
        yield f"Adult, {ADULT_ROWS:,} rows", table.take(rows), target[rows]
    x, y = datasets.make_friedman1(2000, noise=1.0, random_state=0)
    yield "friedman1", numeric(x), y


def numeric(x: Any) -> Table:
    return Table.from_columns({f"x{j:02}": x[:, j] for j in range(x.shape[1])})


def read_csv(lines: Any) -> tuple[Table, Any]:
    """Read a table whose last column is a 0/1 target."""
    names, *rows = csv.reader(lines)
    cells = [[float(cell) if cell.lstrip("-").isdecimal() else cell for cell in row] for row in rows]
    table = Table.from_rows(names, cells)
    return table.select(names[:-1]), table[names[-1]]


def score(task: str, truth: Any, predictions: Any) -> float:
    if task == "regression":
        return float(r2_score(truth, predictions))
    if task == "binary":
        return float(roc_auc_score(truth, predictions))
    return float(accuracy_score(truth, predictions.argmax(axis=1)))


def engine(base: str) -> Callable[..., Any]:
    def predict(training: Table, target: Any, task: str, unseen: Table) -> Any:
        family = "regression" if task == "regression" else "classification"
        config = FitConfig(base_model_type=base, task=family)
        return fit(training, target, target_name="target", config=config).predict(unseen)

    return predict


def encoded(training: Table, unseen: Table) -> tuple[Any, Any]:
    encoder = Encoder.fit(training, infer_schema(training), "standard")
    return encoder.encode(training), encoder.encode(unseen)


def boosting(regressor: Any, classifier: Any) -> Callable[..., Any]:
    def predict(training: Table, target: Any, task: str, unseen: Table) -> Any:
        x, z = encoded(training, unseen)
        if task == "regression":
            return regressor(random_state=0).fit(x, target).predict(z)
        probabilities = classifier(random_state=0).fit(x, target.astype(int)).predict_proba(z)
        return probabilities[:, 1] if task == "binary" else probabilities

    return predict


def methods() -> dict[str, Callable[..., Any]]:
    import xgboost

    return {
        "ClearTrace Local, xrfm": engine("xrfm"),
        "ClearTrace Local, xgboost": engine("xgboost"),
        "HistGradientBoosting": boosting(HistGradientBoostingRegressor, HistGradientBoostingClassifier),
        "xgboost": boosting(xgboost.XGBRegressor, xgboost.XGBClassifier),
    }


def main() -> None:
    """Print the mean figure of every method on every data set, and the mean seconds to fit and predict."""
    columns = methods()
    print("| data | figure | " + " | ".join(columns) + " |\n|---|---|" + "---|" * len(columns))
    for name, table, target in bunches():
        distinct = len(np.unique(target))
        task = "binary" if distinct == 2 else "multiclass" if distinct <= 3 else "regression"
        cells = []
        for predict in columns.values():
            scores, seconds = [], 0.0
            for seed in SPLITS:
                order = np.random.default_rng(seed).permutation(len(table))
                cut = len(order) * 7 // 10
                training, unseen = order[:cut], order[cut:]
                start = time.perf_counter()
                predictions = predict(table.take(training), target[training], task, table.take(unseen))
                seconds += time.perf_counter() - start
                scores.append(score(task, target[unseen], predictions))
            cells.append(f"{np.mean(scores):.3f} ({seconds / len(SPLITS):.1f} s)")
        figure = {"regression": "r2", "binary": "AUC", "multiclass": "accuracy"}[task]
        print(f"| {name} | {figure} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
