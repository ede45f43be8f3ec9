"""Requests, retries and submits, answer by answer."""

from __future__ import annotations

import pandas as pd
import pytest

from airflow_provider_cleartrace.api import operations
from airflow_provider_cleartrace.api.errors import (
    AuthenticationError,
    ConflictError,
    JobFailedError,
    NotFoundError,
    OuterProductError,
    RateLimitError,
    ServerError,
    TransportError,
    ValidationError,
)
from airflow_provider_cleartrace.client.analysis import get_segments, segment
from airflow_provider_cleartrace.client.inference import explain, predict, predict_and_explain, scenario
from airflow_provider_cleartrace.client.jobs import artefact, cancel
from airflow_provider_cleartrace.client.session import call
from airflow_provider_cleartrace.client.training import fit, fit_distill
from tests.unit.client.driver import answer, bodies, script, session

RUNNING = {"model_id": "m", "status": "running", "job": "fit"}
COMPLETED = {"model_id": "m", "status": "completed", "job": "fit"}
SUBMITTED = {"model_id": "m", "status": "pending"}
LOST = TransportError("reset by peer")
UNSENT = TransportError("connection refused", sent=False)
FRAME = pd.DataFrame({"x": [1, 2], "y": [0, 1]})


def attached(**settings: object):
    known = session(**settings)
    known.model_id = "m"
    return known


class TestErrors:
    @pytest.mark.parametrize(
        ("status", "error"),
        [
            (400, ValidationError),
            (401, AuthenticationError),
            (403, AuthenticationError),
            (404, NotFoundError),
            (409, ConflictError),
            (413, ValidationError),
            (422, ValidationError),
            (429, RateLimitError),
            (418, OuterProductError),
            (500, ServerError),
            (503, ServerError),
        ],
    )
    def test_each_status_has_its_type(self, status: int, error: type[OuterProductError]) -> None:
        with pytest.raises(error, match="what is wrong") as caught:
            script(answer(status, {"detail": "what is wrong"})).run(
                call(session(max_retries=0), operations.HEALTH)
            )
        assert type(caught.value) is error
        assert caught.value.status_code == status

    def test_a_redirect_says_what_to_mend(self) -> None:
        with pytest.raises(OuterProductError, match="give the address they lead to"):
            script(answer(302, b"")).run(call(session(), operations.HEALTH))

    @pytest.mark.parametrize(
        ("body", "text"),
        [
            ({"detail": [{"loc": ["body", "target"], "msg": "missing", "type": "x"}]}, "target: missing"),
            ({"error": "no such column"}, "no such column"),
            ({"error_message": "a"}, "a"),
            ({"message": "b"}, "b"),
            (b"<html>bad gateway</html>", "bad gateway"),
            (b"", "no detail given"),
            (b"x" * 5000, "x" * 1000),
        ],
    )
    def test_the_reason_is_found_wherever_the_service_put_it(self, body: object, text: str) -> None:
        with pytest.raises(ValidationError) as caught:
            script(answer(422, body)).run(call(session(), operations.HEALTH))
        assert text in str(caught.value)
        assert len(str(caught.value)) < 1100

    @pytest.mark.parametrize(
        "content", [b'{"predictions": [0.1', b"[]", b'{"predictions": "a"}', b'{"p": 1}']
    )
    def test_an_answer_off_the_contract_is_a_server_error(self, content: bytes) -> None:
        with pytest.raises(ServerError):
            script(answer(200, content)).run(predict(attached(), [[1]]))


class TestRetries:
    @pytest.mark.parametrize(
        "fault", [LOST, UNSENT, *(answer(code, {}) for code in (408, 429, 502, 503, 504))]
    )
    def test_a_pure_call_is_repeated_after_a_passing_fault(self, fault: object) -> None:
        run = script(fault, fault, answer(200, {"predictions": [0.5]}))

        assert run.run(predict(attached(), [[1]])).tolist() == [0.5]
        assert len(run.requests) == 3
        assert len(run.slept) == 2

    def test_retries_end(self) -> None:
        run = script(*[answer(503, {})] * 3)
        with pytest.raises(ServerError):
            run.run(predict(attached(max_retries=2), [[1]]))
        assert len(run.requests) == 3

    def test_a_final_answer_is_not_repeated(self) -> None:
        run = script(answer(500, {}))
        with pytest.raises(ServerError):
            run.run(predict(attached(), [[1]]))
        assert len(run.requests) == 1

    def test_retry_after_is_honoured(self) -> None:
        run = script(answer(429, {}, retry_after="9"), answer(200, {"predictions": [0.5]}))
        run.run(predict(attached(), [[1]]))
        assert run.slept[0] >= 9


class TestWaiting:
    def test_fit_waits_through_faults_and_remembers_its_model(self) -> None:
        known = session(poll_interval=0.01)
        run = script(
            answer(200, SUBMITTED),
            answer(200, RUNNING),
            answer(500, {}),
            answer(200, b"{"),
            answer(200, COMPLETED),
        )
        result = run.run(fit(known, FRAME, target="y"))
        assert (result.model_id, result.status) == ("m", "completed")
        assert (known.model_id, known.feature_names) == ("m", ["x"])

    def test_a_failed_job_raises_with_its_reason(self) -> None:
        run = script(answer(200, SUBMITTED), answer(200, RUNNING | {"status": "failed", "error": "no rows"}))
        with pytest.raises(JobFailedError, match="no rows"):
            run.run(fit(session(), FRAME, target="y"))

    @pytest.mark.parametrize(
        "not_ready",
        [answer(202, {"model_id": "m", "status": "running"}), answer(404, {}), answer(409, {})],
    )
    def test_a_segmentation_on_a_server_with_one_status_word_is_known_by_its_artefact(
        self, not_ready: object
    ) -> None:
        done = {"n_clusters": 1, "quality": 0.5, "cluster_ids": [0], "personas": []}
        word = {"model_id": "m", "status": "running"}
        ended = answer(200, word | {"status": "completed"})
        run = script(answer(200, word), ended, not_ready, ended, answer(200, done), answer(200, done))
        found = run.run(artefact(attached(poll_interval=0.01), operations.GET_SEGMENTS, missing=60.0))
        assert found.n_clusters == 1

    def test_an_artefact_nobody_asked_for_is_not_awaited(self) -> None:
        run = script(answer(200, COMPLETED), answer(404, {"detail": "no segmentation"}))
        with pytest.raises(NotFoundError):
            run.run(get_segments(attached()))
        assert run.slept == []


class TestBodies:
    def test_a_frame_travels_as_records_of_the_needed_columns(self) -> None:
        run = script(answer(200, SUBMITTED))
        frame = FRAME.assign(extra="no")
        run.run(fit(session(), frame, target="y", feature_fields=["x"], mode="fast", wait=False))
        assert bodies(run.requests) == [
            {
                "data": [{"x": 1, "y": 0}, {"x": 2, "y": 1}],
                "target": "y",
                "feature_fields": ["x"],
                "mode": "fast",
            }
        ]

    def test_an_array_travels_with_its_target_values(self) -> None:
        run = script(answer(200, SUBMITTED))
        run.run(fit(session(), FRAME[["x"]].to_numpy(), target=FRAME["y"], wait=False))
        assert bodies(run.requests) == [{"data": [[1], [2]], "target": [0, 1]}]

    def test_an_empty_dict_of_rule_settings_is_sent_and_none_is_not(self) -> None:
        told = {"predictions": [0.5], "local_drivers": [[1.0]], "feature_names": ["x"]}
        run = script(answer(200, told), answer(200, told))
        run.run(predict_and_explain(attached(), [[1]], rule_kwargs={}))
        run.run(predict_and_explain(attached(), [[1]]))
        with_rules, without = bodies(run.requests)
        assert with_rules["rule_kwargs"] == {}
        assert "rule_kwargs" not in without

    def test_a_training_option_is_sent_as_given_also_null(self) -> None:
        run = script(answer(200, SUBMITTED))
        run.run(fit(session(), FRAME, target="y", wait=False, random_state=None))
        assert bodies(run.requests)[0]["random_state"] is None

    def test_a_null_that_is_not_the_default_is_sent(self) -> None:
        run = script(answer(200, {"results": [{**QUERY, "scenarios": []}]}))
        run.run(scenario(attached(), [{"age": 25}], random_state=None))
        assert bodies(run.requests)[0]["random_state"] is None
        assert bodies(run.requests)[0]["feature_names"] == ["age"]

    @pytest.mark.parametrize(
        ("flow", "complaint"),
        [
            (lambda s: fit(s, FRAME, target="z"), "no column 'z'"),
            (lambda s: fit(s, FRAME, target="y", feature_fields=["q"]), "no column 'q'"),
            (lambda s: fit(s, FRAME, target=None), "target"),
            (lambda s: fit(s, FRAME[["x"]], target=[1]), "1 values for 2 rows"),
            (lambda s: fit(s, target="y"), "no model yet"),
            (lambda s: fit(s, FRAME, target="y", model_id="../x"), "model_id"),
            (lambda s: fit(s, [[1], [2]], target="y"), "no column names"),
            (lambda s: fit_distill(s, FRAME), "predict_url"),
            (lambda s: predict(s, FRAME), "no model yet"),
            (lambda s: scenario(s, [[1]]), "feature_names"),
            (lambda s: segment(s, data=FRAME, target_values=[1]), "1 values for 2 rows"),
        ],
    )
    def test_what_cannot_work_is_refused_before_a_request(self, flow, complaint: str) -> None:
        run = script()
        with pytest.raises(ValidationError, match=complaint):
            run.run(flow(session()))
        assert run.requests == []


class TestRows:
    def test_lost_or_invented_rows_are_noticed(self) -> None:
        for predictions in ([1], [1, 2, 3]):
            with pytest.raises(ServerError, match="2 rows were sent"):
                script(answer(200, {"predictions": predictions})).run(predict(attached(), FRAME))

    def test_nulls_come_back_as_nan(self) -> None:
        told = {
            "predictions": [None],
            "local_agop": [[1.0]],
            "local_drivers": [[None]],
            "feature_names": ["x"],
        }
        result = script(answer(200, told)).run(explain(attached(), [[1]]))
        assert result.predictions.shape == (1,)
        assert str(result.local_drivers[0, 0]) == "nan"


class TestCancel:
    @pytest.mark.parametrize("status", [404, 405, 501])
    def test_a_service_without_cancel_is_told_honestly(self, status: int) -> None:
        assert script(*[answer(status, {})] * 4).run(cancel(attached())) is False

    def test_a_server_that_cancels_says_so(self) -> None:
        run = script(answer(200, RUNNING))
        assert run.run(cancel(attached(), "narrative")) is True
        assert run.sent() == ["DELETE /v1/models/m/job?job=narrative"]


QUERY = {
    "query_index": 0,
    "baseline_prediction": 0.2,
    "already_at_desired_class": False,
    "scenario_count": 0,
}


def test_ids_and_overridden_paths_are_one_safe_segment() -> None:
    assert operations.STATUS.url_path("a-b") == "/v1/models/a-b/status"
    for bad in ("..", "", "a/b", "a b", "x" * 200):
        with pytest.raises(ValidationError, match="no model id"):
            operations.STATUS.url_path(bad)
    assert operations.FIT.url_path(overrides={"fit": "/v2/train"}) == "/v2/train"
    run = script(answer(200, SUBMITTED))
    run.run(fit(session(paths={"fit": "/v2/train"}), FRAME, target="y", wait=False))
    assert run.sent() == ["POST /v2/train"]
