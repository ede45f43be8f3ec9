"""A job is submitted once for what is asked, and a clear, a retry and a doubt end as they should."""

from __future__ import annotations

import asyncio
import hashlib
import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowNotFoundException,
    TaskDeferred,
)

from airflow_provider_cleartrace.api.errors import (
    AuthenticationError,
    JobStalledError,
    ServerError,
    SubmitInDoubtError,
    ValidationError,
)
from airflow_provider_cleartrace.client import ClearTrace, jobs, submitting
from airflow_provider_cleartrace.operators.analysis import (
    ClearTraceNarrativeOperator,
    ClearTraceSegmentOperator,
)
from airflow_provider_cleartrace.operators.jobs import operator as lifecycle
from airflow_provider_cleartrace.operators.jobs.record import STATE_KEY
from airflow_provider_cleartrace.operators.training import (
    ClearTraceDistillOperator,
    ClearTraceFitOperator,
    ClearTraceUploadOperator,
)
from airflow_provider_cleartrace.storage.errors import StorageError
from airflow_provider_cleartrace.triggers.job import ClearTraceJobTrigger
from tests.integration.airflow_tasks import Store, context, fire, run, through_json
from tests.integration.fault_proxy import (
    Exchange,
    Fault,
    FaultProxy,
    Rule,
    answered,
    fault_proxy,
    meanwhile,
    passed_on,
    reset,
)
from tests.integration.local_server import LocalServer

CREDIT = Path(__file__).parents[2] / "example_dags" / "data" / "german_credit.csv"
GOLDEN = Path(__file__).parents[1] / "unit" / "airflow" / "golden"
FAST = {"mode": "fast", "n_hyperopt_steps": 1}
LONG = {"n_hyperopt_steps": 500}
STATUS = "GET /v1/models/{model_id}/status"
FIT = "POST /v1/fit"
CANCEL = "DELETE /v1/models/{model_id}/job"

modes = pytest.mark.parametrize("deferrable", [False, True], ids=["blocking", "deferrable"])


class BrokenStore:
    def __getattr__(self, name: str) -> Callable[..., Any]:
        def fail(*_: Any) -> Any:
            raise RuntimeError("the supervisor is gone")

        return fail


class Task:
    """One task instance, tried, retried and cleared."""

    def __init__(self, build: Callable[[], Any], store: Any = None, retries: int = 3) -> None:
        self._build, self._store, self._retries = build, store, retries
        self._run_id = uuid.uuid4().hex
        self._tries, self._max_tries = 0, retries

    def clear(self) -> None:
        """What Airflow does with a cleared task instance."""
        self._max_tries = self._tries + self._retries

    def context(self) -> Any:
        told = context(run_id=self._run_id, try_number=self._tries, max_tries=self._max_tries)
        return told | ({"task_state_store": self._store} if self._store else {})

    def _operator(self) -> Any:
        operator = self._build()
        operator.retries = self._retries
        return operator

    def attempt(self) -> dict[str, Any]:
        """A try that goes its whole way."""
        self._tries += 1
        return run(self._operator, self.context())

    def crash(self) -> str:
        """A try whose worker dies after the submit, before anything is waited for; tells the model."""
        self._tries += 1
        operator = self._operator()
        operator.deferrable = True
        with pytest.raises(TaskDeferred) as deferred:
            operator.execute(self.context())
        return str(deferred.value.trigger.model_id)


def fit(**arguments: Any) -> ClearTraceFitOperator:
    return ClearTraceFitOperator(
        **{"task_id": "fit", "data": str(CREDIT), "target": "good_credit", "config": FAST} | arguments
    )


@pytest.fixture
def service(local_server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """The shared server, seen through a proxy that counts and spoils."""
    with fault_proxy(local_server.base_url, local_server.api_key, "task-key") as proxy:
        monkeypatch.setenv(
            "AIRFLOW_CONN_CLEARTRACE_DEFAULT",
            json.dumps(
                {
                    "conn_type": "cleartrace",
                    "host": proxy.url,
                    "password": "task-key",
                    "extra": {"poll_interval": 0.1},
                }
            ),
        )
        yield proxy


@pytest.fixture
def named(local_server: LocalServer) -> Iterator[str]:
    """A model id of the author's choice, whose job is ended when the test is over."""
    model_id = f"mine-{uuid.uuid4().hex[:8]}"
    yield model_id
    with client(local_server) as ended:
        ended.load(model_id).cancel()


def client(server: LocalServer) -> ClearTrace:
    return ClearTrace(server.base_url, server.api_key, poll_interval=0.05)


def status_of(server: LocalServer, model_id: str) -> str:
    with client(server) as asked:
        return asked.load(model_id).status.status


def nameless(word: str | None = None) -> Callable[[Exchange], None]:
    """A service that has one status for each model, and does not say of which job; it may hide the word."""

    def fault(exchange: Exchange) -> None:
        handler = exchange._handler
        handler.path = handler.path.partition("?")[0]
        status, headers, content = exchange.forward()
        told = json.loads(content)
        if status == 200:
            told |= {"job": None, "job_id": None, "progress": None}
            if word and told["status"] == "running":
                told["status"] = word
        exchange.answer(status, json.dumps(told).encode(), headers)

    return fault


def always(fault: Callable[[Exchange], None]) -> Rule:
    return Rule(STATUS, fault, last=float("inf"))


class TestAClear:
    def test_finds_the_model_again_by_default(self, service: FaultProxy) -> None:
        task = Task(fit)
        first = task.attempt()
        task.clear()
        assert task.attempt()["model_id"] == first["model_id"]
        assert service.passed[FIT] == 1

    def test_trains_anew_with_restart_and_a_retry_does_not(self, service: FaultProxy) -> None:
        task = Task(lambda: fit(on_existing="restart"))
        first = task.attempt()
        assert task.attempt()["model_id"] == first["model_id"]
        task.clear()
        second = task.attempt()
        assert second["model_id"] != first["model_id"]
        assert task.attempt()["model_id"] == second["model_id"]
        assert service.passed[FIT] == 2

    def test_ends_the_running_job_before_it_restarts(
        self, service: FaultProxy, local_server: LocalServer
    ) -> None:
        task = Task(lambda: fit(on_existing="restart", config=LONG))
        first = task.crash()
        task.clear()
        second = task.crash()
        assert status_of(local_server, first) == "failed"
        assert status_of(local_server, second) != "failed"
        with client(local_server) as ended:
            ended.load(second).cancel()

    def test_is_refused_with_fail_and_a_retry_is_not(self, service: FaultProxy) -> None:
        task = Task(lambda: fit(on_existing="fail"))
        first = task.attempt()
        assert task.attempt()["model_id"] == first["model_id"]
        task.clear()
        for _ in range(2):
            with pytest.raises(AirflowFailException, match=first["model_id"]) as refused:
                task.attempt()
        assert f"see {service.url}/#{first['model_id']}" in str(refused.value)
        assert service.passed[FIT] == 1

    def test_of_a_failed_task_is_not_refused(self, tmp_path: Path, service: FaultProxy) -> None:
        path = tmp_path / "ragged.csv"
        path.write_text("x,y\n" + "1,2\n" * 30 + "1,2,3\n")
        task = Task(lambda: fit(data=str(path), target="y", on_existing="fail"))
        with pytest.raises(Exception, match="ragged"):
            task.attempt()
        task.clear()
        with pytest.raises(Exception, match="ragged"):
            task.attempt()
        assert service.passed[FIT] == 2


class TestAModelIdOfTheAuthor:
    """It says nothing of what was asked for: what is finished under it may be the work of others."""

    def test_that_holds_a_finished_model_is_trained_anew(self, service: FaultProxy, named: str) -> None:
        Task(lambda: fit(model_id=named)).attempt()
        other = Task(lambda: fit(model_id=named, config=FAST | {"random_state": 7})).attempt()
        assert other["model_id"] == named
        assert service.passed[FIT] == 2

    @modes
    def test_is_submitted_once_for_a_task_that_remembers(
        self, service: FaultProxy, named: str, deferrable: bool
    ) -> None:
        store = Store()
        task = Task(lambda: fit(model_id=named, deferrable=deferrable), store)
        assert task.crash() == named
        assert task.attempt()["model_id"] == named
        assert service.passed[FIT] == 1
        assert store.entries == {}

    def test_is_submitted_again_for_another_request(self, service: FaultProxy, named: str) -> None:
        store = Store()
        first = Task(lambda: fit(model_id=named), store)
        first.attempt()
        store.set(STATE_KEY, {"model_id": named, "request": "other", "series": 0, "stage": "submitted"})
        first.attempt()
        assert service.passed[FIT] == 2

    def test_that_is_busy_is_restarted_or_refused_as_the_author_says(
        self, service: FaultProxy, named: str, local_server: LocalServer
    ) -> None:
        Task(lambda: fit(model_id=named, config=LONG)).crash()
        with pytest.raises(AirflowFailException, match=named):
            Task(lambda: fit(model_id=named, on_existing="fail")).attempt()
        assert Task(lambda: fit(model_id=named, on_existing="restart")).attempt()["model_id"] == named
        assert service.passed[CANCEL] == 1
        assert service.passed[FIT] == 2


class TestAnAnalysis:
    @pytest.fixture
    def model_id(self, local_server: LocalServer) -> str:
        with client(local_server) as trained:
            trained.fit(pd.read_csv(CREDIT), target="good_credit", model_id="lifecycle-credit", **FAST)
        return "lifecycle-credit"

    @pytest.mark.parametrize("names_jobs", [True, False], ids=["local", "hosted"])
    def test_is_submitted_once_for_a_task_that_remembers(
        self, service: FaultProxy, model_id: str, names_jobs: bool
    ) -> None:
        if not names_jobs:
            service.rules.append(always(nameless()))
        kpi = uuid.uuid4().hex
        builds: dict[str, Callable[[], Any]] = {
            "segments": lambda: ClearTraceSegmentOperator(
                task_id="s", model_id=model_id, max_clusters=4, n_search_steps=2, kpi_field=kpi
            ),
            "narrative": lambda: ClearTraceNarrativeOperator(
                task_id="n", model_id=model_id, data=str(CREDIT), kpi_name=kpi
            ),
        }
        for artefact, build in builds.items():
            task = Task(build, Store())
            assert task.crash() == model_id
            assert task.attempt()["model_id"] == model_id
            assert service.passed[f"POST /v1/models/{{model_id}}/{artefact}"] == 1

    def test_is_refused_where_there_is_one_and_the_author_says_fail(
        self, service: FaultProxy, model_id: str
    ) -> None:
        def build() -> ClearTraceSegmentOperator:
            return ClearTraceSegmentOperator(
                task_id="s",
                model_id=model_id,
                max_clusters=4,
                n_search_steps=2,
                on_existing="fail",
            )

        Task(
            lambda: ClearTraceSegmentOperator(
                task_id="s", model_id=model_id, min_clusters=2, max_clusters=3, n_search_steps=2
            )
        ).attempt()
        with pytest.raises(AirflowFailException, match="segment of model"):
            Task(build).attempt()


class TestASubmitInDoubt:
    """Its answer is lost, and the service has one status for each model: nothing tells whether it began."""

    SEGMENT = "POST /v1/models/{model_id}/segments"

    @pytest.fixture(autouse=True)
    def hosted(self, service: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> None:
        service.rules.append(always(nameless()))
        monkeypatch.setattr(submitting, "VISIBLE_WITHIN", 0.0)

    @pytest.fixture(params=["fit", "segment"])
    def asked(self, request: pytest.FixtureRequest, named: str) -> tuple[str, Callable[[], Any]]:
        """The second job of its kind on a model: the endpoint of its submit, and the task."""
        Task(lambda: fit(model_id=named)).attempt()
        if request.param == "fit":
            return FIT, lambda: fit(model_id=named, config=FAST | {"random_state": 7})

        def segment(**arguments: Any) -> ClearTraceSegmentOperator:
            return ClearTraceSegmentOperator(
                task_id="s", model_id=named, max_clusters=4, n_search_steps=2, **arguments
            )

        Task(segment).attempt()
        return self.SEGMENT, lambda: segment(kpi_field="other")

    def test_is_told_and_not_repeated_by_a_retry_and_a_clear_submits(
        self, service: FaultProxy, asked: tuple[str, Callable[[], Any]]
    ) -> None:
        endpoint, build = asked
        service.rules.append(Rule(endpoint, answered(504)))
        sent = service.passed[endpoint]
        task = Task(build, Store())

        with pytest.raises(SubmitInDoubtError, match="may have been started"):
            task.attempt()
        with pytest.raises(AirflowFailException, match="Clear the task if there is no such job; see http"):
            task.attempt()
        assert service.passed[endpoint] == sent
        task.clear()
        assert task.attempt()["job"] in endpoint
        assert service.passed[endpoint] == sent + 1

    def test_is_not_retried_where_nothing_is_remembered(
        self, service: FaultProxy, asked: tuple[str, Callable[[], Any]]
    ) -> None:
        endpoint, build = asked
        service.rules.append(Rule(endpoint, reset))
        with pytest.raises(AirflowFailException, match=r"may have been started: .* \(.*no answer from"):
            Task(build).attempt()

    def test_is_retried_after_a_refusal(
        self, service: FaultProxy, asked: tuple[str, Callable[[], Any]]
    ) -> None:
        endpoint, build = asked
        service.rules.append(Rule(endpoint, answered(403)))
        task = Task(build, Store())
        with pytest.raises(AuthenticationError):
            task.attempt()
        assert task.attempt()["job"] in endpoint


class TestAFileThatIsRewrittenMeanwhile:
    """The id, the record and the manifest speak of the file as it was when the try began."""

    ROWS = "x,y\n" + "".join(f"{i % 9},{i % 2}\n" for i in range(60))

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        path = tmp_path / "rows.csv"
        path.write_text(self.ROWS)
        return path

    @pytest.mark.parametrize("rows", [ROWS.replace("8,", "7,"), ROWS[:-4]], ids=["other", "shorter"])
    def test_is_not_trained_on_and_its_retry_takes_it_as_it_is(
        self, service: FaultProxy, named: str, path: Path, rows: str
    ) -> None:
        service.rules.append(Rule("POST /v1/uploads", meanwhile(lambda: path.write_text(rows))))
        task = Task(lambda: fit(data=str(path), target="y", model_id=named))
        with pytest.raises(StorageError, match=r"rows.csv: the file was changed while the task ran"):
            task.attempt()
        assert service.passed[FIT] == service.passed["PUT /uploads"] == 0

        sha256 = hashlib.sha256(rows.encode()).hexdigest()
        assert task.attempt()["fingerprint"] == f"sha256:{sha256}"

    def test_is_not_trained_on_by_a_task_that_resumes_to_submit(
        self, service: FaultProxy, named: str, path: Path
    ) -> None:
        event = {"model_id": named, "ending": "not_started", "receipt": {"fingerprint": "sha256:other"}}
        with pytest.raises(StorageError, match="changed while the task ran"):
            fit(data=str(path), target="y", model_id=named).execute_complete(context(), event)
        assert service.passed[FIT] == 0

    def test_is_not_segmented(self, service: FaultProxy, named: str, path: Path) -> None:
        Task(lambda: fit(data=str(path), target="y", model_id=named)).attempt()
        schema = "GET /v1/models/{model_id}/schema"
        service.rules.append(Rule(schema, meanwhile(lambda: path.write_text(self.ROWS + "1,1\n"))))
        with pytest.raises(StorageError, match="changed while the task ran"):
            Task(lambda: ClearTraceSegmentOperator(task_id="s", model_id=named, data=str(path))).attempt()
        assert service.passed["POST /v1/models/{model_id}/segments"] == 0


class TestPendingOfAnUnnamedJob:
    """The hosted service may say "pending" of an upload alone."""

    @pytest.fixture(autouse=True)
    def hosted(self, service: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> None:
        service.rules.append(always(nameless("pending")))
        monkeypatch.setattr(lifecycle, "UNSTARTED_LIMIT", 0.5)

    def test_is_submitted_at_once_by_the_first_try(self, service: FaultProxy) -> None:
        uploaded = Task(lambda: ClearTraceUploadOperator(task_id="u", data=str(CREDIT))).attempt()
        task = Task(lambda: fit(data=None, model_id=uploaded["model_id"], timeout=60))
        assert task.attempt()["model_id"] == uploaded["model_id"]
        assert service.passed[FIT] == 1

    @modes
    def test_is_waited_for_by_a_retry_and_submitted_when_it_stands_still(
        self, service: FaultProxy, local_server: LocalServer, named: str, deferrable: bool
    ) -> None:
        with client(local_server) as uploading:
            uploading.upload_file(CREDIT, model_id=named)
        task = Task(lambda: fit(model_id=named, deferrable=deferrable))
        task._tries = 1
        assert task.attempt()["model_id"] == named
        assert service.passed[FIT] == 1

    def test_is_submitted_at_once_when_the_try_before_came_no_further_than_its_upload(
        self, service: FaultProxy, named: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(lifecycle, "UNSTARTED_LIMIT", 3600.0)
        store = Store()
        service.rules.append(Rule("PUT /uploads", lambda exchange: exchange.answer(403, b""), last=99))
        task = Task(lambda: fit(model_id=named), store)
        with pytest.raises(Exception, match="upload refused"):
            task.attempt()
        assert store.get(STATE_KEY)["stage"] == "uploading"
        service.rules.pop()
        assert task.attempt()["model_id"] == named
        assert service.passed[FIT] == 1

    @modes
    def test_is_believed_of_a_job_that_was_submitted(
        self, service: FaultProxy, named: str, deferrable: bool
    ) -> None:
        task = Task(lambda: fit(model_id=named, deferrable=deferrable), Store())
        task.crash()
        assert task.attempt()["model_id"] == named
        assert service.passed[FIT] == 1


class TestTheStateStore:
    def test_that_fails_never_fails_the_task(self, service: FaultProxy) -> None:
        assert Task(fit, BrokenStore()).attempt()["job"] == "fit"

    def test_is_empty_after_a_success_and_keeps_the_submit_until_then(
        self, service: FaultProxy, named: str
    ) -> None:
        store = Store()
        task = Task(lambda: fit(model_id=named), store)
        task.crash()
        assert store.get(STATE_KEY)["stage"] == "submitted"
        task.attempt()
        assert store.entries == {}


class TestAJobThatStandsStill:
    @modes
    def test_is_given_up_and_cancelled(
        self, service: FaultProxy, named: str, local_server: LocalServer, deferrable: bool
    ) -> None:
        service.rules.append(always(nameless("pending")))
        with pytest.raises(JobStalledError, match=r"no progress for .* it was cancelled; see http"):
            Task(lambda: fit(model_id=named, config=LONG, stall_timeout=0.5, deferrable=deferrable)).attempt()
        assert status_of(local_server, named) == "failed"


class TestTheLastLook:
    @pytest.mark.parametrize("ending", ["timeout", "stalled", "lost", "refused"])
    def test_finds_the_job_that_ended_while_nobody_looked(self, service: FaultProxy, ending: str) -> None:
        done = Task(fit).attempt()
        event = {"model_id": done["model_id"], "ending": ending, "reason": "r", "elapsed": 9.0}
        resumed = fit().execute_complete(context(), event | {"receipt": {"data": "d"}})
        assert resumed["model_id"] == done["model_id"]
        assert service.passed[CANCEL] == 0


class TestAJobThatSeemedNeverToStart:
    """The trigger has given up on "pending", and the task is resumed some time later."""

    def resumed(self, model_id: str, **arguments: Any) -> Any:
        event = {"model_id": model_id, "ending": "not_started", "reason": "r", "elapsed": 9.0}
        operator = fit(model_id=model_id, **arguments)
        return operator.execute_complete(context(), event | {"receipt": {"data": "d"}})

    def test_is_taken_when_it_has_ended_since(self, service: FaultProxy) -> None:
        done = Task(fit).attempt()["model_id"]
        assert self.resumed(done)["model_id"] == done
        assert service.passed[FIT] == 1

    def test_is_waited_for_when_it_runs_by_now(self, service: FaultProxy, named: str) -> None:
        Task(lambda: fit(model_id=named, config=LONG)).crash()
        service.rules.append(Rule(STATUS, answered(200, {"model_id": named, "status": "running"})))
        with pytest.raises(TaskDeferred) as deferred:
            self.resumed(named, deferrable=True)
        assert deferred.value.trigger.unstarted_timeout is None
        assert service.passed[FIT] == 1
        assert service.passed[CANCEL] == 0

    def test_is_not_submitted_where_the_look_fails(self, service: FaultProxy, named: str) -> None:
        service.rules.append(Rule(STATUS, answered(503), last=99))
        with pytest.raises(ServerError):
            self.resumed(named)
        assert service.passed[FIT] == 0

    def test_is_submitted_when_nobody_knows_it(self, service: FaultProxy, named: str) -> None:
        with pytest.raises(TaskDeferred):
            self.resumed(named, deferrable=True)
        assert service.passed[FIT] == 1


class TestAKill:
    """Airflow 3 calls `on_kill` in the midst of a task and lets it run on, until it ends the process."""

    UPLOAD = "PUT /uploads"
    SEGMENT = "POST /v1/models/{model_id}/segment"

    def killed(self, service: FaultProxy, endpoint: str, operator: Any, then: Fault = passed_on) -> str:
        service.rules.append(Rule(endpoint, meanwhile(operator.on_kill, then)))
        with pytest.raises(AirflowException, match="killed") as told:
            operator.execute(context(run_id=uuid.uuid4().hex))
        return str(told.value)

    @modes
    def test_during_the_upload_submits_nothing(
        self, service: FaultProxy, named: str, deferrable: bool
    ) -> None:
        told = self.killed(service, self.UPLOAD, fit(model_id=named, deferrable=deferrable))
        assert told == f"killed before fit of model {named!r} was submitted"
        assert service.passed[FIT] == service.passed[CANCEL] == 0

    def test_during_the_last_look_before_the_submit_submits_nothing(
        self, service: FaultProxy, named: str
    ) -> None:
        operator = fit(model_id=named)
        service.rules.append(Rule(STATUS, meanwhile(operator.on_kill), after=self.UPLOAD))
        with pytest.raises(AirflowException, match="before fit"):
            operator.execute(context())
        assert service.passed[FIT] == service.passed[CANCEL] == 0

    @modes
    def test_during_the_submit_ends_the_job(
        self, service: FaultProxy, named: str, local_server: LocalServer, deferrable: bool
    ) -> None:
        operator = fit(model_id=named, config=LONG, deferrable=deferrable)

        def kill_after_effect(exchange: Exchange) -> None:
            status, headers, content = exchange.forward()
            operator.on_kill()
            exchange.answer(status, content, headers)

        service.rules.append(Rule(FIT, kill_after_effect))
        with pytest.raises(AirflowException, match=f"killed; fit of model '{named}': it was cancelled"):
            operator.execute(context())
        assert status_of(local_server, named) == "failed"
        assert (service.passed[FIT], service.passed[CANCEL]) == (1, 1)

    def test_that_comes_before_the_submit_reaches_the_server_ends_the_job_afterwards(
        self, service: FaultProxy, named: str, local_server: LocalServer
    ) -> None:
        told = self.killed(service, FIT, fit(model_id=named, config=LONG))
        assert "it was cancelled" in told
        assert status_of(local_server, named) == "failed"
        assert service.passed[FIT] == 1

    def test_leaves_the_job_where_the_author_wants_that(self, service: FaultProxy, named: str) -> None:
        told = self.killed(service, FIT, fit(model_id=named, config=LONG, cancel_on_kill=False))
        assert "it may still run" in told
        assert service.passed[CANCEL] == 0

    def test_during_the_wait_cancels_the_job(
        self, service: FaultProxy, named: str, local_server: LocalServer
    ) -> None:
        operator = fit(model_id=named, config=LONG, timeout=60)
        service.rules.append(Rule(STATUS, meanwhile(operator.on_kill), after=FIT))
        with pytest.raises(AirflowException, match=f"killed; fit of model '{named}': it was cancelled"):
            operator.execute(context())
        assert (service.passed[FIT], service.passed[CANCEL]) == (1, 1)

    def test_ends_the_wait_for_a_job_that_is_left_running(
        self, service: FaultProxy, named: str, local_server: LocalServer
    ) -> None:
        operator = fit(model_id=named, config=LONG, timeout=60, poll_interval=30, cancel_on_kill=False)
        service.rules.append(Rule(STATUS, meanwhile(operator.on_kill), after=FIT))
        with pytest.raises(AirflowException, match=r"killed; .* it may still run"):
            operator.execute(context())
        assert status_of(local_server, named) in {"pending", "running"}

    def test_after_the_task_was_deferred_leaves_the_job_to_the_trigger(
        self, service: FaultProxy, named: str
    ) -> None:
        operator = fit(model_id=named, config=LONG, deferrable=True)
        with pytest.raises(TaskDeferred):
            operator.execute(context())
        operator.on_kill()
        assert service.passed[CANCEL] == 0

    def test_while_an_analysis_reads_its_rows_leaves_the_jobs_of_others_alone(
        self, service: FaultProxy, named: str
    ) -> None:
        Task(lambda: fit(model_id=named)).attempt()
        operator = ClearTraceSegmentOperator(
            task_id="s", model_id=named, data=str(CREDIT), max_clusters=4, n_search_steps=2
        )
        told = self.killed(service, "GET /v1/models/{model_id}/schema", operator)
        assert "before segment" in told
        assert service.passed[self.SEGMENT] == service.passed[CANCEL] == 0

    def test_asks_airflow_for_nothing_and_does_not_wait_long(
        self, service: FaultProxy, named: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        operator = fit(model_id=named, config=LONG, timeout=60)
        monkeypatch.setattr(jobs, "CANCEL_TIMEOUT", 0.5)
        service.rules.append(Rule(CANCEL, lambda exchange: exchange.trickle(b"{}" * 99, 0.1), last=99))

        def kill() -> None:
            monkeypatch.delenv("AIRFLOW_CONN_CLEARTRACE_DEFAULT")
            operator.on_kill()
            service.rules.clear()
            with ClearTrace(service.url, service.key) as ended:
                ended.load(named).cancel()

        service.rules.append(Rule(STATUS, meanwhile(kill), after=FIT))
        with pytest.raises(AirflowException, match="killed"):
            operator.execute(context())
        # Those of the kill, that of the test, and that of the task when it ends.
        assert len(service.times[CANCEL]) == 1 + jobs.CANCEL_RETRIES + 1 + 1
        assert service.trickled_out == 0


class TestTheTriggerer:
    def test_may_run_two_copies_of_a_trigger(self, service: FaultProxy, named: str) -> None:
        Task(lambda: fit(model_id=named)).crash()
        trigger = ClearTraceJobTrigger(
            named, "fit", "cleartrace_default", started=0.0, poll_interval=0.1, cancel_on_kill=True
        )

        async def both() -> list[Any]:
            return await asyncio.gather(*(anext(through_json(trigger).run()) for _ in range(2)))

        assert [event.payload["ending"] for event in asyncio.run(both())] == ["completed"] * 2
        assert service.passed[CANCEL] == 0
        assert service.passed[FIT] == 1

    def test_lets_a_job_be_that_has_ended_before_the_kill(self, service: FaultProxy, named: str) -> None:
        """Airflow tells a triggerer that slept of the end of a wait that another one has taken over."""
        fit(model_id=named).execute(context())
        trigger = ClearTraceJobTrigger(named, "fit", "cleartrace_default", started=0.0, cancel_on_kill=True)
        asyncio.run(trigger.on_kill())
        assert service.passed[CANCEL] == 0

    @pytest.mark.parametrize("ends", ["cleanup", "cancellation"])
    def test_cancels_nothing_when_it_stops(self, service: FaultProxy, named: str, ends: str) -> None:
        Task(lambda: fit(model_id=named, config=LONG)).crash()
        trigger = ClearTraceJobTrigger(
            named, "fit", "cleartrace_default", started=0.0, poll_interval=0.1, cancel_on_kill=True
        )

        async def stop() -> None:
            looked, loop = asyncio.Event(), asyncio.get_running_loop()
            noticed = meanwhile(lambda: loop.call_soon_threadsafe(looked.set))
            service.rules.append(Rule(STATUS, noticed, after=FIT))
            looking = asyncio.ensure_future(anext(trigger.run()))
            await looked.wait()
            if ends == "cancellation":
                looking.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await looking
            await trigger.cleanup()
            looking.cancel()

        asyncio.run(stop())
        assert service.passed[CANCEL] == 0

    def test_finishes_what_the_first_release_deferred(self, service: FaultProxy) -> None:
        done = Task(fit).attempt()["model_id"]
        kwargs = json.loads((GOLDEN / "trigger-0.1.0.json").read_text())["kwargs"]
        event = fire(ClearTraceJobTrigger(**kwargs | {"model_id": done}))
        golden = json.loads((GOLDEN / "event-0.1.0.json").read_text())
        assert golden.keys() <= event.keys()
        for told in (event, golden | {"model_id": done}):
            assert fit().execute_complete(context(), told)["fingerprint"] == "sha256:aa"


class TestWhatCannotWork:
    def test_fails_at_parse_time(self) -> None:
        for name in ("timeout", "stall_timeout", "poll_interval"):
            for value in (0, -1, "60", True):
                with pytest.raises(ValidationError, match=name):
                    fit(**{name: value})
        for name, value in {"min_clusters": 1, "max_clusters": 3, "n_search_steps": 0}.items():
            with pytest.raises(ValidationError, match=name):
                ClearTraceSegmentOperator(task_id="s", model_id="m", **{name: value})
        with pytest.raises(ValidationError, match="max_tool_calls"):
            ClearTraceNarrativeOperator(task_id="n", model_id="m", data="d", kpi_name="k", max_tool_calls=-1)

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            ({"on_existing": "replace"}, "on_existing"),
            ({"poll_interval": 0.1, "cancel_on_kill": object()}, "cancel_on_kill must be plain JSON"),
        ],
    )
    def test_fails_before_anything_is_paid_for(
        self, service: FaultProxy, arguments: dict[str, Any], told: str
    ) -> None:
        with pytest.raises(ValidationError, match=told):
            Task(lambda: fit(deferrable=True, **arguments)).attempt()
        assert service.passed[FIT] == 0
        assert service.passed["POST /v1/uploads"] == 0

    @pytest.mark.parametrize("teacher", [None, '{"conn_type": "http", "password": "teacher-key"}'])
    def test_of_a_teacher_s_connection_fails_before_anything_is_uploaded(
        self, service: FaultProxy, monkeypatch: pytest.MonkeyPatch, teacher: str | None
    ) -> None:
        if teacher:
            monkeypatch.setenv("AIRFLOW_CONN_TEACHER", teacher)
        store = Store()
        task = Task(
            lambda: ClearTraceDistillOperator(task_id="d", data=str(CREDIT), predict_conn_id="teacher"), store
        )
        with pytest.raises((AirflowNotFoundException, ValidationError), match="teacher"):
            task.attempt()
        assert not service.passed
        assert store.entries == {}

    def test_keeps_the_teacher_s_key_out_of_the_identity_and_the_record(
        self, service: FaultProxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked, store = [], Store()
        for key in ("teacher-key", "rotated-key"):
            teacher = {"conn_type": "http", "host": "http://127.0.0.1:9", "password": key}
            monkeypatch.setenv("AIRFLOW_CONN_TEACHER", json.dumps(teacher))
            operator = ClearTraceDistillOperator(
                task_id="d", data=str(CREDIT), predict_conn_id="teacher", deferrable=True
            )
            asked.append(operator.request())
            with pytest.raises(TaskDeferred) as deferred:
                operator.execute(context() | {"task_state_store": store})
            assert key not in json.dumps([store.entries, deferred.value.trigger.serialize()[1]])
        assert asked[0] == asked[1]
