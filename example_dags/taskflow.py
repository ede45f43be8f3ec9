"""Train on what functions return: a file, and a DataFrame for each group of loans.

Needs the connection ``cleartrace_default``.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import dag, task

if TYPE_CHECKING:
    import pandas as pd

DATA = str(Path(__file__).parent / "data" / "german_credit.csv")
TARGET = "good_credit"
CONFIG = {"mode": "fast", "n_hyperopt_steps": 1, "random_state": 42}
RETRIES = {"retries": 2, "retry_delay": timedelta(seconds=5)}


@dag(schedule=None, catchup=False, default_args=RETRIES, tags=["cleartrace"], doc_md=__doc__)
def taskflow() -> None:
    """One model of all loans, and one for each purpose that is common enough."""

    # [START taskflow_dict]
    @task.cleartrace_fit(deferrable=True)
    def all_loans(seed: int) -> dict[str, Any]:
        """A dict gives any arguments of the operator; those of the decorator are its defaults."""
        return {"data": DATA, "target": TARGET, "config": CONFIG | {"random_state": seed}}

    # [END taskflow_dict]

    # [START taskflow_frame]
    @task.cleartrace_fit(target=TARGET, config=CONFIG, deferrable=True, max_active_tis_per_dag=2)
    def loans_for(purpose: str) -> pd.DataFrame:
        """A DataFrame is uploaded as a file; the task is mapped like any other."""
        import pandas as pd

        loans = pd.read_csv(DATA)
        return loans[loans["purpose"] == purpose].drop(columns="purpose")

    # [END taskflow_frame]

    @task
    def compare(everything: dict[str, Any], by_purpose: list[dict[str, Any]]) -> dict[str, int]:
        """Rows are told by the bytes that each model was trained on."""
        return {model["model_id"]: model["bytes"] for model in [everything, *by_purpose]}

    compare(all_loans(seed=7), loans_for.expand(purpose=["car (new)", "radio/television"]))


taskflow()
