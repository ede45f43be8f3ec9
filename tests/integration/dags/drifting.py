"""Comparisons of files that branch, fail and warn; the files lie in the variable's folder."""

from __future__ import annotations

from typing import Any

from airflow.providers.common.compat.sdk import DAG, TaskGroup, task

from airflow_provider_cleartrace.operators.compare import ClearTraceCompareOperator

OUTPUT = "{{ var.value.cleartrace_output }}"


@task
def done(told: Any = None) -> Any:
    """Tell that the branch was followed."""
    return told


with DAG("drifting", schedule=None):
    for verdict, current in (("stable", "same"), ("drift", "moved")):
        branch = ClearTraceCompareOperator(
            task_id=f"{verdict}_branch",
            reference=f"{OUTPUT}/reference.parquet",
            current=f"{OUTPUT}/{current}.parquet",
            thresholds={"psi": 0.2},
            on_drift="branch",
            drift_task_ids=f"{verdict}_on_drift",
            stable_task_ids=[f"{verdict}_if_stable"],
            output_uri=f"{OUTPUT}/{verdict}.json",
        )
        with TaskGroup(f"{verdict}_on_drift"):
            on_drift = done.override(task_id="alarm")(branch.output["crossed"])
        if_stable = done.override(task_id=f"{verdict}_if_stable")(branch.output)
        joined = done.override(task_id=f"{verdict}_join", trigger_rule="none_failed_min_one_success")()
        branch >> [on_drift, if_stable] >> joined

    failing = ClearTraceCompareOperator(
        task_id="failing",
        reference=f"{OUTPUT}/reference.parquet",
        current=f"{OUTPUT}/moved.parquet",
        thresholds={"psi": 0.2},
        on_drift="fail",
        retries=3,
        output_uri=f"{OUTPUT}/failing.json",
    )
    failing >> done.override(task_id="after_failure", trigger_rule="all_done")(failing.output)
