"""Explain a folder of loan applications in ranges of rows, each a task, on as many workers as there are.

    fit ------------> explain [0] ... [9] -> publish
    land -> cut ----/

Needs the connection ``cleartrace_default``. Results go below the folder that the Airflow variable
``cleartrace_output`` names, into a folder for each run; with workers on several machines that is an
``s3://`` address or a shared file system.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_cleartrace.operators.inference import ClearTraceExplainOperator
from airflow_provider_cleartrace.operators.partitions import partitions, publish_partitions
from airflow_provider_cleartrace.operators.training import ClearTraceFitOperator

DATA = str(Path(__file__).parent / "data" / "german_credit.csv")
TARGET = "good_credit"
OUTPUT = "{{ var.value.get('cleartrace_output', 'cleartrace-output') }}/{{ run_id }}"
DAYS = 4
ROWS = 100
"""Rows of a partition; hundreds of thousands are more like it where there are millions."""

RETRIES = {"retries": 2, "retry_delay": timedelta(seconds=5)}


@dag(schedule=None, catchup=False, default_args=RETRIES, tags=["cleartrace"], doc_md=__doc__)
def partitioned_scoring() -> None:
    """One model, ten tasks side by side, one manifest."""
    fit = ClearTraceFitOperator(
        task_id="fit",
        data=DATA,
        target=TARGET,
        config={"n_hyperopt_steps": 4, "random_state": 42},
        deferrable=True,
    )

    @task
    def land(folder: str) -> str:
        """Stand in for what lies in a lake: a folder of Parquet files, partitioned by day."""
        import pandas as pd

        applications = pd.read_csv(DATA).drop(columns=TARGET)
        applications["day"] = [f"2026-11-{1 + row % DAYS:02d}" for row in range(len(applications))]
        applications.to_parquet(folder, partition_cols=["day"], existing_data_behavior="delete_matching")
        return folder

    # [START partitioned]
    @task
    def cut(data: str) -> list[str]:
        """Say which rows each task takes."""
        return partitions(data, rows=ROWS)

    ranges = cut(land(f"{OUTPUT}/applications"))

    explain = ClearTraceExplainOperator.partial(
        task_id="explain",
        model_id=fit.output["model_id"],
        columns=["day"],
        output_uri=f"{OUTPUT}/explanations/{{{{ ti.map_index }}}}/",
        max_active_tis_per_dagrun=8,
    ).expand(data=ranges)

    @task
    def publish(output_uri: str, cut: list[str], made: list[dict[str, Any]]) -> dict[str, Any]:
        """Make the outputs of all ranges one, if none is missing."""
        return publish_partitions(output_uri, cut=cut, made=made)

    publish(f"{OUTPUT}/explanations/", ranges, explain.output)
    # [END partitioned]


partitioned_scoring()
