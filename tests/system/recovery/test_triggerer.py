"""Triggerers that die, sleep or share the work: each job is waited for to its end, and none is cancelled."""

from __future__ import annotations

import signal

import pytest

from tests.system.recovery.bench import Bench, Run

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

WAITS = 20
SHARE = 10


def test_waits_survive_a_killed_triggerer_and_end_at_two_others(bench: Bench) -> None:
    run = bench.run("twenty_waits")
    run.wait(lambda: WAITS in run.waiting_at().values())
    bench.kill_triggerers()

    _, one = bench.start_triggerer("--capacity", str(SHARE))
    run.wait(lambda: run.waiting_at()[one] == SHARE)
    _, other = bench.start_triggerer()
    run.wait(lambda: run.waiting_at() == {one: SHARE, other: SHARE})
    assert_all_end_once(bench, run, WAITS)


def test_a_triggerer_takes_over_from_one_that_is_killed(bench: Bench) -> None:
    bench.kill_triggerers()
    killed, one = bench.start_triggerer("--capacity", "1")
    run = bench.run("three_waits")
    run.wait(lambda: run.waiting_at() == {one: 1, None: 2})
    _, other = bench.start_triggerer()
    run.wait(lambda: run.waiting_at() == {one: 1, other: 2})

    bench.kill_triggerer(killed)
    run.wait(lambda: run.waiting_at() == {other: 3})
    assert_all_end_once(bench, run, 3)


def test_a_triggerer_that_slept_through_the_takeover_cancels_nothing(bench: Bench) -> None:
    bench.kill_triggerers()
    sleeper, one = bench.start_triggerer()
    run = bench.run("three_waits")
    run.wait(lambda: run.waiting_at() == {one: 3})
    # Airflow tells a trigger nothing that it ends before its first step.
    run.wait(lambda: run.looks_told() >= 3)
    bench.stack.send_signal(sleeper, signal.SIGSTOP)
    _, other = bench.start_triggerer()
    run.wait(lambda: run.waiting_at() == {other: 3})

    bench.stack.send_signal(sleeper, signal.SIGCONT)
    # Airflow 3.3 takes the triggers that are gone for ended by a user (apache/airflow #73454).
    run.wait(lambda: run.logs().count("invoking on_kill") >= 3)
    assert_all_end_once(bench, run, 3)


def assert_all_end_once(bench: Bench, run: Run, count: int) -> None:
    """Let the jobs finish: each task succeeds once, with the one job that was submitted for it."""
    bench.teacher.release()
    run.wait_for_states(success=count)
    jobs = run.jobs()
    assert [job.status for job in jobs] == ["completed"] * count
    told = {run.told_model("distill", index) for index in range(count)}
    assert told == {job.model_id for job in jobs}
    assert len(told) == count
    assert bench.requests() == {"submit": count}
    bench.assert_no_secret_is_written(run.jobs()[0].model_id)
