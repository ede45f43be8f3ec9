"""Hold a challenger against the champion: do they predict alike, and for the same reasons?

    split -> champion   -> explain_champion   -> compare -> promote
          -> challenger -> explain_challenger ->         -> review

The champion was trained on older loans, the challenger on more; both are asked about the newest, which
neither has seen.

Needs the connection ``cleartrace_default``. Results go below the folder that the Airflow variable
``cleartrace_output`` names, into a folder for each run.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_cleartrace.operators.compare import ClearTraceCompareOperator
from airflow_provider_cleartrace.operators.inference import ClearTraceExplainOperator
from airflow_provider_cleartrace.operators.training import ClearTraceFitOperator

DATA = str(Path(__file__).parent / "data" / "german_credit.csv")
TARGET = "good_credit"
OUTPUT = "{{ var.value.get('cleartrace_output', 'cleartrace-output') }}/{{ run_id }}"
RETRIES = {"retries": 2, "retry_delay": timedelta(seconds=5)}


@dag(schedule=None, catchup=False, default_args=RETRIES, tags=["cleartrace"], doc_md=__doc__)
def drift() -> None:
    """Two models of the same loans; the second is promoted only if it reasons like the first."""

    @task(multiple_outputs=True)
    def split(folder: str) -> dict[str, str]:
        """Write the loans that each model is trained on, and those that both are asked about."""
        import pandas as pd

        loans = pd.read_csv(DATA)
        pieces = {"champion": loans[:500], "challenger": loans[:800], "newest": loans[800:]}
        Path(folder).mkdir(parents=True, exist_ok=True)
        for name, piece in pieces.items():
            piece.to_csv(f"{folder}/{name}.csv", index=False)
        return {name: f"{folder}/{name}.csv" for name in pieces}

    files = split(OUTPUT)

    def explained(name: str) -> ClearTraceExplainOperator:
        fit = ClearTraceFitOperator(
            task_id=name,
            data=files[name],
            target=TARGET,
            config={"mode": "fast", "n_hyperopt_steps": 1, "random_state": 42},
            deferrable=True,
        )
        return ClearTraceExplainOperator(
            task_id=f"explain_{name}",
            model_id=fit.output["model_id"],
            data=files["newest"],
            output_uri=f"{OUTPUT}/{name}.parquet",
            raw_gradient=False,
        )

    champion, challenger = explained("champion"), explained("challenger")

    # [START compare]
    compare = ClearTraceCompareOperator(
        task_id="compare",
        reference=champion.output["output_uri"],
        current=challenger.output["output_uri"],
        reference_model_id=champion.output["model_id"],
        current_model_id=challenger.output["model_id"],
        thresholds={"psi": 0.25, "driver_rank_correlation": 0.8, "driver_shift": 0.2},
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
