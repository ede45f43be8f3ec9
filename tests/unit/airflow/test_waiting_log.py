"""A wait tells of a job what changes, and little else."""

from __future__ import annotations

import logging
import time
from types import SimpleNamespace

import pytest

from airflow_provider_cleartrace.api.errors import TransportError
from airflow_provider_cleartrace.client.polling import Ending
from airflow_provider_cleartrace.client.settings import Settings
from airflow_provider_cleartrace.triggers.job import HEARTBEAT, ClearTraceJobTrigger, StatusLog
from tests.unit.client.driver import answer, script

POLLS = 1000


def test_a_thousand_equal_polls_are_a_handful_of_lines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    running = answer(200, {"model_id": "m", "status": "running", "job": "fit"})
    completed = answer(200, {"model_id": "m", "status": "completed", "job": "fit"})
    looks = script(*[running] * POLLS, completed)

    waiting = ClearTraceJobTrigger("m", "fit", "cleartrace_default", started=time.time())
    ended = looks.run(waiting.wait(Settings(base_url="http://cleartrace.test")))

    assert ended.ending is Ending.COMPLETED
    assert len(looks.requests) == POLLS + 1
    lines = [record.message for record in caplog.records]
    assert lines == ["fit of model m is running", "fit of model m is completed"]


def test_an_outage_is_a_warning_when_it_begins_and_a_line_when_it_is_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    running = answer(200, {"model_id": "m", "status": "running", "job": "fit"})
    completed = answer(200, {"model_id": "m", "status": "completed", "job": "fit"})
    gone = [TransportError("status: no answer from h")] * POLLS

    waiting = ClearTraceJobTrigger("m", "fit", "cleartrace_default", started=time.time())
    script(running, *gone, running, completed).run(waiting.wait(Settings(base_url="http://cleartrace.test")))

    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("INFO", "fit of model m is running"),
        ("WARNING", "fit of model m cannot be looked at: status: no answer from h"),
        ("INFO", "fit of model m is running"),
        ("INFO", "fit of model m is completed"),
    ]


def test_what_goes_on_for_long_is_told_again(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = [1.0, HEARTBEAT, HEARTBEAT + 1.0]
    clock = SimpleNamespace(monotonic=iter(looks).__next__)
    monkeypatch.setattr("airflow_provider_cleartrace.triggers.job.time", clock)
    told = StatusLog("m", "fit")
    for _ in looks:
        told(TransportError("gone"))
    assert len(caplog.records) == 2
