"""A ClearTrace Local that is killed at its work and started again costs no job."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from example_dags.demo.stack import CLEARTRACE_LOCAL, LOOPBACK
from tests.system.recovery.bench import Bench

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

TASKS = 4


def test_tasks_bear_a_killed_server_and_their_jobs_start_anew(bench: Bench) -> None:
    run = bench.run("killed_server")
    run.wait_for_states(deferred=TASKS - 1, running=1)
    # Two run, as many as there are workers; the others wait behind them.
    run.wait(lambda: sorted(job.status for job in run.jobs()) == ["pending"] * 2 + ["running"] * 2)

    bench.stack.kill(CLEARTRACE_LOCAL)
    with outage(bench.stack.cleartrace_port) as looks:
        bench.wait(lambda: len(looks) >= 2 * TASKS)
    bench.stack.start(CLEARTRACE_LOCAL)
    bench.stack.wait_until_ready()

    bench.teacher.release()
    run.wait_for_states(success=TASKS)
    assert (
        sorted((job.status, job.starts) for job in run.jobs())
        == [("completed", 1)] * 2 + [("completed", 2)] * 2
    )
    assert bench.requests() == {"submit": TASKS}
    bench.assert_no_secret_is_written(run.jobs()[0].model_id)


@contextlib.contextmanager
def outage(port: int) -> Iterator[list[object]]:
    """Stand in the server's place and break every connection off; the list tells them."""
    broken: list[object] = []

    def break_off() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, address = listener.accept()
                connection.close()
                broken.append(address)

    with socket.create_server((LOOPBACK, port)) as listener:
        thread = threading.Thread(target=break_off)
        thread.start()
        yield broken
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()
