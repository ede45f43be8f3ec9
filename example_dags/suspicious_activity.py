"""Draft a report for each suspicious transaction of a day; a person decides which of them are filed.

    fit -> score -> explain -> any_cases -> calibrate -> draft -> review -> record

Nothing is filed before a person has answered for every case: in Airflow's UI under *Required actions* (3.1+),
below that with a variable. `record` then writes one file: approved drafts, and who decided what and when.

The transactions are synthetic: drawn by ``data/transactions/draw.py``. Needs the connection
``cleartrace_default`` and the extra ``calibrated``. Results go below the folder that the Airflow variable
``cleartrace_output`` names, into a folder for each run.
"""

from __future__ import annotations

import inspect
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.providers.common.compat import sdk
from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_cleartrace.operators.calibrated import ClearTraceCalibratedExplainOperator
from airflow_provider_cleartrace.operators.inference import (
    ClearTraceExplainOperator,
    ClearTracePredictOperator,
)
from airflow_provider_cleartrace.operators.training import ClearTraceFitOperator
from airflow_provider_cleartrace.storage.locations import locate
from airflow_provider_cleartrace.storage.publishing import publish_bytes

try:
    from airflow.providers.standard.operators.hitl import HITLOperator
except (ImportError, sdk.AirflowOptionalProviderFeatureException):  # below Airflow 3.1
    HITLOperator = None

DATA = Path(__file__).parent / "data" / "transactions"
TARGET = "confirmed"
FEATURES = ["cash_share", "near_limit_deposits", "hours_held", "account_age_days", "country_risk"]
OUTPUT = "{{ var.value.get('cleartrace_output', 'cleartrace-output') }}/{{ run_id }}"
THRESHOLD = 0.7
"""From this probability on a person looks: set it so that people can read all the cases of a day."""

TIME_TO_DECIDE = timedelta(days=3)
RETRIES = {"retries": 2, "retry_delay": timedelta(seconds=5)}


@dag(schedule=None, catchup=False, default_args=RETRIES, tags=["cleartrace"], doc_md=__doc__)
def suspicious_activity() -> None:
    """From a day's transactions to the reports that a person has approved."""
    fit = ClearTraceFitOperator(
        task_id="fit",
        data=f"{DATA}/history.csv",
        target=TARGET,
        config={"mode": "fast", "random_state": 42},
        deferrable=True,
    )
    shared = {"model_id": fit.output["model_id"], "id_columns": ["transaction"]}

    # [START suspicious_few]
    score = ClearTracePredictOperator(
        task_id="score",
        data=f"{DATA}/today.csv",
        columns=FEATURES,
        output_uri=f"{OUTPUT}/scores.parquet",
        **shared,
    )
    explain = ClearTraceExplainOperator(
        task_id="explain",
        data=score.output["output_uri"],
        filter=["prediction", ">=", THRESHOLD],
        columns=FEATURES,
        raw_gradient=False,
        reasons=f"{DATA}/reasons.csv",
        unwanted="high",
        top_k=2,
        output_uri=f"{OUTPUT}/cases.parquet",
        **shared,
    )
    # [END suspicious_few]

    @task.short_circuit
    def any_cases(explained: int) -> bool:
        """End a day without cases here: nobody is asked, and nothing has failed."""
        return explained > 0

    calibrate = ClearTraceCalibratedExplainOperator(
        task_id="calibrate",
        data=explain.output["output_uri"],
        calibration_data=f"{DATA}/calibration.csv",
        target=TARGET,
        output_uri=f"{OUTPUT}/rules/",
        **shared,
    )

    @task
    def draft(cases: str, predictions: str, rules: str) -> list[dict[str, str]]:
        """Put each case into words, with no figure or reason but those that the tasks before found."""
        import pandas as pd

        reasons = pd.read_parquet(cases).set_index("transaction").filter(regex="^reason_._text$")
        found = pd.read_parquet(rules)
        drafts = []
        for case in pd.read_parquet(predictions).itertuples():
            low, high = case.prediction_low, case.prediction_high
            words = [f"Suspicious with a calibrated probability of {low:.0%} to {high:.0%}:", ""]
            words += [f"- {reason}" for reason in reasons.loc[case.transaction].dropna()]
            strongest = found[found["transaction"] == case.transaction].nlargest(3, "weight")
            words += [f"- {each.rule} ({each.weight:+.0%})" for each in strongest.itertuples()]
            drafts.append({"subject": f"Transaction {case.transaction}", "body": "\n".join(words)})
        return drafts

    any_cases(explain.output["rows_written"]) >> calibrate
    drafts = draft(
        explain.output["output_uri"], calibrate.output["predictions_uri"], calibrate.output["rules_uri"]
    )

    # [START suspicious_review]
    if HITLOperator is not None:
        # Early versions of the standard provider have one name for both timeouts.
        has_own = "response_timeout" in inspect.signature(HITLOperator.__init__).parameters
        limit = {"response_timeout" if has_own else "execution_timeout": TIME_TO_DECIDE}
        # Not ApprovalOperator, which skips what is behind a rejection: that has to be recorded as well.
        review = HITLOperator.partial(
            task_id="review",
            options=["Approve", "Reject"],
            defaults="Reject",  # when the time is over: silence approves nothing
            **limit,
        )
        answers = review.expand_kwargs(drafts).output
    else:

        @task.sensor(mode="reschedule", poke_interval=10, timeout=TIME_TO_DECIDE.total_seconds())
        def review(drafts: list[dict[str, str]], variable: str) -> Any:
            """Wait for a variable such as ``{"by": "Ada", "approved": ["Transaction T-1903"]}``."""
            told = sdk.Variable.get(variable, None, deserialize_json=True)
            if told is None:
                return False
            answer = {"responded_by_user": {"name": told["by"]}, "responded_at": sdk.timezone.utcnow()}
            chosen = ["Approve" if each["subject"] in told["approved"] else "Reject" for each in drafts]
            return sdk.PokeReturnValue(True, [answer | {"chosen_options": [each]} for each in chosen])

        answers = review(drafts, "suspicious_activity {{ run_id }}")
    # [END suspicious_review]

    @task
    def record(output_uri: str, about: dict[str, Any], drafts: Any, answers: Any) -> dict[str, Any]:
        """Write approved drafts, and who decided what and when, as one file that appears whole."""
        cases = []
        for asked, answer in zip(drafts, answers, strict=True):
            (decision,) = answer["chosen_options"]
            by = answer["responded_by_user"] or {"name": "nobody: the time was over"}
            case = {"case": asked["subject"], "decision": decision, "by": by["name"]}
            case |= {"draft": asked["body"]} if decision == "Approve" else {}
            cases.append(case | {"at": str(answer["responded_at"])})
        publish_bytes(locate(output_uri), json.dumps(about | {"cases": cases}, indent=1).encode())
        return {
            "output_uri": output_uri,
            "cases": len(cases),
            "filed": sum("draft" in each for each in cases),
        }

    about = {"model_id": fit.output["model_id"], "explained": explain.output["sha256"]}
    record(f"{OUTPUT}/filed.json", about, drafts, answers)


suspicious_activity()
