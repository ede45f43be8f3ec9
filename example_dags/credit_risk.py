"""Train a credit model, explain every decision, and find a way to approval for the declined.

    upload -> fit -> interpret
                  -> explain -> scenario
                  -> segment -> narrative
                  all of them -> report

Needs the connection ``cleartrace_default``. Results go below the folder that the Airflow variable
``cleartrace_output`` names, into a folder for each run.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from airflow.providers.common.compat.sdk import dag

from airflow_provider_cleartrace.operators.analysis import (
    ClearTraceNarrativeOperator,
    ClearTraceSegmentOperator,
)
from airflow_provider_cleartrace.operators.inference import (
    ClearTraceExplainOperator,
    ClearTraceInterpretOperator,
    ClearTraceScenarioOperator,
)
from airflow_provider_cleartrace.operators.report import ClearTraceReportOperator
from airflow_provider_cleartrace.operators.training import ClearTraceFitOperator, ClearTraceUploadOperator

DATA = str(Path(__file__).parent / "data" / "german_credit.csv")
TARGET = "good_credit"
RUNS = "{{ var.value.get('cleartrace_output', 'cleartrace-output') }}"
OUTPUT = f"{RUNS}/{{{{ run_id }}}}"


# A retry finds the job of the try before it, so retries cost nothing and mend what Airflow itself drops.
RETRIES = {"retries": 2, "retry_delay": timedelta(seconds=5)}


@dag(schedule=None, catchup=False, default_args=RETRIES, tags=["cleartrace"], doc_md=__doc__)
def credit_risk() -> None:
    """The pipeline; long steps wait in the triggerer."""
    # [START upload]
    upload = ClearTraceUploadOperator(task_id="upload", data=DATA)
    # [END upload]

    # [START fit]
    fit = ClearTraceFitOperator(
        task_id="fit",
        model_id=upload.output["model_id"],
        target=TARGET,
        config={"n_hyperopt_steps": 8, "random_state": 42},
        deferrable=True,
    )
    # [END fit]
    model_id = fit.output["model_id"]

    # [START interpret]
    interpret = ClearTraceInterpretOperator(
        task_id="interpret", model_id=model_id, output_uri=f"{OUTPUT}/drivers.csv"
    )
    # [END interpret]

    # [START explain]
    explain = ClearTraceExplainOperator(
        task_id="explain",
        model_id=model_id,
        data=DATA,
        # With the columns of the data beside them, predictions are the input of the search for scenarios.
        columns=["*"],
        output_uri=f"{OUTPUT}/explanations.parquet",
        raw_gradient=False,
    )
    # [END explain]

    # [START segment]
    segment = ClearTraceSegmentOperator(
        task_id="segment",
        model_id=model_id,
        data=DATA,
        target=TARGET,
        min_clusters=3,
        max_clusters=6,
        kpi_field="Good credit",
        output_uri=f"{OUTPUT}/segments.json",
        deferrable=True,
    )
    # [END segment]

    # [START narrative]
    narrative = ClearTraceNarrativeOperator(
        task_id="narrative",
        model_id=model_id,
        data=DATA,
        kpi_name="Good credit",
        problem_context="Consumer loans of a German bank; the applicants of one period.",
        output_uri=f"{OUTPUT}/narrative.md",
        deferrable=True,
    )
    # [END narrative]

    # [START scenario]
    scenario = ClearTraceScenarioOperator(
        task_id="scenario",
        model_id=model_id,
        data=explain.output["output_uri"],
        filter=[["prediction", "<", 0.5]],
        output_uri=f"{OUTPUT}/scenarios.jsonl",
        id_columns=["row"],
        constraints={
            "age_in_years": {"immutable": True},
            "personal_status_and_sex": {"immutable": True},
            "foreign_worker": {"immutable": True},
            "credit_amount": {"monotonic": "decrease"},
            "duration_in_month": {"value_range": [6, 60]},
        },
    )
    # [END scenario]

    # [START report]
    report = ClearTraceReportOperator(
        task_id="report",
        model_id=model_id,
        output_uri=f"{OUTPUT}/report.html",
        title="Credit risk: what the model decides, and why",
        audience="business",
        data=DATA,
        explanations=explain.output["output_uri"],
        raw_gradient=False,
        drivers=interpret.output["output_uri"],
        segments=segment.output["output_uri"],
        scenarios=scenario.output["output_uri"],
        narrative=narrative.output["output_uri"],
        previous=RUNS,
    )
    # [END report]

    fit >> interpret
    [interpret, explain, segment, narrative, scenario] >> report
    segment >> narrative


credit_risk()
