"""A wait tells of a job what changes, and little else."""

from __future__ import annotations

import logging
import time

import pytest

from airflow_provider_cleartrace.client.polling import Ending
from airflow_provider_cleartrace.client.settings import Settings
from airflow_provider_cleartrace.triggers.job import ClearTraceJobTrigger
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
