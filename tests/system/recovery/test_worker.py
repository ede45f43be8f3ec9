"""A worker that is killed costs no second job."""

from __future__ import annotations

import os
import signal

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
