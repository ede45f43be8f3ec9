"""Tell for each loan which values count, how much, and how sure that is.

    split -> fit -> factual
                 -> alternatives

The rows are split in three: the model learns from one part, its uncertainty is calibrated with another, and
the third is explained. Needs the connection ``cleartrace_default``, and the extras ``calibrated`` and
``report``. Results go below the folder that the Airflow variable ``cleartrace_output`` names, into a folder
for each run.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_cleartrace.operators.calibrated import ClearTraceCalibratedExplainOperator
from airflow_provider_cleartrace.operators.training import ClearTraceFitOperator

DATA = str(Path(__file__).parent / "data" / "german_credit.csv")
TARGET = "good_credit"
OUTPUT = "{{ var.value.get('cleartrace_output', 'cleartrace-output') }}/{{ run_id }}"
PARTS = {"training": slice(600), "calibration": slice(600, 900), "loans": slice(900, None)}
RETRIES = {"retries": 2, "retry_delay": timedelta(seconds=5)}


@dag(schedule=None, catchup=False, default_args=RETRIES, tags=["cleartrace"], doc_md=__doc__)
def calibrated() -> None:
    """Rules with uncertainty for a hundred loans."""

    @task(multiple_outputs=True)
    def split(folder: str) -> dict[str, str]:
        """Deal the rows out; a model's uncertainty cannot be seen on rows that it knows."""
        import pandas as pd

        rows = pd.read_csv(DATA).sample(frac=1, random_state=0)
        Path(folder).mkdir(parents=True, exist_ok=True)
        paths = {}
        for name, part in PARTS.items():
            paths[name] = f"{folder}/{name}.csv"
            rows[part].to_csv(paths[name], index=name == "loans", index_label="loan")
        return paths

    parts = split(OUTPUT)

    fit = ClearTraceFitOperator(
        task_id="fit",
        data=parts["training"],
        target=TARGET,
        config={"n_hyperopt_steps": 4, "random_state": 42},
        deferrable=True,
    )

    # [START calibrated_shared]
    shared = {
        "model_id": fit.output["model_id"],
        "training_data": parts["training"],
        "calibration_data": parts["calibration"],
        "target": TARGET,
        "data": parts["loans"],
        "id_columns": ["loan"],
    }
    # [END calibrated_shared]

    # [START calibrated_factual]
    ClearTraceCalibratedExplainOperator(
        task_id="factual", output_uri=f"{OUTPUT}/factual/", plots=[0, 1], **shared
    )
    # [END calibrated_factual]

    # [START calibrated_alternatives]
    ClearTraceCalibratedExplainOperator(
        task_id="alternatives",
        output_uri=f"{OUTPUT}/alternatives/",
        kind="alternative",
        filters=["counter", "ensured"],
        conjunctions={"n_top_features": 3, "max_rule_size": 2},
        focus_columns=["duration_in_month", "credit_amount", "purpose", "savings_account_and_bonds"],
        **shared,
    )
    # [END calibrated_alternatives]


calibrated()
