"""Train anew each week, and let the new model score leads only if it is better than the one in use.

    candidate -> models -> explain [in use, candidate] -> measure -> gate -> promote -> score -> report
                                                       -> compare         -> keep    ->

Which model is in use, the Airflow variable ``lead_scoring_model`` says. Leads of the last four weeks decide,
on which the candidate was not trained.

The leads are synthetic: ``data/synthetic.py`` says how they were made. Needs the connection
``cleartrace_default`` and the extra ``report``. Results go below the folder that the Airflow variable
``cleartrace_output`` names, into a folder for each run.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import Asset, Param, Variable, dag, task

from airflow_provider_cleartrace.operators.compare import ClearTraceCompareOperator
from airflow_provider_cleartrace.operators.inference import ClearTraceExplainOperator
from airflow_provider_cleartrace.operators.report import ClearTraceReportOperator

if TYPE_CHECKING:
    import pandas as pd

DATA = str(Path(__file__).parent / "data" / "leads.csv")
TARGET = "won"
NEWEST = 21
"""The week of the leads of whom nobody knows yet."""

FIRST_HELD_OUT = NEWEST - 4
HELD_OUT = [["week", ">=", FIRST_HELD_OUT], ["week", "<", NEWEST]]

IN_USE = "lead_scoring_model"
PROMOTED = Asset("lead-scoring-model")
RUNS = "{{ var.value.get('cleartrace_output', 'cleartrace-output') }}"
OUTPUT = f"{RUNS}/{{{{ run_id }}}}"
EITHER_BRANCH = "none_failed_min_one_success"
RETRIES = {"retries": 2, "retry_delay": timedelta(seconds=5)}


@dag(
    schedule="@weekly",
    start_date=datetime(2025, 1, 5, tzinfo=UTC),
    # A model is trained on what is known now: weeks that were missed would train the same one again.
    catchup=False,
    # Two runs at once would both measure themselves against the same model in use.
    max_active_runs=1,
    is_paused_upon_creation=True,
    params={
        "weeks": Param(16, type="integer", minimum=1, description="how many weeks to learn from"),
        "least_gain": Param(0.0, type="number", description="by how much the AUC must be better"),
    },
    default_args=RETRIES,
    tags=["cleartrace"],
    doc_md=__doc__,
)
def lead_scoring() -> None:
    """This week's candidate against the model in use."""

    # [START lead_candidate]
    @task.cleartrace_fit(target=TARGET, config={"n_hyperopt_steps": 4, "random_state": 42}, deferrable=True)
    def candidate(params: Any = None) -> pd.DataFrame:
        """Learn from the weeks before those that decide."""
        import pandas as pd

        leads = pd.read_csv(DATA)
        known = leads["week"].between(FIRST_HELD_OUT - params["weeks"], FIRST_HELD_OUT - 1)
        return leads[known].drop(columns=["lead", "week"])

    new = candidate()["model_id"]

    @task
    def models(new: str, folder: str) -> list[dict[str, str]]:
        """The model in use and the candidate; in the first week the candidate stands for both."""
        pair = {"in_use": Variable.get(IN_USE, None) or new, "candidate": new}
        return [{"model_id": pair[role], "output_uri": f"{folder}/{role}.parquet"} for role in pair]

    explain = ClearTraceExplainOperator.partial(
        task_id="explain",
        data=DATA,
        filter=HELD_OUT,
        id_columns=["lead"],
        columns=[TARGET],
        raw_gradient=False,
    ).expand_kwargs(models(new, OUTPUT))
    # [END lead_candidate]

    compare = ClearTraceCompareOperator(
        task_id="compare",
        reference=f"{OUTPUT}/in_use.parquet",
        current=f"{OUTPUT}/candidate.parquet",
        thresholds={"driver_rank_correlation": 0.8, "driver_shift": 0.2},
        output_uri=f"{OUTPUT}/drift.json",
    )

    # [START lead_gate]
    @task(multiple_outputs=True)
    def measure(explained: Any) -> dict[str, Any]:
        """Tell how well each model ranks leads that it has not seen, by the area under the ROC curve."""
        import pandas as pd

        aucs = []
        for output in explained:
            leads = pd.read_parquet(output["output_uri"], columns=["prediction", TARGET])
            won = leads[TARGET].astype(int) == 1
            # The sum of the ranks of the winners, as Mann and Whitney count it.
            pairs = leads["prediction"].rank()[won].sum() - won.sum() * (won.sum() + 1) / 2
            aucs.append(float(pairs / (won.sum() * (~won).sum())))
        in_use, new = (output["model_id"] for output in explained)
        return {"in_use": in_use, "candidate": new, "auc_in_use": aucs[0], "auc_candidate": aucs[1]}

    @task.branch
    def gate(found: dict[str, Any], params: Any = None) -> str:
        """Let through what is better; the first candidate has nothing to be better than."""
        better = found["auc_candidate"] > found["auc_in_use"] + params["least_gain"]
        return "promote" if better or found["in_use"] == found["candidate"] else "keep"

    @task(outlets=[PROMOTED])
    def promote(found: dict[str, Any], outlet_events: Any = None) -> str:
        """Put the candidate to use; whoever is scheduled on the asset hears of it."""
        Variable.set(IN_USE, found["candidate"])
        outlet_events[PROMOTED].extra = found
        return "the candidate is in use: AUC {auc_candidate:.3f}, was {auc_in_use:.3f}".format(**found)

    @task
    def keep(found: dict[str, Any]) -> str:
        """Say why all stays as it is."""
        return "{in_use} stays: AUC {auc_in_use:.3f}, the candidate {auc_candidate:.3f}".format(**found)

    found: Any = measure(explain.output)
    decided = [promote(found), keep(found)]
    gate(found) >> decided
    # [END lead_gate]

    # [START lead_score]
    model_in_use = f"{{{{ var.value.{IN_USE} }}}}"
    score = ClearTraceExplainOperator(
        task_id="score",
        model_id=model_in_use,
        data=DATA,
        filter=["week", "==", NEWEST],
        id_columns=["lead"],
        raw_gradient=False,
        output_uri=f"{OUTPUT}/leads.csv",
        trigger_rule=EITHER_BRANCH,
    )
    report = ClearTraceReportOperator(
        task_id="report",
        model_id=model_in_use,
        output_uri=f"{OUTPUT}/leads.html",
        title="Leads of the week",
        explanations=score.output["output_uri"],
        raw_gradient=False,
        data=DATA,
        comparison=compare.output["output_uri"],
        previous=RUNS,
    )
    # [END lead_score]

    explain >> compare >> report
    decided >> score


lead_scoring()
