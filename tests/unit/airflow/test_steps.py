"""The table of what a task does about a job: it is whole, and no row of it pays twice."""

from __future__ import annotations

import itertools

import pytest

from airflow_provider_cleartrace.api.models import StatusResult
from airflow_provider_cleartrace.operators.jobs.steps import Holder, Past, Step, step_for

WORDS = [None, "pending", "running", "completed", "failed", "PAUSED"]
EVERY_CASE = list(itertools.product(Holder, WORDS, [None, "fit"], Past))


def step(holder: Holder, word: str | None, job: str | None, past: Past) -> Step:
    known = None if word is None else StatusResult(model_id="m", status=word, job=job)
    return step_for(holder, known, past)


@pytest.mark.parametrize("word", [None, "failed"])
def test_where_there_is_no_job_or_a_failed_one_the_task_submits(word: str | None) -> None:
    cases = [case for case in EVERY_CASE if case[1] == word]
    assert {step(*case) for case in cases} == {Step.SUBMIT}


def test_a_submit_that_was_sent_is_never_repeated_while_it_may_be_what_shows() -> None:
    sent = [case for case in EVERY_CASE if case[1] not in {None, "failed"} and case[3] >= Past.BEGUN]
    assert Step.SUBMIT not in {step(*case) for case in sent}


def test_only_what_is_surely_the_task_s_own_is_taken() -> None:
    taken = [case for case in EVERY_CASE if step(*case) is Step.TAKE]
    assert taken
    assert all(holder is Holder.REQUEST or past is Past.SUBMITTED for holder, _, _, past in taken)


def test_a_completed_job_of_unknown_origin_is_refused_unless_jobs_have_numbers() -> None:
    for holder in (Holder.AUTHOR, Holder.MODEL):
        known = StatusResult(model_id="m", status="completed")
        assert step_for(holder, known, Past.BEGUN) is Step.REFUSE
        numbered = StatusResult(model_id="m", status="completed", job_id="7")
        assert step_for(holder, numbered, Past.BEGUN) is Step.SUBMIT
