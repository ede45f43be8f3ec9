"""Decide each day's loan applications with the model of record, with reasons, and with a trail for auditors.

    underwriting_model, once:   history -> fit
    underwriting, every day:    land, model_of_record -> score ---> decide -> audit -> report
                                                      -> intervals ->

The days lie side by side below ``underwriting/`` in the folder that the Airflow variable
``cleartrace_output`` names: nothing depends on when a day is worked on, so that each can be caught up with,
or done again, at any time. Needs the connection ``cleartrace_default`` and the extras ``calibrated`` and
``report``.
"""

from __future__ import annotations

import csv
import hashlib
import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.providers.common.compat.sdk import AirflowFailException, dag, task
from airflow.timetables.interval import CronDataIntervalTimetable

from airflow_provider_cleartrace import __version__
from airflow_provider_cleartrace.operators.calibrated import ClearTraceCalibratedExplainOperator
from airflow_provider_cleartrace.operators.inference import ClearTraceExplainOperator
from airflow_provider_cleartrace.operators.report import ClearTraceReportOperator
from airflow_provider_cleartrace.operators.training import ClearTraceFitOperator
from airflow_provider_cleartrace.sensors.job import ClearTraceJobSensor
from airflow_provider_cleartrace.storage.locations import locate
from airflow_provider_cleartrace.storage.publishing import publish_bytes

DATA = Path(__file__).parent / "data"
LOANS = str(DATA / "german_credit.csv")
TARGET = "good_credit"
MODEL = "underwriting-2025"
"""The model of record. Its successor gets a name of its own: what was decided stays with what decided it."""

FORBIDDEN = ("personal_status_and_sex", "age_in_years", "foreign_worker")
"""What the law forbids to decide by, the model does not learn."""

APPROVED_FROM = 0.5
HOME = "{{ var.value.get('cleartrace_output', 'cleartrace-output') }}/underwriting"
DAY = "{{ data_interval_start | ds }}"
SHARED: dict[str, Any] = {
    "catchup": False,
    "default_args": {"retries": 2, "retry_delay": timedelta(seconds=5)},
    "is_paused_upon_creation": True,
    "tags": ["cleartrace"],
    "doc_md": __doc__,
}


@dag(schedule="@once", start_date=datetime(2025, 1, 1, tzinfo=UTC), **SHARED)
def underwriting_model() -> None:
    """Train the model of record, once."""

    @task(multiple_outputs=True)
    def history(folder: str) -> dict[str, str]:
        """Deal out the loans of which the end is known: to learn from, and to calibrate with."""
        import pandas as pd

        loans = pd.read_csv(LOANS).drop(columns=list(FORBIDDEN))
        Path(folder).mkdir(parents=True, exist_ok=True)
        for name, piece in {"training": loans[:600], "calibration": loans[600:850]}.items():
            piece.to_csv(f"{folder}/{name}.csv", index=False)
        return {"training": f"{folder}/training.csv"}

    ClearTraceFitOperator(
        task_id="fit",
        data=history(HOME)["training"],
        model_id=MODEL,
        target=TARGET,
        config={"n_hyperopt_steps": 4, "random_state": 42},
        deferrable=True,
    )


# [START underwriting_schedule]
@dag(
    # "@daily" alone means the day that is over on Airflow 2, and that which begins on Airflow 3.
    schedule=CronDataIntervalTimetable("@daily", timezone="UTC"),
    start_date=datetime(2025, 1, 6, tzinfo=UTC),
    end_date=datetime(2025, 1, 7, tzinfo=UTC),  # the example ends after two days; yours does not
    # Each day's applicants wait for an answer, also those of a day on which Airflow stood still.
    **SHARED | {"catchup": True},
    # Each report says what changed since the day before, which must be there.
    max_active_runs=1,
)
def underwriting() -> None:
    """A day's applications."""
    # [END underwriting_schedule]

    @task
    def land(day: str, folder: str) -> str:
        """Stand in for the branches, which send each day's applications: fifteen of them here."""
        import pandas as pd

        loans = pd.read_csv(LOANS).drop(columns=[TARGET, *FORBIDDEN])[850:]
        today = loans[loans.index % 10 == date.fromisoformat(day).toordinal() % 10]
        Path(folder).mkdir(parents=True, exist_ok=True)
        today.rename(index="A{:04d}".format).to_csv(f"{folder}/branches.csv", index_label="application")
        return folder

    model_of_record = ClearTraceJobSensor(
        task_id="model_of_record", model_id=MODEL, deferrable=True, poke_interval=10, timeout=3600
    )
    applications: Any = land(DAY, f"{HOME}/applications/day={DAY}/")

    # [START underwriting_score]
    score = ClearTraceExplainOperator(
        task_id="score",
        model_id=MODEL,
        data=applications,
        id_columns=["application"],
        raw_gradient=False,
        reasons=str(DATA / "adverse_action.csv"),
        output_uri=f"{HOME}/scores/day={DAY}/",
    )
    intervals = ClearTraceCalibratedExplainOperator(
        task_id="intervals",
        model_id=MODEL,
        calibration_data=f"{HOME}/calibration.csv",
        target=TARGET,
        data=applications,
        id_columns=["application"],
        output_uri=f"{HOME}/intervals/day={DAY}/",
    )
    # [END underwriting_score]

    # [START underwriting_decide]
    @task
    def decide(scores: str, payloads: str, path: str) -> str:
        """Decide where the whole interval lies on one side, and refer the rest to a person."""
        import pandas as pd

        reasons = pd.read_parquet(scores).set_index("application").filter(like="reason_")
        decisions = []
        for line in map(json.loads, Path(payloads).read_text(encoding="utf-8").splitlines()):
            application, estimate = line["id"]["application"], line["payload"]["core"]["prediction"]
            low, high = estimate["uncertainty_interval"]
            decision = "approve" if low >= APPROVED_FROM else "decline" if high < APPROVED_FROM else "refer"
            told = {"application": application, "decision": decision, "probability": estimate["value"]}
            # The law wants reasons for what is refused, and who looks at the rest is helped by them.
            why = {} if decision == "approve" else reasons.loc[application].dropna().to_dict()
            decisions.append(told | {"low": low, "high": high} | why)
        columns = ["application", "decision", "probability", "low", "high", *reasons.columns]
        table = pd.DataFrame(decisions, columns=columns).to_csv(index=False).encode()
        place = locate(path)
        if place.is_file() and place.read_bytes() != table:
            raise AirflowFailException(f"{path}: decided otherwise before; what was decided stays")
        publish_bytes(place, table)
        return path

    # [END underwriting_decide]

    # [START underwriting_audit]
    @task
    def audit(decisions: str, scored: dict[str, Any], path: str, run_id: str | None = None) -> str:
        """Leave a record of each decision; one that is there stays as it is, and must agree."""
        rows = csv.DictReader(Path(decisions).read_text(encoding="utf-8").splitlines())
        made_with = {
            "fingerprint": scored["fingerprint"],
            "manifest_sha256": hashlib.sha256(json.dumps(scored, sort_keys=True).encode()).hexdigest(),
            "provider_version": __version__,
            "run_id": run_id,
        }
        records = [{"decided": row | {"model_id": MODEL}} | made_with for row in rows]
        trail = locate(path)
        if not trail.is_file():
            publish_bytes(trail, "".join(f"{json.dumps(record)}\n" for record in records).encode())
        kept = [json.loads(line)["decided"] for line in trail.read_bytes().splitlines()]
        if kept != [record["decided"] for record in records]:
            raise AirflowFailException(f"{path}: tells of other decisions; what is recorded stays")
        return path

    # [END underwriting_audit]

    decisions = decide(
        score.output["output_uri"], intervals.output["payloads_uri"], f"{HOME}/decisions/day={DAY}.csv"
    )
    report = ClearTraceReportOperator(
        task_id="report",
        model_id=MODEL,
        output_uri=f"{HOME}/reports/{DAY}/underwriting.html",
        title=f"Underwriting on {DAY}",
        explanations=score.output["output_uri"],
        raw_gradient=False,
        data=applications,
        calibrated=intervals.output["output_uri"],
        previous=f"{HOME}/reports",
    )

    model_of_record >> [score, intervals]
    audit(decisions, score.output, f"{HOME}/audit/day={DAY}.jsonl") >> report


underwriting_model()
underwriting()
