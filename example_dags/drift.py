"""Hold a challenger against the champion: do they predict alike, and for the same reasons?

    champion   -> explain_champion   -> compare -> promote
    challenger -> explain_challenger ->         -> review

Needs the connection ``cleartrace_default``. Results go below the folder that the Airflow variable
``cleartrace_output`` names, into a folder for each run.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_cleartrace.operators.compare import ClearTraceCompareOperator
from airflow_provider_cleartrace.operators.inference import ClearTraceExplainOperator
from airflow_provider_cleartrace.operators.training import ClearTraceFitOperator

DATA = str(Path(__file__).parent / "data" / "german_credit.csv")
TARGET = "good_credit"
OUTPUT = "{{ var.value.get('cleartrace_output', 'cleartrace-output') }}/{{ run_id }}"
RETRIES = {"retries": 2, "retry_delay": timedelta(seconds=5)}


@dag(
    schedule=None,
    catchup=False,
    default_args=RETRIES,
    tags=["cleartrace"],
    doc_md=__doc__,
)
def drift() -> None:
    """Two models of the same loans; the second is promoted only if it reasons like the first."""

    def explained(name: str, config: dict[str, Any]) -> ClearTraceExplainOperator:
        fit = ClearTraceFitOperator(task_id=name, data=DATA, target=TARGET, config=config, deferrable=True)
        return ClearTraceExplainOperator(
            task_id=f"explain_{name}",
            model_id=fit.output["model_id"],
            data=DATA,
            output_uri=f"{OUTPUT}/{name}.parquet",
            raw_gradient=False,
        )

    champion = explained("champion", {"mode": "fast", "n_hyperopt_steps": 1, "random_state": 42})
    challenger = explained("challenger", {"mode": "fast", "n_hyperopt_steps": 4, "random_state": 7})

    # [START compare]
    compare = ClearTraceCompareOperator(
        task_id="compare",
        reference=champion.output["output_uri"],
        current=challenger.output["output_uri"],
        reference_model_id=champion.output["model_id"],
        current_model_id=challenger.output["model_id"],
        thresholds={"psi": 0.2, "driver_rank_correlation": 0.8, "driver_shift": 0.25},
        on_drift="branch",
        drift_task_ids="review",
        stable_task_ids="promote",
        output_uri=f"{OUTPUT}/drift.json",
    )
    # [END compare]

    @task
    def promote(model_id: str) -> str:
        """Let the challenger take over."""
        return f"{model_id} is the champion now"

    @task
    def review(crossed: list[str], features: list[str]) -> str:
        """Ask a person."""
        return f"crossed: {', '.join(crossed)}; look at {', '.join(features[:3])}"

    compare >> [
        promote(challenger.output["model_id"]),
        review(compare.output["crossed"], compare.output["shifted_features"]),
    ]


drift()
