"""Functions decorated as tasks train real models, the same whether the task blocks or defers."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_cleartrace.api.errors import ValidationError
from airflow_provider_cleartrace.client.polling import Ending
from airflow_provider_cleartrace.operators.training import ClearTraceFitOperator
from tests.integration.airflow_command import Airflow
from tests.integration.airflow_tasks import context, run
from tests.integration.local_server import LocalServer
from tests.integration.teacher_server import teacher_server

EXAMPLES = Path(__file__).parents[2] / "example_dags"
CREDIT = EXAMPLES / "data" / "german_credit.csv"
TARGET = "good_credit"
FAST = {"mode": "fast", "n_hyperopt_steps": 1}
COLUMNS = ["duration_in_month", "credit_amount", "purpose", TARGET]

pytestmark = pytest.mark.usefixtures("connection")

modes = pytest.mark.parametrize("deferrable", [False, True], ids=["blocking", "deferrable"])


@pytest.fixture
def loans() -> pd.DataFrame:
    return pd.read_csv(CREDIT, usecols=COLUMNS).head(200)


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go in a test."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def decorated(function: Callable[..., Any], *args: Any, kind: str = "fit", **arguments: Any) -> Any:
    """The operator of a decorated function, as a worker has it."""
    with DAG("taskflow", schedule=None):
        decorator = getattr(task, f"cleartrace_{kind}")(**{"task_id": "train"} | arguments)
        return decorator(function)(*args).operator


class Counted:
    """A function that counts its calls."""

    def __init__(self, returned: Any) -> None:
        self.calls = 0
        self._returned = returned

    def function(self) -> Callable[[], Any]:
        def train() -> Any:
            self.calls += 1
            return self._returned

        return train


@modes
class TestWhatAFunctionReturns:
    def test_a_frame_is_uploaded_and_trained_on(
        self, connection: LocalServer, loans: pd.DataFrame, deferrable: bool, temporary: Path
    ) -> None:
        train = Counted(loans)
        told = run(
            lambda: decorated(train.function(), target=TARGET, config=FAST, deferrable=deferrable),
            context("train"),
        )

        assert train.calls == 1
        assert told["target"] == TARGET
        assert set(told["feature_names"]) == set(COLUMNS) - {TARGET}
        assert told["fingerprint"].startswith("sha256:")
        assert "data" not in told
        assert list(temporary.iterdir()) == []

    def test_a_path_is_uploaded_as_by_the_operator(self, deferrable: bool) -> None:
        arguments: dict[str, Any] = {"target": TARGET, "config": FAST, "deferrable": deferrable}
        plain = run(
            lambda: ClearTraceFitOperator(task_id="path", data=str(CREDIT), **arguments), context("path")
        )
        told = run(lambda: decorated(lambda: CREDIT, task_id="path", **arguments), context("path"))

        unlike = {"elapsed_seconds"}
        assert {k: v for k, v in told.items() if k not in unlike} == {
            k: v for k, v in plain.items() if k not in unlike
        }

    def test_a_dict_gives_any_argument_and_overrides_the_decorator(
        self, connection: LocalServer, loans: pd.DataFrame, deferrable: bool
    ) -> None:
        model_id = f"chosen-{uuid.uuid4().hex[:8]}"
        returned = {
            "data": loans,
            "target": TARGET,
            "model_id": model_id,
            "feature_fields": ["credit_amount"],
            "config": FAST,
        }
        told = run(
            lambda: decorated(lambda: returned, target="of the decorator", deferrable=deferrable), context()
        )

        assert told["model_id"] == model_id
        assert told["feature_names"] == ["credit_amount"]

    def test_a_black_box_is_distilled_on_a_frame(self, deferrable: bool) -> None:
        figures = pd.read_csv(CREDIT, usecols=["duration_in_month", "credit_amount", "age_in_years"])
        with teacher_server() as teacher:
            told = run(
                lambda: decorated(
                    lambda: {"data": figures.head(200), "predict_url": teacher.url},
                    kind="distill",
                    config=FAST,
                    deferrable=deferrable,
                ),
                context(),
            )
        assert told["job"] == "fit_distill"
        assert told["fidelity"]["r2"] > 0.9

    def test_the_next_try_calls_again_and_finds_its_job(
        self, connection: LocalServer, loans: pd.DataFrame, deferrable: bool
    ) -> None:
        train = Counted(loans)
        tries = [
            run(
                lambda: decorated(train.function(), target=TARGET, config=FAST, deferrable=deferrable),
                context("retried", try_number=number, max_tries=1),
            )
            for number in (1, 2)
        ]

        assert train.calls == 2
        assert tries[0]["model_id"] == tries[1]["model_id"]
        assert tries[0]["fingerprint"] == tries[1]["fingerprint"]


def test_a_task_that_is_resumed_does_not_call_the_function_again(loans: pd.DataFrame) -> None:
    def build(function: Callable[[], Any]) -> Any:
        return decorated(function, target=TARGET, config=FAST, deferrable=True)

    def never() -> Any:
        pytest.fail("called on resuming")

    functions = iter([lambda: loans, never])
    assert run(lambda: build(next(functions)), context("resumed"))["target"] == TARGET


def test_a_job_that_was_never_submitted_asks_the_function_again(loans: pd.DataFrame) -> None:
    """Where the service said "pending" of the upload alone, only the resumed task can submit the job."""
    train = Counted(loans)
    model_id = f"unsubmitted-{uuid.uuid4().hex[:8]}"
    event = {"model_id": model_id, "job": "fit", "ending": str(Ending.NOT_STARTED), "receipt": {}}
    operator = decorated(train.function(), target=TARGET, config=FAST, deferrable=False)

    assert operator.execute_complete(context(), event=event)["model_id"] == model_id
    assert train.calls == 1


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("returned", "message"),
        [
            (None, "refused: the function returned nothing as data; return a pandas DataFrame, a path"),
            (7, "refused: the function returned a int as data"),
            ([{"canary": 1}], "refused: the function returned a list as data"),
            ({"data": None}, "refused: the function returned nothing as data"),
            ({"data": str(CREDIT), "epochs": 3}, "returned a dict with epochs; known: config, data,"),
            ({"model_id": "uploaded"}, "refused: give the target"),
            ({"target": TARGET}, "refused: give data to upload, or the model_id"),
            (pd.DataFrame({"x": [1, "canary"]}), "refused: column 'x' of the DataFrame holds"),
        ],
    )
    def test_a_return_value_that_is_no_data_before_anything_is_sent(
        self, monkeypatch: pytest.MonkeyPatch, returned: Any, message: str
    ) -> None:
        monkeypatch.setenv("AIRFLOW_CONN_CLEARTRACE_DEFAULT", '{"host": "http://127.0.0.1:9"}')
        with pytest.raises(ValidationError, match=message) as refused:
            decorated(lambda: returned, task_id="refused").execute(context("refused"))
        assert "canary" not in str(refused.value)

    def test_what_the_function_raises_is_raised(self) -> None:
        def broken() -> Any:
            raise LookupError("no loans today")

        with pytest.raises(LookupError, match="no loans today"):
            decorated(broken, target=TARGET).execute(context())


class TestAsATaskOfADag:
    def test_arguments_are_templated_and_the_context_is_given(self, loans: pd.DataFrame) -> None:
        seen: list[Any] = []

        def train(purpose: str, *, ti: Any = None) -> pd.DataFrame:
            seen.append((purpose, ti.task_id))
            return loans

        operator = decorated(train, "{{ purpose }}", target="{{ wanted }}", config=FAST, deferrable=False)
        told = context("train", run_id=uuid.uuid4().hex)
        operator.render_template_fields(told | {"purpose": "car", "wanted": TARGET})

        assert operator.execute(told)["target"] == TARGET
        assert seen == [("car", "train")]

    def test_it_can_be_overridden_and_mapped(self) -> None:
        with DAG("mapped", schedule=None) as dag:

            @task.cleartrace_fit(target=TARGET, config=FAST)
            def train(purpose: str, year: int) -> str:
                return f"{purpose}-{year}.csv"

            train.override(task_id="patient", timeout=7.0, deferrable=True)("car", 2026)
            train.partial(year=2026).expand(purpose=["car", "tv"])

        assert dag.task_dict["patient"].timeout == 7.0
        assert dag.task_dict["patient"].deferrable
        assert dag.task_dict["train"].partial_kwargs["target"] == TARGET

    def test_each_entry_of_the_manifest_is_an_output(self) -> None:
        with DAG("outputs", schedule=None):

            @task.cleartrace_fit(target=TARGET)
            def train() -> pd.DataFrame:
                raise NotImplementedError

            assert train()["model_id"].operator.multiple_outputs


def test_the_example_dag_runs_to_its_end(tmp_path: Path, connection: LocalServer) -> None:
    dags = tmp_path / "dags"
    (dags / "data").mkdir(parents=True)
    for name in ("taskflow.py", "data/german_credit.csv"):
        shutil.copy(EXAMPLES / name, dags / name)
    airflow = Airflow(tmp_path / "airflow", connection, dags)
    airflow("db", "migrate")

    told = airflow("dags", "test", "taskflow")

    assert "failed" not in told.lower()
    listed = connection.client().get("/v1/models").json()["models"]
    names = sorted(model["model_id"].rpartition("-")[0] for model in listed)
    assert names.count("taskflow-all_loans") == 1
    assert names.count("taskflow-loans_for") == 2
    features = {model["model_id"].rpartition("-")[0]: model["n_features"] for model in listed}
    assert (features["taskflow-all_loans"], features["taskflow-loans_for"]) == (20, 19)
