"""The login that ``make up`` prints, and its end. The last module of the folder: it ends the program."""

from __future__ import annotations

import signal

import pytest

from example_dags.demo.api import AirflowApiError
from example_dags.demo.processes import processes_of
from tests.system.up.program import Up

pytestmark = pytest.mark.system


def test_only_the_printed_password_opens_airflow(up: Up) -> None:
    with pytest.raises(AirflowApiError, match="HTTP 404"):
        up.api().run_state("no_dag", "no_run")
    with pytest.raises(AirflowApiError, match="HTTP 401"):
        up.api("not the password").run_state("no_dag", "no_run")


def test_ctrl_c_leaves_nothing_running(up: Up) -> None:
    up.program.send_signal(signal.SIGINT)
    assert up.program.wait(timeout=30) == 0
    assert processes_of(str(up.folder / "up")) == []
