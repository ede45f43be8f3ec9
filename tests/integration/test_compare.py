"""Comparisons of real models' outputs, and what follows from a verdict in a run of a real Airflow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException
from scipy import stats

from airflow_provider_cleartrace.api.errors import NotFoundError, ValidationError
from airflow_provider_cleartrace.client import ClearTrace
from airflow_provider_cleartrace.comparison.errors import ComparisonError
from airflow_provider_cleartrace.comparison.models import Comparison
from airflow_provider_cleartrace.operators.compare import ClearTraceCompareOperator
from airflow_provider_cleartrace.operators.inference import ClearTraceExplainOperator
from airflow_provider_cleartrace.storage.errors import StorageError
from tests.integration.airflow_command import ROOT, Airflow
from tests.integration.airflow_tasks import context
from tests.integration.local_server import LocalServer
from tests.integration.test_s3 import BUCKET, endpoint, s3

__all__ = ["endpoint", "s3"]

CREDIT = ROOT / "example_dags" / "data" / "german_credit.csv"
TARGET = "good_credit"
DAGS = ROOT / "tests" / "integration" / "dags"
CHAMPION, CHALLENGER = "compare-champion", "compare-challenger"

Run = tuple[dict[str, list[Any]], dict[str, Any]]

pytestmark = [pytest.mark.usefixtures("connection"), pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def models(local_server: LocalServer) -> tuple[str, str]:
    """Two models of the same loans: one of half of them, in a hurry."""
    credit = pd.read_csv(CREDIT)
    with ClearTrace(local_server.base_url, local_server.api_key, poll_interval=0.05) as client:
        client.fit(credit[:500], target=TARGET, model_id=CHAMPION, mode="fast", n_hyperopt_steps=1)
        client.segment(min_clusters=3, max_clusters=4, n_search_steps=2)
        client.fit(credit, target=TARGET, model_id=CHALLENGER, n_hyperopt_steps=2, random_state=7)
    return CHAMPION, CHALLENGER


@pytest.fixture(scope="module")
def loans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("loans") / "loans.csv"
    pd.read_csv(CREDIT).drop(columns=TARGET).head(200).to_csv(path, index=False)
    return path


def explain(model_id: str, loans: Path, output: Path | str, **options: Any) -> str:
    operator = ClearTraceExplainOperator(
        task_id="explain",
        model_id=model_id,
        data=str(loans),
        output_uri=str(output),
        raw_gradient=False,
        **options,
    )
    told: str = operator.execute(context("explain"))["output_uri"]
    return told


def compared(**options: Any) -> dict[str, Any]:
    return ClearTraceCompareOperator(task_id="compare", **options).execute(context("compare"))


def written(path: Path) -> Comparison:
    return Comparison.model_validate_json(path.read_text())


class TestTwoModels:
    def test_are_compared_by_what_they_say_of_the_same_loans(
        self, models: tuple[str, str], loans: Path, tmp_path: Path
    ) -> None:
        files = [explain(model, loans, tmp_path / f"{model}.parquet") for model in models]
        told = compared(
            reference=files[0],
            current=files[1],
            reference_model_id=models[0],
            current_model_id=models[1],
            thresholds={"psi": 0.2, "driver_shift": 0},
            output_uri=str(tmp_path / "drift.json"),
        )

        then, now = map(pd.read_parquet, files)
        edges = np.quantile(then["prediction"], np.arange(1, 10) / 10, method="inverted_cdf")
        before, after = (
            np.bincount(np.searchsorted(edges, side["prediction"]), minlength=10) for side in (then, now)
        )
        r, c = before / 200, np.maximum(after, 0.5) / 200
        assert told["psi"] == pytest.approx(np.sum((c - r) * np.log(c / r)))
        drivers = [name for name in then.columns if name.startswith("driver_")]
        means = [side[drivers].abs().mean() for side in (then, now)]
        shares = [side / side.sum() for side in means]
        assert told["driver_rank_correlation"] == pytest.approx(stats.spearmanr(*means).statistic)
        assert told["driver_shift"] == pytest.approx((shares[1] - shares[0]).abs().sum() / 2)
        moved = (shares[1] - shares[0]).abs().idxmax().removeprefix("driver_")
        assert told["shifted_features"][0] == moved
        assert told["verdict"] == "drift"
        assert "driver_shift" in told["crossed"]
        assert (told["reference_rows"], told["current_rows"]) == (200, 200)
        found = written(tmp_path / "drift.json")
        assert {name: told[name] for name in found.figures} == found.figures
        assert found.drivers is not None
        assert len(found.drivers.features) == len(drivers)

    def test_are_compared_by_their_global_drivers_alone(
        self, models: tuple[str, str], local_server: LocalServer
    ) -> None:
        told = compared(reference_model_id=models[0], current_model_id=models[1])
        with ClearTrace(local_server.base_url, local_server.api_key) as client:
            shares = [
                pd.Series(dict(zip(answer.feature_names, answer.global_drivers, strict=True)))
                for answer in (client.load(model).interpret() for model in models)
            ]
        assert told["global_driver_rank_correlation"] == pytest.approx(stats.spearmanr(*shares).statistic)
        assert told["global_driver_shift"] == pytest.approx((shares[1] - shares[0]).abs().sum() / 2)
        assert told["verdict"] == "not judged"
        assert "psi" not in told

    def test_that_are_one_do_not_drift(self, models: tuple[str, str]) -> None:
        told = compared(
            reference_model_id=models[0],
            current_model_id=models[0],
            thresholds={"global_driver_rank_correlation": 1, "global_driver_shift": 0},
            on_drift="fail",
        )
        assert told["verdict"] == "stable"

    def test_that_do_not_exist_are_named(self) -> None:
        with pytest.raises(NotFoundError, match="compare-nobody"):
            compared(reference_model_id="compare-nobody", current_model_id="compare-nobody")


class TestOutputs:
    def test_of_every_layout_and_format_give_the_same_figures(
        self, models: tuple[str, str], loans: Path, tmp_path: Path
    ) -> None:
        wide = [explain(model, loans, tmp_path / f"{model}.parquet") for model in models]
        parts = explain(models[0], loans, f"{tmp_path}/parts/", part_rows=60, format="jsonl")
        lines = explain(models[1], loans, tmp_path / "long.csv", layout="long")
        one = compared(reference=wide[0], current=wide[1])
        other = compared(reference=parts, current=lines)
        for name in ("psi", "driver_rank_correlation", "driver_shift"):
            assert other[name] == pytest.approx(one[name], rel=1e-6)

    def test_with_personas_and_rules_tell_whom_the_old_reasons_still_fit(
        self, models: tuple[str, str], loans: Path, tmp_path: Path
    ) -> None:
        half = tmp_path / "half.csv"
        pd.read_csv(loans).iloc[100:].to_csv(half, index=False)
        options: dict[str, Any] = {"with_persona": True, "rule_kwargs": {}, "columns": ["*"]}
        then = explain(models[0], loans, tmp_path / "then.parquet", **options)
        now = explain(models[0], half, tmp_path / "now.jsonl", **options)
        told = compared(reference=then, current=now, output_uri=str(tmp_path / "drift.json"))

        personas = pd.read_parquet(then)["persona"].value_counts(normalize=True)
        current = pd.read_json(now, lines=True)["persona"].value_counts(normalize=True)
        difference = current.reindex(personas.index, fill_value=0) - personas
        assert told["persona_shift"] == pytest.approx(difference.abs().sum() / 2)
        rules = written(tmp_path / "drift.json").rules
        assert rules is not None
        # Each of these rows is among the reference's, and a rule of its own holds for it.
        assert told["shared_rule_rate"] == rules.current_rows_with_rules / 100 > 0.5
        assert told["rule_match_rate"] >= told["shared_rule_rate"]


class TestRefused:
    def test_half_a_comparison(self) -> None:
        with pytest.raises(ValidationError, match="reference needs current"):
            compared(reference="then.parquet")
        with pytest.raises(ValidationError, match="current_model_id needs reference_model_id"):
            compared(current_model_id="model")
        with pytest.raises(ComparisonError, match="nothing to compare"):
            compared()

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"thresholds": {"psy": 0.2}}, "'psy' is none of psi, driver_rank_correlation"),
            ({"thresholds": {"psi": "0.2"}}, "psi must be a number"),
            ({"on_drift": "shrug"}, "on_drift must be one of"),
            ({"on_drift": "fail"}, "on_drift='fail' needs thresholds"),
            ({"on_drift": "branch", "thresholds": {"psi": 1}}, "need each other"),
            ({"stable_task_ids": "go"}, "need each other"),
            ({"bins": 1}, "bins must be 2 to 100, not 1"),
            ({"bins": 2.5}, r"bins must be 2 to 100, not 2\.5"),
        ],
    )
    def test_arguments_that_cannot_work(self, options: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            ClearTraceCompareOperator(task_id="compare", **options)

    def test_a_place_that_is_no_json_file(self) -> None:
        with pytest.raises(StorageError, match=r"drift\.html: a comparison is a \.json file"):
            compared(reference="a.csv", current="b.csv", output_uri="drift.html")

    def test_a_place_within_what_is_compared(self, tmp_path: Path) -> None:
        (tmp_path / "rows").mkdir()
        with pytest.raises(StorageError, match="would replace the data it is made from, or lie within it"):
            compared(reference=f"{tmp_path}/rows/", current="b.csv", output_uri=f"{tmp_path}/rows/drift.json")

    def test_gradients_and_contributions(self, models: tuple[str, str], loans: Path, tmp_path: Path) -> None:
        reference = Path(explain(models[0], loans, tmp_path / "a.csv"))
        (tmp_path / "b.csv").write_bytes(reference.read_bytes())
        manifest = json.loads((tmp_path / ".a.csv.manifest.json").read_text())
        manifest["made_by"]["asked"]["raw_gradient"] = True
        (tmp_path / ".b.csv.manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(ComparisonError, match="made with raw_gradient=True, the reference's with False"):
            compared(reference=str(reference), current=f"{tmp_path}/b.csv")

    def test_a_branch_that_the_dag_does_not_have(self) -> None:
        with DAG("misspelt", schedule=None):
            operator = ClearTraceCompareOperator(
                task_id="compare",
                reference="then.parquet",
                current="now.parquet",
                thresholds={"psi": 0.2},
                on_drift="branch",
                drift_task_ids="alram",
            )
        with pytest.raises(ValidationError, match="no task or task group 'alram'"):
            operator.execute(context("compare"))


def frame(mean: float) -> pd.DataFrame:
    random = np.random.default_rng(0)
    return pd.DataFrame({"row": range(500), "prediction": random.normal(mean, 1, 500)})


def test_a_drift_that_fails_says_what_moved_and_leaves_its_figures(tmp_path: Path) -> None:
    frame(0).to_parquet(tmp_path / "then.parquet")
    frame(1).to_parquet(tmp_path / "now.parquet")
    operator = ClearTraceCompareOperator(
        task_id="compare",
        reference=str(tmp_path / "then.parquet"),
        current=str(tmp_path / "now.parquet"),
        thresholds={"psi": 0.2},
        on_drift="fail",
        output_uri=str(tmp_path / "drift.json"),
    )
    running = context("compare")
    with pytest.raises(AirflowFailException, match=r"drift: psi [0-9.]+ is above 0\.2; details: .*json"):
        operator.execute(running)
    assert running["ti"].xcom["return_value"]["verdict"] == "drift"
    assert running["ti"].xcom["crossed"] == ["psi"]
    assert written(tmp_path / "drift.json").verdict == "drift"


def test_outputs_and_the_result_may_lie_on_s3(s3: Any, tmp_path: Path) -> None:
    for name, mean in (("then", 0), ("now", 1)):
        frame(mean).to_parquet(tmp_path / name)
        s3.upload_file(str(tmp_path / name), BUCKET, f"{name}/part-0.parquet")
    told = compared(
        reference=f"s3://{BUCKET}/then/",
        current=f"s3://{BUCKET}/now/part-0.parquet",
        thresholds={"psi": 0.2},
        output_uri=f"s3://{BUCKET}/drift.json",
    )
    found = Comparison.model_validate_json(s3.get_object(Bucket=BUCKET, Key="drift.json")["Body"].read())
    assert found.figures["psi"] == told["psi"] > 0.5
    assert found.verdict == told["verdict"] == "drift"


def test_lineage_leads_from_both_sides_to_the_comparison(connection: LocalServer) -> None:
    operator = ClearTraceCompareOperator(
        task_id="compare",
        reference="s3://lake/then/",
        current="s3://lake/now.parquet",
        reference_model_id="champion",
        current_model_id="challenger",
        output_uri="s3://lake/drift.json",
    )
    host = connection.base_url.removeprefix("http://")
    assert operator.read_uris() == [
        f"cleartrace://{host}/models/champion",
        f"cleartrace://{host}/models/challenger",
        "s3://lake/then",
        "s3://lake/now.parquet",
    ]
    assert operator.made_uris() == ["s3://lake/drift.json"]


STATES = """
import json, sys
from airflow.models import TaskInstance
from airflow.utils.session import create_session
try:
    from airflow.models.xcom import XComModel as XCom
except ImportError:
    from airflow.models.xcom import XCom
with create_session() as session:
    states = {ti.task_id: [str(ti.state), ti.try_number] for ti in session.query(TaskInstance)}
    rows = session.query(XCom).filter(XCom.key == "return_value", XCom.task_id.in_(sys.argv[1:]))
    told = {row.task_id: row.value for row in rows}
for task, value in told.items():
    while isinstance(value, (bytes, str)):  # as each version of Airflow stores it
        value = json.loads(value)
    told[task] = value
print("recorded " + json.dumps([states, told]))
"""


def run_of(airflow: Airflow, *tasks: str) -> Run:
    """The state and tries of every task, and what some tasks returned."""
    (line,) = (line for line in airflow.python(STATES, *tasks).splitlines() if line.startswith("recorded "))
    states, told = json.loads(line.removeprefix("recorded "))
    return states, told


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, local_server: LocalServer) -> Path:
    """The home of an Airflow with a database and the files that are compared."""
    airflow = Airflow(tmp_path_factory.mktemp("drifting"), local_server, DAGS)
    airflow("db", "migrate")
    airflow.output.mkdir()
    for name, mean in (("reference", 0), ("same", 0), ("moved", 1)):
        frame(mean).to_parquet(airflow.output / f"{name}.parquet")
    return airflow.home


@pytest.fixture(scope="module")
def ran(home: Path, local_server: LocalServer) -> Run:
    """What became of each task of the DAG."""
    airflow = Airflow(home, local_server, DAGS)
    airflow("dags", "test", "drifting", fails=True)  # the exit code tells of the failing task
    return run_of(airflow, "drift_on_drift.alarm", "stable_if_stable", "drift_branch", "after_failure")


class TestOnARealAirflow:
    def test_the_branch_of_the_verdict_is_followed_and_the_other_skipped(self, ran: Run) -> None:
        states = {task: state for task, (state, _) in ran[0].items()}
        assert states["drift_on_drift.alarm"] == states["stable_if_stable"] == "success"
        assert states["drift_if_stable"] == states["stable_on_drift.alarm"] == "skipped"
        assert states["drift_join"] == states["stable_join"] == "success"

    def test_the_manifest_reaches_the_branch(self, ran: Run) -> None:
        _, told = ran
        assert told["drift_on_drift.alarm"] == ["psi"]
        assert told["stable_if_stable"]["verdict"] == "stable"
        assert told["drift_branch"]["verdict"] == "drift"

    def test_a_failure_is_not_retried_and_its_figures_reach_the_tasks_behind(self, ran: Run) -> None:
        states, told = ran
        assert states["failing"] == ["failed", 1]
        assert told["after_failure"]["crossed"] == ["psi"]


def test_the_example_runs_to_a_verdict(home: Path, local_server: LocalServer) -> None:
    airflow = Airflow(home, local_server, ROOT / "example_dags")
    airflow("dags", "test", "drift")

    states, told = run_of(airflow, "compare")
    verdict = told["compare"]["verdict"]
    followed, skipped = ("review", "promote") if verdict == "drift" else ("promote", "review")
    assert states[followed][0] == "success"
    assert states[skipped][0] == "skipped"
    (found,) = airflow.output.glob("*/drift.json")
    assert written(found).verdict == verdict
