"""On a real Airflow, a retry goes on with the job of the try before it, and a clear begins anew."""

from __future__ import annotations

import json
from typing import Any

import pytest
from airflow import __version__

from tests.integration.airflow_command import ROOT, Airflow
from tests.integration.local_server import LocalServer

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        __version__.startswith("3.0."),
        reason="dags test of Airflow 3.0 stores no DAG, from which a clear would learn of its retries",
    ),
]

DAG = """
import datetime as dt

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_cleartrace.operators.training import ClearTraceFitOperator


class CrashesOnce(ClearTraceFitOperator):
    def result(self, client, receipt):
        if self._tried == 1:
            raise RuntimeError("crashed")
        return super().result(client, receipt)

    def execute(self, context):
        self._tried = context["ti"].try_number
        store = context.get("task_state_store")
        print("TOLD", store is not None, store and store.get("cleartrace_submission"))
        return super().execute(context)


with DAG("series", schedule=None, start_date=dt.datetime(2026, 1, 1)) as dag:
    CrashesOnce(
        task_id="fit",
        data={data!r},
        target="good_credit",
        config={{"mode": "fast", "n_hyperopt_steps": 1}},
        model_id="series-mine",
        retries=2,
        retry_delay=dt.timedelta(0),
    )
"""

PROGRAM = """
import inspect, json, sys
sys.path.insert(0, sys.argv[1])
from airflow.models.taskinstance import TaskInstance, clear_task_instances
from airflow.utils.session import create_session
from series import dag

dag.test()
with create_session() as session:
    (ti,) = session.query(TaskInstance).filter_by(dag_id="series").all()
    facts = {"state": ti.state, "tries": ti.try_number, "max_tries": ti.max_tries}
    with_dag = {"dag": dag} if "dag" in inspect.signature(clear_task_instances).parameters else {}
    clear_task_instances([ti], session, **with_dag)
    print("FACTS", json.dumps(facts | {"cleared": ti.max_tries}))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, local_server: LocalServer) -> str:
    dags = tmp_path_factory.mktemp("dags")
    data = ROOT / "example_dags" / "data" / "german_credit.csv"
    (dags / "series.py").write_text(DAG.format(data=str(data)))
    airflow = Airflow(tmp_path_factory.mktemp("airflow"), local_server, dags)
    airflow("db", "migrate")
    return airflow.python(PROGRAM, str(dags))


def facts(told: str) -> dict[str, Any]:
    (line,) = [line for line in told.splitlines() if line.startswith("FACTS")]
    return dict(json.loads(line.removeprefix("FACTS")))


def test_a_clear_raises_max_tries_by_the_tries_made_and_a_retry_does_not(told: str) -> None:
    assert facts(told) == {"state": "success", "tries": 2, "max_tries": 2, "cleared": 4}


def test_a_retry_takes_the_job_that_the_task_state_store_tells_of(told: str) -> None:
    first, second = [line for line in told.splitlines() if "TOLD" in line]
    assert first.endswith("None")
    if "TOLD True" not in first:
        assert second.endswith("None")  # before Airflow 3.3 nothing is remembered
        return
    assert "'stage': 'submitted'" in second
    assert told.count("submitted fit of model series-mine") == 1
    assert "fit of model series-mine is completed: not submitted" in told
