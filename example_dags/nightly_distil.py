"""Distil the scorer in production every night, and hold its student against the one in use.

    sample -> student -> explain ---> compare -> report -> promote
                      -> faithful ----------------------->
    in_use -> explain_in_use -------->

A student may speak for the scorer only as far as it follows it: otherwise `faithful` fails the run, and
nothing is promoted. Drift stops nothing: it tells that the scorer has other reasons than it had.

Needs the connections ``cleartrace_default`` and ``credit_scorer``, and the extra ``report``. A scorer to try
it with comes with ``make up``, or alone with ``python -m example_dags.demo.scorer``. Results go below the
folder that the Airflow variable ``cleartrace_output`` names, into a folder for each run.
"""

from __future__ import annotations

import zlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSkipException,
    Variable,
    dag,
    task,
)
from airflow.timetables.interval import CronDataIntervalTimetable

from airflow_provider_cleartrace.operators.compare import ClearTraceCompareOperator
from airflow_provider_cleartrace.operators.inference import ClearTraceExplainOperator
from airflow_provider_cleartrace.operators.report import ClearTraceReportOperator
from airflow_provider_cleartrace.operators.training import ClearTraceDistillOperator

DATA = str(Path(__file__).parent / "data" / "german_credit.csv")
TARGET = "good_credit"
PANEL = f"{DATA}#rows=800-1000"
"""Every student explains these rows, and none learns from them: they differ in nothing but their reasons."""

IN_USE = "student_in_use"
"""The Airflow variable that names the student whom others ask; to go back, set it by hand."""

LEAST_AGREEMENT = 0.9
"""Share of rows that scorer and student must decide alike."""

RUNS = "{{ var.value.get('cleartrace_output', 'cleartrace-output') }}"
OUTPUT = f"{RUNS}/{{{{ run_id }}}}"


@dag(
    schedule=CronDataIntervalTimetable("0 2 * * *", "UTC"),  # makes up for a night that was missed
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    is_paused_upon_creation=True,
    max_active_runs=1,  # two nights at once would not know whose student is in use
    default_args={"retries": 2, "retry_delay": timedelta(seconds=5)},
    tags=["cleartrace"],
    doc_md=__doc__,
)
def nightly_distil() -> None:
    """From the scorer's answers to a student that is compared, reported, and put to use."""

    @task
    def sample(folder: str, night: str) -> str:
        """Choose what to ask the scorer about: other rows each night, the same ones in every try."""
        import pandas as pd

        loans = pd.read_csv(DATA).head(800).sample(600, random_state=zlib.crc32(night.encode()))
        Path(folder).mkdir(parents=True, exist_ok=True)
        loans.to_csv(f"{folder}/asked.csv", index=False)
        return f"{folder}/asked.csv"

    @task
    def in_use() -> str:
        """Name the student of an earlier night; without one there is nothing to compare with."""
        model_id = Variable.get(IN_USE, None)
        if model_id is None:
            raise AirflowSkipException("the first night: no student is in use")
        return str(model_id)

    # [START distil]
    student = ClearTraceDistillOperator(
        task_id="student",
        data=sample(OUTPUT, "{{ run_id }}"),
        predict_conn_id="credit_scorer",
        target=TARGET,
        config={"mode": "fast", "random_state": 42},
        on_existing="restart",  # a clear means that the scorer may answer otherwise by now
        deferrable=True,
    )
    # [END distil]

    def explained(task_id: str, model_id: str) -> ClearTraceExplainOperator:
        return ClearTraceExplainOperator(
            task_id=task_id,
            model_id=model_id,
            data=PANEL,
            output_uri=f"{OUTPUT}/{task_id}.parquet",
            raw_gradient=False,
        )

    explain = explained("explain", student.output["model_id"])
    before = explained("explain_in_use", in_use())

    compare = ClearTraceCompareOperator(
        task_id="compare",
        reference=before.output["output_uri"],
        current=explain.output["output_uri"],
        reference_model_id=before.output["model_id"],
        current_model_id=explain.output["model_id"],
        thresholds={"psi": 0.25, "driver_shift": 0.25},
        output_uri=f"{OUTPUT}/drift.json",
    )

    # [START distil_report]
    report = ClearTraceReportOperator(
        task_id="report",
        model_id=student.output["model_id"],
        explanations=explain.output["output_uri"],
        raw_gradient=False,
        comparison=compare.output["output_uri"],
        previous=RUNS,
        output_uri=f"{OUTPUT}/student.html",
        trigger_rule="none_failed",  # in the first night there is no comparison
    )
    # [END distil_report]

    # [START distil_gate]
    @task
    def faithful(fidelity: dict[str, float]) -> float:
        """Let no student speak for a scorer that it does not follow; a retry would not change it."""
        if fidelity["agreement"] < LEAST_AGREEMENT:
            raise AirflowFailException(
                f"fidelity {fidelity}: the agreement must be {LEAST_AGREEMENT} or more"
            )
        return fidelity["agreement"]

    @task
    def promote(model_id: str) -> str:
        """Put tonight's student to use."""
        Variable.set(IN_USE, model_id)
        return model_id

    # [END distil_gate]
    [faithful(student.output["fidelity"]), report] >> promote(student.output["model_id"])


nightly_distil()
