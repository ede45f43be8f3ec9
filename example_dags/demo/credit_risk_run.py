"""One run of the DAG ``credit_risk`` on a running stack: start it, watch it, collect what it made."""

from __future__ import annotations

import shutil
import sys
import time

from example_dags.demo.api import TaskInstance, deferred_seconds
from example_dags.demo.results import TASKS, read_results
from example_dags.demo.stack import Stack
from example_dags.demo.summary import render, task_table

DAG_ID = "credit_risk"

#: A run takes well under two minutes on two cores; this is for a machine under load.
RUN_LIMIT = 900.0
RUN_POLL = 1.0
FINISHED = frozenset({"success", "failed"})
FAILED_LOG_LINES = 40


class RunFailed(RuntimeError):
    """The run did not succeed."""


def show_run(stack: Stack) -> None:
    """Run the DAG and write the table of its tasks and the summary of its results to standard output.

    Raises:
        RunFailed: A task failed, or the run took too long; the log of each failed task has been written.
        MissingResult: All tasks succeeded and yet something the demo promises is not there.
    """
    api = stack.api
    api.wait_for_dag(DAG_ID)
    run_id = api.trigger(DAG_ID)
    say(f"Run {run_id} of the DAG {DAG_ID}")
    state = _watch(stack, run_id)
    tasks = api.task_instances(DAG_ID, run_id)
    deferred = deferred_seconds(api.state_changes(DAG_ID, run_id), tasks)
    say(f"\n{task_table(tasks, deferred)}\n")
    if state != "success":
        for task in tasks:
            if task.state == "failed":
                lines = api.log(DAG_ID, run_id, task)[-FAILED_LOG_LINES:]
                say("\n".join([f"--- the end of the log of {task.label}", *lines, "---"]))
        raise RunFailed(f"The run of {DAG_ID} ended as {state!r}.")
    manifests = {task_id: api.return_value(DAG_ID, run_id, task_id) for task_id in TASKS}
    say(render(read_results(manifests)))


def say(text: str) -> None:
    """Write a line for the person at the terminal."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _watch(stack: Stack, run_id: str) -> str:
    """Show a line of progress until the run has ended, and return its last state."""
    started = time.monotonic()
    live = sys.stdout.isatty()
    shown = ""
    while True:
        stack.check()
        state = stack.api.run_state(DAG_ID, run_id)
        progress = _progress(stack.api.task_instances(DAG_ID, run_id))
        seconds = time.monotonic() - started
        if live:
            line = f"{seconds:4.0f} s  {progress}"[: shutil.get_terminal_size().columns - 1]
            sys.stdout.write(f"\r\x1b[K{line}" + ("\n" if state in FINISHED else ""))
            sys.stdout.flush()
        elif progress != shown:
            say(f"{seconds:4.0f} s  {progress}")
            shown = progress
        if state in FINISHED:
            return state
        if seconds > RUN_LIMIT:
            raise RunFailed(f"The run of {DAG_ID} has not ended after {RUN_LIMIT:.0f} s: {progress}.")
        time.sleep(RUN_POLL)


def _progress(tasks: list[TaskInstance]) -> str:
    """Return how many tasks are done, and which are under way."""
    done = sum(task.state in {"success", "failed", "skipped", "upstream_failed"} for task in tasks)
    active = [
        f"{state}: {', '.join(labels)}"
        for state in ("running", "deferred", "up_for_retry", "failed")
        if (labels := [task.label for task in tasks if task.state == state])
    ]
    return " | ".join([f"{done} of {len(tasks)} tasks done", *active])
