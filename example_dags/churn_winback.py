"""A morning's briefing for the win-back desk: who is about to leave, why, and whom to call with which offer.

    fit -> explain -> scenario -> choose -> segment -> narrative -> report

The customers are synthetic: ``data/synthetic.py`` says how they were made. Needs the connection
``cleartrace_default`` and the extra ``report``. Results go below the folder that the Airflow variable
``cleartrace_output`` names, into a folder for each run.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.providers.common.compat.sdk import AirflowSkipException, dag, task

from airflow_provider_cleartrace.operators.analysis import (
    ClearTraceNarrativeOperator,
    ClearTraceSegmentOperator,
)
from airflow_provider_cleartrace.operators.inference import (
    ClearTraceExplainOperator,
    ClearTraceScenarioOperator,
)
from airflow_provider_cleartrace.operators.report import ClearTraceReportOperator
from airflow_provider_cleartrace.operators.training import ClearTraceFitOperator

DATA = str(Path(__file__).parent / "data" / "customers.csv")
OUTPUT = "{{ var.value.get('cleartrace_output', 'cleartrace-output') }}/{{ run_id }}"
CONTEXT = (
    "Customers of a telephone company. The desk can offer discounts and contracts; it can call one a day."
)

TODAY = [["quarter", "==", "2026-Q4"]]
"""Customers of whom nobody knows yet; the training leaves them out, since they have no outcome."""

LEAVING = [["prediction", ">=", 0.5]]

RETRIES = {"retries": 2, "retry_delay": timedelta(seconds=5)}


@dag(schedule=None, catchup=False, default_args=RETRIES, tags=["cleartrace"], doc_md=__doc__)
def churn_winback() -> None:
    """From all customers to one telephone call."""
    fit = ClearTraceFitOperator(
        task_id="fit",
        data=DATA,
        target="churned",
        # What names a row would be learned by heart.
        feature_schema={"customer": {"dtype": "ignore"}, "quarter": {"dtype": "ignore"}},
        config={"n_hyperopt_steps": 4, "random_state": 42},
        deferrable=True,
    )
    model_id = fit.output["model_id"]

    # [START churn_leaving]
    explain = ClearTraceExplainOperator(
        task_id="explain",
        model_id=model_id,
        data=DATA,
        filter=TODAY,
        id_columns=["customer"],
        # With its columns beside the predictions, this output is the input of the tasks behind.
        columns=["*"],
        output_uri=f"{OUTPUT}/customers.parquet",
        raw_gradient=False,
    )

    scenario = ClearTraceScenarioOperator(
        task_id="scenario",
        model_id=model_id,
        data=explain.output["output_uri"],
        filter=LEAVING,
        id_columns=["customer"],
        columns=["monthly_bill"],
        output_uri=f"{OUTPUT}/offers.jsonl",
        desired_class=0,
        # The past stays as it is; the desk changes what it can offer.
        constraints={
            "months_with_us": {"immutable": True},
            "monthly_bill": {"immutable": True},
            "support_calls": {"immutable": True},
            "late_payments": {"immutable": True},
            "discount_percent": {"monotonic": "increase", "value_range": [0, 20]},
        },
    )
    # [END churn_leaving]

    # [START churn_choose]
    @task(multiple_outputs=True)
    def choose(offers: str) -> dict[str, Any]:
        """Choose whom to call: the largest bill that can be kept, by the offer with the fewest changes."""
        import pandas as pd

        found = pd.read_json(offers, lines=True).query("scenario == 0")
        if found.empty:
            raise AirflowSkipException("nobody leaves who could be kept: no call today")
        call = found.nlargest(1, "monthly_bill").iloc[0]
        risk = {"risk_now": float(call["baseline_prediction"]), "risk_then": float(call["prediction"])}
        return {"customer": call["customer"], "offer": call["changes"], **risk}

    call = choose(scenario.output["output_uri"])
    # [END churn_choose]

    # [START churn_segment]
    segment = ClearTraceSegmentOperator(
        task_id="segment",
        model_id=model_id,
        data=explain.output["output_uri"],
        filter=LEAVING,
        min_clusters=2,
        max_clusters=4,
        kpi_field="Risk of leaving",
        problem_context=CONTEXT,
        output_uri=f"{OUTPUT}/groups.json",
        deferrable=True,
    )
    # [END churn_segment]

    narrative = ClearTraceNarrativeOperator(
        task_id="narrative",
        model_id=model_id,
        data=DATA,
        filter=TODAY,
        kpi_name="Risk of leaving",
        problem_context=CONTEXT,
        output_uri=f"{OUTPUT}/narrative.md",
        deferrable=True,
    )

    # [START churn_report]
    report = ClearTraceReportOperator(
        task_id="report",
        model_id=model_id,
        output_uri=f"{OUTPUT}/winback.html",
        title="Win-back: who is about to leave, and whom to call",
        audience="business",
        explanations=explain.output["output_uri"],
        raw_gradient=False,
        data=explain.output["output_uri"],
        scenarios=scenario.output["output_uri"],
        segments=segment.output["output_uri"],
        narrative=narrative.output["output_uri"],
        rows=[call["customer"]],
    )
    # [END churn_report]

    call >> segment >> narrative >> report


churn_winback()
