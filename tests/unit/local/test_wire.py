"""The server is the wire's table: each operation has an endpoint, with the body the table names."""

from __future__ import annotations

import inspect
import typing

import pytest

from airflow_provider_cleartrace.api.models import Result
from airflow_provider_cleartrace.api.operations import OPERATIONS, Operation
from airflow_provider_cleartrace.local import endpoints, worker


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_every_operation_is_served_with_its_body(operation: Operation[Result]) -> None:
    endpoint = getattr(endpoints.Endpoints, operation.name)
    hints = typing.get_type_hints(endpoint)
    assert inspect.iscoroutinefunction(endpoint)
    assert hints.get("body") is operation.body


def test_every_job_can_be_worked() -> None:
    assert set(worker.WORK) == {operation.job for operation in OPERATIONS if operation.job}
