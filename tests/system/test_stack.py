"""A real Airflow on this machine: it runs a deferrable DAG, and nothing of it stays behind."""

from __future__ import annotations

import contextlib
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]  # no stubs are published with it
import pytest

from example_dags.demo.api import AirflowApiError, DagNotFound, deferred_seconds
from example_dags.demo.processes import ComponentFailed, processes_of
from example_dags.demo.stack import Stack, StackBusy
from tests.system.up.program import read_until, up

pytestmark = pytest.mark.system

DAG_ID = "wait_then_answer"
WAIT_SECONDS = 3
RUN_LIMIT = 120.0
CONDITION_LIMIT = 20.0
SETTINGS_OF_THE_SHELL = {
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "sqlite:////nowhere/else.db",
    "AIRFLOW_CONN_CLEARTRACE_DEFAULT": "cleartrace://somebody-elses-key@nowhere.invalid",
    "PYTHONDONTWRITEBYTECODE": "1",
}
DAG = f"""
from datetime import timedelta

from airflow.providers.standard.sensors.time_delta import WaitSensor
from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from airflow.sdk import BaseOperator, dag, task

WAIT = timedelta(seconds={WAIT_SECONDS})
# Airflow 3.3 may fail a task that resumes before its deferral is booked (apache/airflow #71580).
RETRIES = {{"retries": 2, "retry_delay": timedelta(seconds=1)}}


class WaitAndResume(BaseOperator):
    def execute(self, context):
        self.defer(trigger=TimeDeltaTrigger(WAIT), method_name="resume")

    def resume(self, context, event):
        return "resumed on a worker"


@dag(schedule=None, default_args=RETRIES)
def {DAG_ID}():
    wait = WaitSensor(task_id="wait", time_to_wait=WAIT, deferrable=True)
    WaitAndResume(task_id="wait_and_resume")

    @task
    def answer(number):
        if number < 0:
            raise ValueError("a number below zero")
        return {{"doubled": 2 * number}}

    wait >> answer.expand(number=[4, 21])
    wait >> answer.override(task_id="refuse", retries=0)(-1)


{DAG_ID}()
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack started from a shell that has settings of another Airflow."""
    folder = tmp_path_factory.mktemp("stack")
    dags = folder / "dags"
    dags.mkdir()
    (dags / "wait_then_answer.py").write_text(DAG, encoding="utf-8")
    with pytest.MonkeyPatch.context() as shell:
        for name, value in SETTINGS_OF_THE_SHELL.items():
            shell.setenv(name, value)
        with Stack(folder / "run", dags, with_cleartrace=False) as running:
            yield running


@pytest.fixture(scope="module")
def finished_run(stack: Stack) -> str:
    stack.api.wait_for_dag(DAG_ID)
    run_id = stack.api.trigger(DAG_ID)
    deadline = time.monotonic() + RUN_LIMIT
    while stack.api.run_state(DAG_ID, run_id) not in {"success", "failed"}:
        stack.check()
        assert time.monotonic() < deadline, stack.api.task_instances(DAG_ID, run_id)
        time.sleep(0.5)
    return run_id


def processes_with_home(home: Path) -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["environ"])
        if (process.info["environ"] or {}).get("AIRFLOW_HOME") == str(home)
    ]


def each_process(stack: Stack, read: Callable[[psutil.Process], Any]) -> list[Any]:
    """What ``read`` tells of each process of the stack; one that ends meanwhile is left out."""
    told = []
    for process in processes_of(str(stack.folder)):
        with contextlib.suppress(psutil.NoSuchProcess):
            told.append(read(process))
    assert len(told) >= 4
    return told


def alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False


def test_a_deferred_task_waits_without_a_worker_and_then_succeeds(stack: Stack, finished_run: str) -> None:
    tasks = {task.label: task for task in stack.api.task_instances(DAG_ID, finished_run)}
    assert {label: task.state for label, task in tasks.items()} == {
        "wait": "success",
        "wait_and_resume": "success",
        "answer[0]": "success",
        "answer[1]": "success",
        "refuse": "failed",
    }
    waited = deferred_seconds(stack.api.state_changes(DAG_ID, finished_run), tasks.values())
    assert waited.keys() == {("wait", -1), ("wait_and_resume", -1)}
    for task_id in ("wait", "wait_and_resume"):
        assert WAIT_SECONDS - 1 < waited[task_id, -1] <= (tasks[task_id].duration or 0.0)


def test_return_values_and_logs_can_be_read_per_mapped_task(stack: Stack, finished_run: str) -> None:
    assert stack.api.return_value(DAG_ID, finished_run, "wait_and_resume") == "resumed on a worker"
    values = [stack.api.return_value(DAG_ID, finished_run, "answer", index) for index in (0, 1)]
    assert values == [{"doubled": 8}, {"doubled": 42}]
    (refused,) = (task for task in stack.api.task_instances(DAG_ID, finished_run) if task.task_id == "refuse")
    assert "ValueError: a number below zero" in "\n".join(stack.api.log(DAG_ID, finished_run, refused))
    with pytest.raises(AirflowApiError, match="return_value"):
        stack.api.return_value(DAG_ID, finished_run, "refuse")


def test_a_dag_that_does_not_exist_is_named(stack: Stack) -> None:
    with pytest.raises(DagNotFound, match="no_such_dag"):
        stack.api.wait_for_dag("no_such_dag", limit=0.0)


def test_only_loopback_is_listened_on(stack: Stack) -> None:
    connections = each_process(stack, lambda process: process.net_connections("inet"))
    listening = {one.laddr.ip for some in connections for one in some if one.status == psutil.CONN_LISTEN}
    assert listening == {"127.0.0.1"}


def test_no_secret_shows_in_a_process_list(stack: Stack) -> None:
    (key,) = {
        environment["AIRFLOW__API_AUTH__JWT_SECRET"]
        for environment in each_process(stack, psutil.Process.environ)
    }
    arguments = {part for command in each_process(stack, psutil.Process.cmdline) for part in command}
    assert not any(secret in part for part in arguments for secret in (key, stack.password))


def test_settings_of_the_shell_do_not_reach_the_stack(stack: Stack) -> None:
    for environment in each_process(stack, psutil.Process.environ):
        assert SETTINGS_OF_THE_SHELL.keys().isdisjoint(environment)


def test_a_second_stack_in_the_same_folder_is_refused(stack: Stack) -> None:
    with pytest.raises(StackBusy, match=str(stack.folder)), Stack(stack.folder, stack.dags_folder):
        pass
    stack.check()


def test_a_component_that_dies_is_reported_and_nothing_is_left_running(
    stack: Stack, finished_run: str
) -> None:
    """The last test with the stack: it ends it."""
    started = [process for process in psutil.Process().children(recursive=True) if alive(process)]
    commands = " ".join(" ".join(command) for command in each_process(stack, psutil.Process.cmdline))
    assert all(name in commands for name in ("api_server", "scheduler", "dag-processor", "triggerer"))
    assert {process.pid for process in started} <= {
        process.pid for process in processes_with_home(stack.airflow_home)
    }

    (triggerer, *_) = (process for process in started if alive(process) and "triggerer" in process.cmdline())
    triggerer.kill()
    with pytest.raises(ComponentFailed, match="triggerer ended with exit code -9"):
        wait_until(lambda: died(stack))

    stack.__exit__(None, None, None)
    assert [process for process in started if alive(process)] == []
    assert processes_with_home(stack.airflow_home) == []
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(stack.url.rsplit(":", 1)[1]))) != 0


def test_a_stack_that_is_ended_while_it_starts_leaves_nothing_running(tmp_path: Path) -> None:
    with up(tmp_path) as program:
        read_until(program, "Starting")
        wait_until(lambda: len(processes_of(str(tmp_path / "up"))) >= 2)
        program.send_signal(signal.SIGTERM)
        assert program.wait(timeout=30) == 128 + signal.SIGTERM
    assert processes_of(str(tmp_path / "up")) == []


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + CONDITION_LIMIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def died(stack: Stack) -> bool:
    """Whether the stack has noticed that a component died; it raises then."""
    stack.check()
    return False
