"""Every operator does its work on a real server, the same whether it blocks or defers."""

from __future__ import annotations

import asyncio
import json
import uuid
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowSkipException, TaskDeferred

from airflow_provider_cleartrace.api.errors import (
    JobFailedError,
    NotFoundError,
    OuterProductError,
    PollTimeoutError,
    ValidationError,
)
from airflow_provider_cleartrace.client import ClearTrace
from airflow_provider_cleartrace.hooks.cleartrace import ClearTraceHook
from airflow_provider_cleartrace.operators.analysis import (
    ClearTraceNarrativeOperator,
    ClearTraceSegmentOperator,
)
from airflow_provider_cleartrace.operators.inference import (
    ClearTraceExplainOperator,
    ClearTraceInterpretOperator,
    ClearTracePredictOperator,
    ClearTraceScenarioOperator,
)
from airflow_provider_cleartrace.operators.training import (
    ClearTraceDistillOperator,
    ClearTraceFitOperator,
    ClearTraceUploadOperator,
)
from airflow_provider_cleartrace.sensors.job import ClearTraceJobSensor
from airflow_provider_cleartrace.storage.errors import StorageError
from airflow_provider_cleartrace.triggers.job import ClearTraceJobTrigger
from tests.integration.airflow_tasks import context, fire, run, through_json
from tests.integration.local_server import LocalServer
from tests.integration.teacher_server import teacher_server

CREDIT = Path(__file__).parents[2] / "example_dags" / "data" / "german_credit.csv"
FAST = {"mode": "fast", "n_hyperopt_steps": 1}

pytestmark = pytest.mark.usefixtures("connection")

modes = pytest.mark.parametrize("deferrable", [False, True], ids=["blocking", "deferrable"])


def client(server: LocalServer) -> ClearTrace:
    return ClearTrace(server.base_url, server.api_key, poll_interval=0.05)


def jobs_submitted(server: LocalServer, model_id: str) -> int:
    """Job starts of a model that the server logged."""
    lines = [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]
    return sum(line["event"] == "job started" and line["model_id"] == model_id for line in lines)


@pytest.fixture(scope="module")
def model_id(local_server: LocalServer) -> str:
    with client(local_server) as trained:
        trained.fit(pd.read_csv(CREDIT), target="good_credit", model_id="operators-credit", **FAST)
    return "operators-credit"


@pytest.fixture
def rows(tmp_path: Path) -> str:
    path = tmp_path / "rows.csv"
    pd.read_csv(CREDIT).head(30).rename_axis("application").to_csv(path)
    return str(path)


class TestTraining:
    def test_an_upload_is_trained_on_by_its_id(self) -> None:
        uploaded = ClearTraceUploadOperator(task_id="upload", data=str(CREDIT)).execute(context("upload"))
        assert uploaded["bytes"] == CREDIT.stat().st_size
        assert uploaded["file_format"] == "csv"
        assert uploaded["fingerprint"].startswith("sha256:")

        fitted = run(
            lambda: ClearTraceFitOperator(
                task_id="fit", model_id=uploaded["model_id"], target="good_credit", config=FAST
            )
        )
        assert fitted["model_id"] == uploaded["model_id"]
        assert fitted["task"] == "binary"
        assert fitted["n_features"] == 20
        assert 0.6 < fitted["metric_validation_auc"] <= 1

    def test_the_same_bytes_are_not_uploaded_twice(self) -> None:
        def upload() -> dict[str, Any]:
            operator = ClearTraceUploadOperator(task_id="upload", data=str(CREDIT))
            return dict(operator.execute(context("upload", run_id="upload-twice")))

        first, second = upload(), upload()
        assert (first.pop("skipped"), second.pop("skipped")) == (False, True)
        assert first == second
        assert first["fingerprint"] == f"sha256:{first['sha256']}"

    def test_both_modes_return_the_same_manifest(self) -> None:
        manifests = [
            run(
                lambda deferrable=deferrable: ClearTraceFitOperator(
                    task_id="fit",
                    data=str(CREDIT),
                    target="good_credit",
                    config=FAST,
                    deferrable=deferrable,
                ),
                context(run_id=f"mode-{deferrable}"),
            )
            for deferrable in (False, True)
        ]
        for manifest in manifests:
            manifest.pop("elapsed_seconds")
            manifest.pop("model_id")
        assert manifests[0] == manifests[1]
        json.dumps(manifests[0])

    @modes
    def test_a_second_execution_of_the_same_request_starts_no_second_job(
        self, local_server: LocalServer, deferrable: bool
    ) -> None:
        def build() -> ClearTraceFitOperator:
            return ClearTraceFitOperator(
                task_id="fit", data=str(CREDIT), target="good_credit", config=FAST, deferrable=deferrable
            )

        told = context(run_id=f"twice-{deferrable}")
        if deferrable:
            with pytest.raises(TaskDeferred):
                build().execute(told)  # the worker dies here: nothing was resumed
        first = run(build, told)
        second = run(build, told)

        assert first["model_id"] == second["model_id"]
        assert jobs_submitted(local_server, first["model_id"]) == 1

    def test_a_failed_job_makes_the_retry_start_the_next_generation(self, tmp_path: Path) -> None:
        path = tmp_path / "ragged.csv"
        path.write_text("x,y\n" + "1,2\n" * 30 + "1,2,3\n")
        told = context(run_id="failing")
        ids = []
        for _ in range(2):
            with pytest.raises(JobFailedError, match="fit") as caught:
                run(lambda: ClearTraceFitOperator(task_id="f", data=str(path), target="y"), told)
            ids.append(caught.value.model_id)
        assert ids[0] != ids[1]

    def test_nothing_is_deferred_when_the_work_is_done_already(self) -> None:
        def build() -> ClearTraceFitOperator:
            return ClearTraceFitOperator(
                task_id="fit", data=str(CREDIT), target="good_credit", config=FAST, deferrable=True
            )

        told = context(run_id="done")
        run(build, told)
        assert build().execute(told)["job"] == "fit"

    def test_a_wait_that_is_too_long_ends_the_job_and_says_so(self, local_server: LocalServer) -> None:
        for deferrable in (False, True):
            told = context(run_id=f"late-{deferrable}")
            with pytest.raises(PollTimeoutError, match="it was cancelled") as caught:
                run(
                    lambda deferrable=deferrable: ClearTraceFitOperator(
                        task_id="fit",
                        data=str(CREDIT),
                        target="good_credit",
                        config={"n_hyperopt_steps": 500},
                        timeout=1.0,
                        deferrable=deferrable,
                    ),
                    told,
                )
            with client(local_server) as asked:
                status = asked.load(caught.value.model_id).status
            assert status.status == "failed"

    def test_a_killed_task_cancels_its_job(self, local_server: LocalServer) -> None:
        with client(local_server) as started:
            started.fit(
                pd.read_csv(CREDIT),
                target="good_credit",
                model_id="killed",
                n_hyperopt_steps=500,
                wait=False,
            )
            operator = ClearTraceFitOperator(task_id="fit", data="x.csv", target="y")
            operator._running, operator._settings = "killed", operator.hook.settings()
            operator.on_kill()
            assert started.status.status == "failed"


class TestDistilling:
    def test_a_student_learns_from_its_teacher_s_endpoint(
        self, local_server: LocalServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        data = tmp_path / "features.parquet"
        pd.read_csv(CREDIT)[["credit_amount", "duration_in_month", "age_in_years"]].to_parquet(data)
        with teacher_server() as teacher:
            monkeypatch.setenv(
                "AIRFLOW_CONN_TEACHER",
                json.dumps({"conn_type": "http", "host": teacher.url, "password": "teacher-key"}),
            )
            told = run(
                lambda: ClearTraceDistillOperator(
                    task_id="distill",
                    data=str(data),
                    predict_conn_id="teacher",
                    config=FAST,
                    deferrable=True,
                )
            )
        assert told["job"] == "fit_distill"
        assert told["fidelity"]["r2"] > 0.9
        assert set(teacher.authorizations) == {"Bearer teacher-key"}
        assert "teacher-key" not in json.dumps(told)


class TestInference:
    @pytest.mark.parametrize("extension", ["parquet", "csv", "jsonl"])
    def test_predictions_carry_the_rows_identity(
        self, model_id: str, rows: str, tmp_path: Path, local_server: LocalServer, extension: str
    ) -> None:
        output = tmp_path / "deep" / f"predictions.{extension}"
        told = ClearTracePredictOperator(
            task_id="predict",
            model_id=model_id,
            data=rows,
            output_uri=str(output),
            id_columns=["application"],
            batch_rows=7,
        ).execute(context())

        read = {
            "parquet": pd.read_parquet,
            "csv": pd.read_csv,
            "jsonl": lambda path: pd.read_json(path, lines=True),
        }
        written = read[extension](output)
        with client(local_server) as asked:
            expected = asked.load(model_id).predict(
                pd.read_csv(rows).drop(columns=["application", "good_credit"])
            )
        assert told["rows"] == 30
        assert [int(value) for value in written["application"]] == list(range(30))
        assert written["prediction"].to_numpy() == pytest.approx(expected)
        assert [path.name for path in output.parent.glob("[!.]*")] == [output.name]

    def test_a_part_of_the_rows_reads_like_all_of_them(
        self, tmp_path: Path, local_server: LocalServer
    ) -> None:
        codes = ["007", "012", "A12", "B01"] * 20
        frame = pd.DataFrame({"code": codes, "y": [float(code in {"007", "A12"}) for code in codes]})
        with client(local_server) as trained:
            trained.fit(frame, target="y", model_id="codes", **FAST)
        predictions = {}
        for name, part in {"all": ["007", "012", "A12"], "digits": ["007", "012"]}.items():
            pd.DataFrame({"id": part, "code": part}).to_csv(tmp_path / f"{name}.csv", index=False)
            ClearTracePredictOperator(
                task_id="predict",
                model_id="codes",
                data=str(tmp_path / f"{name}.csv"),
                output_uri=str(tmp_path / f"{name}.parquet"),
                id_columns=["id"],
            ).execute(context())
            predictions[name] = pd.read_parquet(tmp_path / f"{name}.parquet").set_index("id")["prediction"]
        assert predictions["digits"]["007"] == predictions["all"]["007"]
        assert predictions["digits"]["007"] > 0.5 > predictions["digits"]["012"]

    def test_the_output_never_replaces_its_own_data(self, model_id: str, rows: str) -> None:
        before = Path(rows).read_bytes()
        with pytest.raises(StorageError, match="would replace the data"):
            ClearTracePredictOperator(
                task_id="predict", model_id=model_id, data=rows, output_uri=rows
            ).execute(context())
        assert Path(rows).read_bytes() == before

    def test_explanations_are_one_wide_parquet(self, model_id: str, rows: str, tmp_path: Path) -> None:
        output = tmp_path / "explained.parquet"
        told = ClearTraceExplainOperator(
            task_id="explain", model_id=model_id, data=rows, output_uri=str(output), batch_rows=11
        ).execute(context())

        table = pq.read_table(output)
        assert told["rows"] == table.num_rows == 30
        assert table.column_names[:2] == ["row", "prediction"]
        assert sum(name.startswith("driver_") for name in table.column_names) == 20
        assert sum(name.startswith("agop_") for name in table.column_names) == 20
        assert table["row"].to_pylist() == list(range(30))

    def test_personas_and_rules_are_columns(self, model_id: str, rows: str, tmp_path: Path) -> None:
        output = tmp_path / "explained.parquet"
        ClearTraceExplainOperator(
            task_id="explain",
            model_id=model_id,
            data=rows,
            output_uri=str(output),
            with_persona=True,
            rule_kwargs={},
        ).execute(context())

        frame = pd.read_parquet(output)
        assert frame["persona"].notna().all()
        assert {type(value) for value in frame["persona_cluster_id"].tolist()} == {int}
        assert all(len(rules[0]["conditions"]) for rules in frame["rules"])

    def test_scenarios_are_one_entry_each_with_their_row(
        self, model_id: str, rows: str, tmp_path: Path
    ) -> None:
        output = tmp_path / "scenarios.jsonl"
        told = ClearTraceScenarioOperator(
            task_id="scenario",
            model_id=model_id,
            data=rows,
            output_uri=str(output),
            id_columns=["application"],
            constraints={"age_in_years": {"immutable": True}},
            batch_rows=10,
        ).execute(context())

        written = pd.read_json(output, lines=True)
        assert set(written["application"]) == set(range(30))
        assert told["rows"] == 30
        assert told["rows_written"] == len(written)
        assert told["rows_already_there"] + told["rows_solved"] <= 30
        changed = written[written["n_changes"].notna()]
        assert len(changed)
        for changes, count in zip(changed["changes"], changed["n_changes"], strict=True):
            assert len(changes if isinstance(changes, dict) else json.loads(changes)) == count
            assert "age_in_years" not in changes

    @pytest.mark.parametrize(
        ("options", "complaint"),
        [
            ({"n_walks": 0}, "n_walks must be a whole number of at least 1, not 0"),
            ({"desired_class": "good"}, "desired_class must be a whole number of at least 0, not 'good'"),
            ({"epsilon": float("nan")}, "epsilon must be a number above 0, not nan"),
            ({"constraints": {"nobody": {"immutable": True}}}, "constraints: 'nobody' is no feature"),
            ({"constraints": {"age_in_years": "immutable"}}, "constraints: 'age_in_years' needs a mapping"),
            ({"constraints": "immutable"}, "constraints must be a mapping"),
        ],
    )
    def test_what_cannot_be_searched_blames_no_row(
        self, model_id: str, rows: str, tmp_path: Path, options: dict[str, Any], complaint: str
    ) -> None:
        with pytest.raises(ValidationError, match=f"^{complaint}"):
            ClearTraceScenarioOperator(
                task_id="s", model_id=model_id, data=rows, output_uri=f"{tmp_path}/s.csv", **options
            ).execute(context())

    def test_interpret_ranks_the_features(self, model_id: str, tmp_path: Path) -> None:
        told = ClearTraceInterpretOperator(
            task_id="interpret", model_id=model_id, output_uri=str(tmp_path / "drivers.csv")
        ).execute(context())
        drivers = pd.read_csv(tmp_path / "drivers.csv")
        assert drivers["feature"].tolist() == told["top_features"]
        assert drivers["share"].is_monotonic_decreasing
        assert drivers["share"].sum() == pytest.approx(1)


class TestAnalysis:
    @modes
    def test_segments_and_narrative(self, model_id: str, tmp_path: Path, deferrable: bool) -> None:
        told = run(
            lambda: ClearTraceSegmentOperator(
                task_id="segment",
                model_id=model_id,
                data=str(CREDIT),
                target="good_credit",
                min_clusters=3,
                max_clusters=4,
                n_search_steps=4,
                output_uri=str(tmp_path / "segments.json"),
                deferrable=deferrable,
            )
        )
        whole = json.loads((tmp_path / "segments.json").read_text())
        assert told["n_clusters"] == whole["n_clusters"] == len(told["persona_names"])
        assert told["rows"] == len(whole["cluster_ids"]) == 1000

        told = run(
            lambda: ClearTraceNarrativeOperator(
                task_id="narrative",
                model_id=model_id,
                data=str(CREDIT),
                kpi_name="Good credit",
                output_uri=str(tmp_path / "narrative.md"),
                deferrable=deferrable,
            )
        )
        assert "Good credit" in told["narrative"]
        assert (tmp_path / "narrative.md").read_text() == told["narrative"]

    def test_rows_are_chosen_by_a_filter(self, model_id: str) -> None:
        shared: dict[str, Any] = {"model_id": model_id, "data": str(CREDIT), "deferrable": False}
        bad = [["good_credit", "==", 0]]
        told = run(
            lambda: ClearTraceSegmentOperator(
                task_id="segment", filter=bad, min_clusters=2, max_clusters=2, n_search_steps=1, **shared
            )
        )
        assert told["rows"] == 300
        told = run(
            lambda: ClearTraceNarrativeOperator(
                task_id="narrative", filter=bad, kpi_name="Good credit", **shared
            )
        )
        assert "applied to 300 rows" in told["narrative"]

    def test_a_filter_of_no_data_is_refused(self) -> None:
        segment = ClearTraceSegmentOperator(task_id="s", model_id="m", filter=["good_credit", "==", 0])
        with pytest.raises(ValidationError, match="filter chooses rows of data, which is not given"):
            segment.execute(context())


class TestSensor:
    def sensor(self, model_id: str, **kwargs: Any) -> ClearTraceJobSensor:
        return ClearTraceJobSensor(task_id="wait", model_id=model_id, poke_interval=0.1, timeout=60, **kwargs)

    def failed(self, server: LocalServer) -> str:
        model_id = f"failed-{uuid.uuid4().hex[:8]}"
        with client(server) as started:
            upload = started.create_upload("csv", model_id=model_id)
            started.upload_fileobj(upload, b"x,y\n1,2\n3,4,5\n")
            with pytest.raises(JobFailedError):
                started.fit(target="y")
        return model_id

    @pytest.mark.parametrize("kwargs", [{}, {"deferrable": True}], ids=str)
    def test_a_completed_job_ends_the_wait(self, model_id: str, kwargs: dict[str, Any]) -> None:
        run(lambda: self.sensor(model_id, **kwargs))

    def test_each_look_of_reschedule_mode_stands_alone(self, model_id: str) -> None:
        assert self.sensor(model_id, mode="reschedule").poke(context()) is True
        assert self.sensor("not-visible-yet", mode="reschedule").poke(context()) is False

    @pytest.mark.parametrize("deferrable", [False, True])
    def test_a_failed_job_fails_at_once_or_skips(self, local_server: LocalServer, deferrable: bool) -> None:
        model_id = self.failed(local_server)
        with pytest.raises(JobFailedError):
            run(lambda: self.sensor(model_id, deferrable=deferrable))
        for lenient in ({"soft_fail": True}, {"never_fail": True}):
            with pytest.raises(AirflowSkipException):
                run(lambda lenient=lenient: self.sensor(model_id, deferrable=deferrable, **lenient))

    def test_an_event_of_nobody_fails_or_skips(self) -> None:
        for event in (None, {}, {"ending": "sideways"}):
            with pytest.raises(OuterProductError, match="may still run"):
                self.sensor("m", deferrable=True).execute_complete(context(), event)
            for lenient in ({"soft_fail": True}, {"never_fail": True}):
                with pytest.raises(AirflowSkipException, match="may still run"):
                    self.sensor("m", deferrable=True, **lenient).execute_complete(context(), event)


class TestTrigger:
    def trigger(self, **arguments: Any) -> ClearTraceJobTrigger:
        defaults = {
            "model_id": "m",
            "job": "fit",
            "cleartrace_conn_id": "cleartrace_default",
            "started": 1.5,
            "deadline": 2.25,
            "poll_interval": 0.1,
            "max_poll_interval": 0.2,
            "receipt": {"data": "file"},
            "cancel_on_kill": True,
            "stall_timeout": 30.0,
            "unstarted_timeout": 60.0,
        }
        return ClearTraceJobTrigger(**defaults | arguments)

    def test_every_argument_survives_serialization(self) -> None:
        first = self.trigger()
        again = through_json(first)
        assert again.serialize() == first.serialize()
        assert all(value for value in first.serialize()[1].values())

    def test_a_deadline_in_the_past_ends_the_wait_with_its_first_look(self, model_id: str) -> None:
        assert fire(self.trigger(model_id=model_id))["ending"] == "completed"

    def test_a_connection_that_cannot_be_read_is_an_ending_not_a_crash(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(
            "AIRFLOW_CONN_ODD",
            '{"conn_type": "cleartrace", "host": "http://h", "extra": {"timeout": "soon"}}',
        )
        event = fire(self.trigger(cleartrace_conn_id="odd"))
        assert event["ending"] == "refused"
        assert "timeout" in event["reason"]

    def test_a_model_that_does_not_exist_is_an_ending_not_a_crash(self) -> None:
        event = fire(self.trigger(model_id="no-such-model"))
        assert event["ending"] == "refused"
        assert event["refusal"] == "NotFoundError"

    def test_an_event_of_nobody_is_refused(self) -> None:
        operator = ClearTraceFitOperator(task_id="fit", data="x.csv", target="y")
        for event in (None, {}, {"ending": "sideways"}):
            with pytest.raises(OuterProductError, match="may still run"):
                operator.execute_complete(context(), event)


class TestKilledWhileDeferred:
    @pytest.fixture
    def running(self, local_server: LocalServer) -> str:
        model_id = f"long-{uuid.uuid4().hex[:8]}"
        with client(local_server) as started:
            started.fit(
                pd.read_csv(CREDIT),
                target="good_credit",
                model_id=model_id,
                n_hyperopt_steps=500,
                wait=False,
            )
        yield model_id
        with client(local_server) as started:
            started.load(model_id).cancel()

    def status(self, server: LocalServer, model_id: str) -> str:
        with client(server) as asked:
            return asked.load(model_id).status.status

    def trigger(self, model_id: str, **arguments: Any) -> ClearTraceJobTrigger:
        return ClearTraceJobTrigger(model_id, "fit", "cleartrace_default", started=0.0, **arguments)

    def test_the_job_is_cancelled_when_somebody_ends_the_task(
        self, local_server: LocalServer, running: str
    ) -> None:
        asyncio.run(self.trigger(running, cancel_on_kill=True).on_kill())
        assert self.status(local_server, running) == "failed"

    def test_it_runs_on_when_the_author_wants_that(self, local_server: LocalServer, running: str) -> None:
        asyncio.run(self.trigger(running, cancel_on_kill=False).on_kill())
        assert self.status(local_server, running) != "failed"

    def test_a_triggerer_that_stops_leaves_the_job_alone(
        self, local_server: LocalServer, running: str
    ) -> None:
        async def stop_while_waiting() -> None:
            trigger = self.trigger(running, cancel_on_kill=True, poll_interval=0.1)
            waiting = asyncio.ensure_future(anext(trigger.run()))
            await asyncio.sleep(1.0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await trigger.cleanup()

        asyncio.run(stop_while_waiting())
        assert self.status(local_server, running) != "failed"

    def test_a_cancel_that_fails_is_logged_not_raised(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setenv("AIRFLOW_CONN_CLEARTRACE_DEFAULT", '{"host": "http://127.0.0.1:9"}')
        asyncio.run(self.trigger("any", cancel_on_kill=True).on_kill())


class TestMapping:
    @pytest.mark.parametrize(
        ("operator", "fields"),
        [
            (ClearTracePredictOperator, {"data": "d.csv"}),
            (ClearTraceExplainOperator, {"data": "d.csv"}),
            (ClearTraceInterpretOperator, {}),
            (ClearTraceSegmentOperator, {}),
        ],
    )
    def test_a_mapped_task_waits_for_what_its_fixed_arguments_come_from(
        self, operator: Any, fields: dict[str, Any]
    ) -> None:
        with DAG("mapped", schedule=None):
            place = ClearTraceInterpretOperator(task_id="place", model_id="m")
            mapped = operator.partial(
                task_id="mapped", output_uri=place.output["output_uri"], **fields
            ).expand(model_id=["a", "b"])
        assert mapped.upstream_task_ids == {"place"}


class TestConnectionTest:
    def hook(self, monkeypatch: pytest.MonkeyPatch, **fields: Any) -> ClearTraceHook:
        monkeypatch.setenv("AIRFLOW_CONN_TESTED", json.dumps({"conn_type": "cleartrace"} | fields))
        return ClearTraceHook("tested")

    def test_a_good_connection_passes(
        self, monkeypatch: pytest.MonkeyPatch, local_server: LocalServer
    ) -> None:
        hook = self.hook(monkeypatch, host=local_server.base_url, password=local_server.api_key)
        assert hook.test_connection() == (
            True,
            f"{local_server.base_url} answers and accepts the API key",
        )

    def test_another_web_server_is_told_from_a_clear_trace_api(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with teacher_server() as other:  # answers GET with an HTML error page
            hook = self.hook(monkeypatch, host=other.url, password="canary-key")
            passed, text = hook.test_connection()
        assert not passed
        assert "canary" not in text

    @pytest.mark.parametrize(
        ("fields", "told"),
        [
            ({"password": "canary-wrong"}, "refuses the API key"),
            ({"host": "http://127.0.0.1:9", "password": "canary-key"}, "no answer from 127.0.0.1:9"),
            ({"host": "http://no-such-host.invalid", "password": "canary-key"}, "no answer"),
            ({"host": "ftp://h", "password": "canary-key"}, "base_url"),
            ({"extra": {"timeout": "soon"}, "password": "canary-key"}, "timeout"),
        ],
    )
    def test_a_bad_one_says_what_to_mend_and_never_shows_the_key(
        self,
        monkeypatch: pytest.MonkeyPatch,
        local_server: LocalServer,
        fields: dict[str, Any],
        told: str,
    ) -> None:
        passed, text = self.hook(monkeypatch, **{"host": local_server.base_url} | fields).test_connection()
        assert not passed
        assert told in text
        assert "canary" not in text


class TestRefusals:
    @pytest.mark.parametrize(
        "arguments",
        [
            {},
            {"data": "x.csv", "config": {"target": "y"}},
            {"data": "x.csv", "config": {"feature_fields": ["x"]}},
            {"data": "x.txt"},
        ],
    )
    def test_what_cannot_work_costs_no_request(
        self, arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AIRFLOW_CONN_CLEARTRACE_DEFAULT", '{"host": "http://127.0.0.1:9"}')
        with pytest.raises(ValidationError):
            ClearTraceFitOperator(task_id="fit", target="y", **arguments).execute(context())

    def test_a_missing_model_is_not_found(self, rows: str, tmp_path: Path) -> None:
        with pytest.raises(NotFoundError):
            ClearTracePredictOperator(
                task_id="p", model_id="nobody", data=rows, output_uri=str(tmp_path / "o.parquet")
            ).execute(context())
