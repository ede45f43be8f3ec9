"""A worker that is killed, or told to stop, costs no job that nobody waits for."""

from __future__ import annotations

import os
import signal

import psutil
import pytest

from tests.system.recovery.bench import Bench, Job

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]


def test_a_retry_takes_up_the_job_of_a_killed_worker(bench: Bench) -> None:
    run = bench.run("killed_worker")

    run.wait(lambda: len(run.jobs("dies_while_it_waits")) == 1)
    os.kill(run.task("dies_while_it_waits")["pid"], signal.SIGKILL)
    run.wait(lambda: run.task("dies_while_it_waits")["try_number"] == 2)
    # Its first try kills itself between submit and deferral.
    run.wait(lambda: run.task("dies_before_it_defers")["try_number"] == 2)
    run.wait_for_states(running=1, deferred=1)
    assert {job.status for job in run.jobs()} <= {"pending", "running"}

    bench.teacher.release()
    run.wait_for_states(success=2)
    for task_id in ("dies_before_it_defers", "dies_while_it_waits"):
        (job,) = run.jobs(task_id)
        assert job == Job(job.model_id, "completed", error=None, starts=1)
    assert bench.requests() == {"submit": 2}
    bench.assert_no_secret_is_written(run.jobs()[0].model_id)


def test_a_task_that_is_told_to_stop_ends_at_once_and_with_its_job_unless_it_leaves_that(
    bench: Bench,
) -> None:
    run = bench.run("stopped_worker")
    run.wait(lambda: len(run.jobs("ends_its_job")) == len(run.jobs("leaves_its_job")) == 1)

    os.kill(run.task("ends_its_job")["pid"], signal.SIGTERM)
    # What shuts a worker down tells the process that supervises the task.
    supervisor = psutil.Process(run.task("leaves_its_job")["pid"]).ppid()
    os.kill(supervisor, signal.SIGTERM)
    run.wait(lambda: {task["try_number"] for task in run.tasks()} == {2})
    run.wait(lambda: len(run.jobs("ends_its_job")) == 2)

    bench.teacher.release()
    run.wait_for_states(success=2)
    cancelled, fresh = run.jobs("ends_its_job")
    assert (cancelled.status, cancelled.error) == ("failed", "cancelled")
    assert run.told_model("ends_its_job") == fresh.model_id
    (left,) = run.jobs("leaves_its_job")
    assert left == Job(run.told_model("leaves_its_job"), "completed", error=None, starts=1)
    assert bench.requests() == {"submit": 3, "cancel": 1}
