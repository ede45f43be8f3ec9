"""A person who marks or clears a waiting task ends its job, unless the task says otherwise."""

from __future__ import annotations

import pytest

from tests.system.recovery.bench import Bench

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]


def test_marking_and_clearing_cancel_the_job_and_a_cleared_task_starts_a_fresh_one(bench: Bench) -> None:
    run = bench.run("ended_by_hand")
    run.wait_for_states(deferred=4)
    # Airflow tells a trigger nothing that it ends before its first step.
    run.wait(lambda: run.looks_told() >= 4)

    # A new try that is faster than the cancellation would find the old job still running.
    with bench.no_task_starts():
        run.mark("marked_failed", "failed")
        run.mark("left_running", "failed")
        run.mark("marked_success", "success")
        run.clear("cleared")
        run.wait(lambda: bench.requests()["cancel"] == 3)
    # The task that was cleared waits again, for another job.
    run.wait(lambda: len(run.jobs("cleared")) == 2)

    bench.teacher.release()
    run.wait_for_states(failed=2, success=2)
    run.wait(lambda: run.jobs("left_running")[0].status == "completed")
    ended = {task: [(job.status, job.error) for job in run.jobs(task)] for task in TASKS}
    assert ended == {
        "marked_failed": [CANCELLED],
        "marked_success": [CANCELLED],
        "cleared": [CANCELLED, COMPLETED],
        "left_running": [COMPLETED],
    }
    assert run.told_model("cleared") == run.jobs("cleared")[1].model_id
    assert bench.requests() == {"submit": 5, "cancel": 3}
    # Of the cleared task, Airflow forgets what its first try left.
    bench.assert_no_secret_is_written(run.jobs("marked_failed")[0].model_id)


TASKS = ("marked_failed", "marked_success", "cleared", "left_running")
CANCELLED = ("failed", "cancelled")
COMPLETED = ("completed", None)
