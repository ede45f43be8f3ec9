"""The example DAGs that take other ways below Airflow 3.1, there; tests/system runs them on 3.3."""

from __future__ import annotations

import json
import runpy
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest

from example_dags.demo.scorer import running_scorer
from tests.integration.airflow_command import ROOT, Airflow, below_3_1
from tests.integration.local_server import LocalServer

EXAMPLES = ROOT / "example_dags"
TRANSACTIONS = EXAMPLES / "data" / "transactions"
REVIEW_BEGINS = 120.0
SET_VARIABLE = """
import sys
from airflow.models import Variable
Variable.set(sys.argv[1], sys.argv[2])
"""


@pytest.fixture
def airflow(tmp_path: Path, connection: LocalServer) -> Iterator[Airflow]:
    with running_scorer() as scorer:
        command = Airflow(tmp_path / "airflow", connection, EXAMPLES, **scorer.settings)
        command("db", "migrate")
        yield command


def test_the_transactions_are_drawn_as_told() -> None:
    drawn = runpy.run_path(str(TRANSACTIONS / "draw.py"))["files"]()
    assert drawn == {name: (TRANSACTIONS / f"{name}.csv").read_text() for name in drawn}


@below_3_1
@pytest.mark.timeout(600)
def test_drafts_are_filed_as_a_variable_says_and_not_before(airflow: Airflow) -> None:
    with ThreadPoolExecutor(1) as beside:
        run = beside.submit(airflow, "dags", "test", "suspicious_activity")
        deadline = time.monotonic() + REVIEW_BEGINS
        while not (explained := [*airflow.output.glob("*/rules/_SUCCESS")]):
            assert not run.done(), run.result()
            assert time.monotonic() < deadline
            time.sleep(0.2)
        folder = explained[0].parents[1]
        cases = pd.read_parquet(folder / "cases.parquet")["transaction"]
        approved, *rejected = (f"Transaction {case}" for case in cases)
        assert not (folder / "filed.json").exists()
        answers = {"by": "Ada", "approved": [approved]}
        airflow.python(SET_VARIABLE, f"suspicious_activity {folder.name}", json.dumps(answers))
        run.result()

    filed = json.loads((folder / "filed.json").read_text())
    assert rejected
    decisions = {case["case"]: case["decision"] for case in filed["cases"]}
    assert decisions == {approved: "Approve", **dict.fromkeys(rejected, "Reject")}
    assert [case["case"] for case in filed["cases"] if "draft" in case] == [approved]
    assert {case["by"] for case in filed["cases"]} == {"Ada"}


@below_3_1
@pytest.mark.timeout(600)
def test_each_night_s_student_is_held_against_the_one_before(airflow: Airflow) -> None:
    for _ in range(2):
        airflow("dags", "test", "nightly_distil")

    reports = [json.loads(path.read_text()) for path in sorted(airflow.output.glob("*/student.json"))]
    assert reports[0]["comparison"] is None
    comparison = reports[1]["comparison"]
    compared = [comparison[side]["model_id"] for side in ("reference", "current")]
    assert compared == [report["model"]["model_id"] for report in reports]
    assert compared[-1] in airflow("variables", "get", "student_in_use").split()
