"""A submit whose answer is lost: what it has brought about is looked for, and a doubt is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pandas as pd
import pytest

from airflow_provider_cleartrace.api.errors import (
    AuthenticationError,
    ConflictError,
    ServerError,
    SubmitInDoubtError,
    TransportError,
)
from airflow_provider_cleartrace.client.analysis import segment
from airflow_provider_cleartrace.client.exchange import Answer, Request
from airflow_provider_cleartrace.client.submitting import VISIBLE_WITHIN
from airflow_provider_cleartrace.client.training import fit
from tests.unit.client.driver import Script, answer, script, session

LOST = TransportError("reset by peer")
UNSENT = TransportError("connection refused", sent=False)
UNKNOWN = answer(404, {})
SUBMITTED = answer(200, {"model_id": "m", "status": "pending"})
DATA = pd.DataFrame({"x": [1, 2], "y": [0, 1]})
FIT = "POST /v1/fit"
SEGMENT = "POST /v1/models/m/segments"
STATUS = "GET /v1/models/m/status"

LOOKS = 7
"""How often an effect is looked for when none shows, at least."""


def says(word: str, **fields: Any) -> Answer:
    return answer(200, {"model_id": "m", "status": word} | fields)


def submit_fit(run: Script, **settings: Any) -> Any:
    return run.run(fit(session(**settings), DATA, target="y", model_id="m", wait=False))


def submit_segment(run: Script) -> Any:
    known = session()
    known.model_id = "m"
    return run.run(segment(known, wait=False))


class Service(Script):
    """Answers submits from a list, and looks by how many submits there were."""

    def __init__(
        self,
        submits: list[Answer | TransportError],
        status: Callable[[int], Answer],
        artefact: Callable[[int], Answer] = lambda submits: UNKNOWN,
    ) -> None:
        super().__init__(submits)
        self._status, self._artefact = status, artefact

    def reply(self, request: Request) -> Answer | TransportError:
        if request.method == "POST":
            return super().reply(request)
        submits = sum(earlier.method == "POST" for earlier in self.requests)
        return (self._status if request.operation == "status" else self._artefact)(submits)


class TestALostAnswer:
    def test_under_a_server_s_id_is_not_repeated(self) -> None:
        run = script(LOST)
        with pytest.raises(TransportError):
            run.run(fit(session(), DATA, target="y", wait=False))
        assert run.sent() == [FIT]

    def test_of_a_request_that_never_left_is_repeated(self) -> None:
        run = script(UNSENT, SUBMITTED)
        run.run(fit(session(), DATA, target="y", wait=False))
        assert run.sent() == [FIT] * 2

    def test_finds_the_job_it_started(self) -> None:
        run = script(UNKNOWN, LOST, says("running", job="fit"))
        assert submit_fit(run).status == "running"
        assert run.sent().count(FIT) == 1
        assert run.slept == []

    def test_finds_a_job_that_a_slow_service_shows_seconds_later(self) -> None:
        run = script(UNKNOWN, LOST, *[UNKNOWN] * 5, says("pending", job="fit", job_id="7"))
        assert submit_fit(run).job_id == "7"
        assert run.sent().count(FIT) == 1
        assert 5 < sum(run.slept) < VISIBLE_WITHIN

    def test_is_repeated_when_nothing_shows_in_all_that_time(self) -> None:
        run = Service([answer(503, {}), SUBMITTED], lambda _: UNKNOWN)
        submit_fit(run)
        assert run.sent().count(FIT) == 2
        assert run.sent().count(f"{STATUS}?job=fit") >= LOOKS
        assert VISIBLE_WITHIN <= sum(run.slept) <= 2 * VISIBLE_WITHIN

    def test_is_not_repeated_for_ever(self) -> None:
        run = Service([answer(503, {})] * 2, lambda _: UNKNOWN)
        with pytest.raises(ServerError, match="503"):
            submit_fit(run, max_retries=1)

    def test_is_told_at_once_where_the_service_refused(self) -> None:
        run = script(UNKNOWN, answer(409, {"detail": "other work runs"}))
        with pytest.raises(ConflictError, match="other work runs"):
            submit_fit(run)


class TestAJobThatWasThereBefore:
    OLD: ClassVar = {"job": "segment", "job_id": "1"}

    def test_is_not_taken_for_the_lost_one_where_jobs_have_numbers(self) -> None:
        run = Service([LOST, SUBMITTED], lambda _: says("completed", **self.OLD))
        submit_segment(run)
        assert run.sent().count(SEGMENT) == 2

        new = self.OLD | {"job_id": "2"}
        run = Service([LOST], lambda sent: says("completed", **(new if sent else self.OLD)))
        assert submit_segment(run).job_id == "2"

    @pytest.mark.parametrize("word", ["pending", "running", "completed", "failed"])
    def test_proves_nothing_where_they_have_none(self, word: str) -> None:
        run = Service([LOST], lambda _: says(word))
        with pytest.raises(SubmitInDoubtError, match=r"fit of model 'm' may .* \(reset by peer\)"):
            submit_fit(run)
        assert run.sent().count(FIT) == 1

    @pytest.mark.parametrize("word", ["completed", "failed", "pending"])
    def test_proves_nothing_when_it_ran_and_has_ended_since(self, word: str) -> None:
        run = Service([LOST], lambda sent: says(word if sent else "running"))
        with pytest.raises(SubmitInDoubtError):
            submit_fit(run)
        assert run.sent().count(FIT) == 1

    @pytest.mark.parametrize(("before", "after"), [("pending", "running"), ("completed", "pending")])
    def test_that_moves_on_is_the_answer(self, before: str, after: str) -> None:
        run = Service([LOST], lambda sent: says(after if sent else before))
        assert submit_fit(run).status == after
        assert run.sent().count(FIT) == 1


class TestAnAnalysisOfAModelWithOneStatusForAll:
    """The word is that of the last job: "completed" of the training says nothing of the segmentation."""

    DONE = answer(200, {"n_clusters": 1, "quality": 0.5, "cluster_ids": [0], "personas": []})

    def test_is_repeated_where_there_was_and_is_no_artefact(self) -> None:
        run = Service([LOST, SUBMITTED], lambda _: says("completed"))
        submit_segment(run)
        assert run.sent().count(SEGMENT) == 2

    @pytest.mark.parametrize("shown", [answer(202, {"status": "running"}), DONE])
    def test_is_found_by_an_artefact_that_was_not_there_before(self, shown: Answer) -> None:
        run = Service([LOST], lambda _: says("completed"), lambda sent: shown if sent else UNKNOWN)
        assert submit_segment(run).status in {"running", "completed"}
        assert run.sent().count(SEGMENT) == 1

    def test_is_in_doubt_beside_an_artefact_of_before(self) -> None:
        run = Service([LOST], lambda _: says("completed"), lambda _: self.DONE)
        with pytest.raises(SubmitInDoubtError, match="segment of model 'm' may have been started"):
            submit_segment(run)
        assert run.sent().count(SEGMENT) == 1


def test_looks_that_fail_for_a_while_are_repeated() -> None:
    run = script(UNKNOWN, LOST, *[answer(503, {})] * 5, says("running", job="fit"))
    assert submit_fit(run).status == "running"
    assert run.sent().count(FIT) == 1


def test_looks_that_fail_for_good_leave_a_doubt() -> None:
    run = Service([LOST], lambda sent: answer(401, {}) if sent else UNKNOWN)
    with pytest.raises(SubmitInDoubtError) as doubt:
        submit_fit(run)
    assert isinstance(doubt.value.__cause__, AuthenticationError)
    assert run.sent().count(FIT) == 1
