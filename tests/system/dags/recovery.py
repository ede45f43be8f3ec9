"""Distillations whose teacher the tests hold back, a DAG for each thing that goes wrong meanwhile."""

from __future__ import annotations

import os
import signal
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, get_current_context

from airflow_provider_cleartrace.operators.training import ClearTraceDistillOperator

# Airflow 3.3 may fail a task that resumes before its deferral is booked (apache/airflow #71580).
TASK = {
    "retries": 5,
    "retry_delay": timedelta(seconds=1),
    "data": "{{ var.value.cleartrace_output }}/rows.csv",
    "predict_conn_id": "teacher",
    "config": {"mode": "fast"},
    "poll_interval": 1.0,
    "deferrable": True,
}


class DiesBeforeItDefers(ClearTraceDistillOperator):
    """Its first try ends as a worker does that the kernel or the cloud takes away: no handler runs."""

    def defer(self, **kwargs: Any) -> None:
        if get_current_context()["ti"].try_number == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        super().defer(**kwargs)


def seeds(count: int) -> list[dict[str, Any]]:
    return [{"mode": "fast", "random_state": seed} for seed in range(count)]


with DAG("killed_worker", schedule=None, default_args=TASK):
    DiesBeforeItDefers(task_id="dies_before_it_defers")
    ClearTraceDistillOperator(task_id="dies_while_it_waits", deferrable=False)

with DAG("stopped_worker", schedule=None, default_args=TASK | {"deferrable": False}):
    ClearTraceDistillOperator(task_id="ends_its_job")
    ClearTraceDistillOperator(task_id="leaves_its_job", cancel_on_kill=False)

with DAG("twenty_waits", schedule=None, default_args=TASK):
    ClearTraceDistillOperator.partial(task_id="distill").expand(config=seeds(20))

with DAG("three_waits", schedule=None, default_args=TASK):
    ClearTraceDistillOperator.partial(task_id="distill").expand(config=seeds(3))

with DAG("ended_by_hand", schedule=None, default_args=TASK):
    for name in ("marked_failed", "marked_success", "cleared"):
        ClearTraceDistillOperator(task_id=name)
    ClearTraceDistillOperator(task_id="left_running", cancel_on_kill=False)

with DAG("killed_server", schedule=None, default_args=TASK):
    ClearTraceDistillOperator.partial(task_id="deferred").expand(config=seeds(3))
    ClearTraceDistillOperator(task_id="on_a_worker", deferrable=False)
