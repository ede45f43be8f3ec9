"""A wait tells of a job what changes, and little else."""

from __future__ import annotations

import logging
import time

import pytest

from airflow_provider_cleartrace.client.jobs import wait_until_ended
from airflow_provider_cleartrace.client.polling import Ending, Patience
from airflow_provider_cleartrace.triggers.job import StatusLog
from tests.unit.client.driver import answer, script, session

POLLS = 1000


def test_a_thousand_equal_polls_are_a_handful_of_lines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    running = answer(200, {"model_id": "m", "status": "running", "job": "fit"})
    completed = answer(200, {"model_id": "m", "status": "completed", "job": "fit"})
    looks = script(*[running] * POLLS, completed)

    ended = looks.run(
        wait_until_ended(
            session(),
            "m",
            "fit",
            Patience(),
            started=time.time(),
            deadline=None,
            on_status=StatusLog(logging.getLogger("task"), "m", "fit"),
        )
    )

    assert ended.ending is Ending.COMPLETED
    assert len(looks.requests) == POLLS + 1
    lines = [record.message for record in caplog.records]
    assert lines == ["fit of model m is running", "fit of model m is completed"]
