"""Start when somebody has trained the model ``loans-production``, wherever that was (Airflow 3.0+).

Started by hand, and on Airflow 2.11 there is no other way, it takes the model as it is.

Needs the connection ``cleartrace_default``. The drivers of the new model go below the folder that the Airflow
variable ``cleartrace_output`` names.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_cleartrace.operators.inference import ClearTraceInterpretOperator
from airflow_provider_cleartrace.triggers.ready import ClearTraceModelReadyTrigger

MODEL_ID = "loans-production"

try:
    from airflow.sdk import Asset, AssetWatcher
except ImportError:  # Airflow 2.11 has no watchers
    SCHEDULE = None
else:
    # [START model_ready]
    trigger = ClearTraceModelReadyTrigger(MODEL_ID, job="fit")
    SCHEDULE = [Asset("loans_model", watchers=[AssetWatcher(name="loans_ready", trigger=trigger)])]
    # [END model_ready]

OUTPUT = "{{ var.value.get('cleartrace_output', 'cleartrace-output') }}/{{ run_id }}"
RETRIES = {"retries": 2, "retry_delay": timedelta(seconds=5)}


@dag(schedule=SCHEDULE, catchup=False, default_args=RETRIES, tags=["cleartrace"], doc_md=__doc__)
def model_ready() -> None:
    """What drives the model that is ready."""

    # [START model_ready_payload]
    @task
    def ready(triggering_asset_events: Any = None) -> str:
        """The model that the last event tells of: those that come close together start one run."""
        events = [event for each in (triggering_asset_events or {}).values() for event in each]
        return str(events[-1].extra["payload"]["model_id"]) if events else MODEL_ID

    # [END model_ready_payload]

    ClearTraceInterpretOperator(task_id="drivers", model_id=ready(), output_uri=f"{OUTPUT}/drivers.csv")


model_ready()
