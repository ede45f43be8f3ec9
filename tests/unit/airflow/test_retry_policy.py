"""The retry policy preset: which errors are retried, and that Airflow's own code goes by it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_cleartrace.api import errors
from airflow_provider_cleartrace.api.errors import JobFailedError, JobStalledError, OuterProductError
from airflow_provider_cleartrace.operators.training import ClearTraceFitOperator
from airflow_provider_cleartrace.retry_policy import FAILED_AT_ONCE, RETRIED, cleartrace_retry_policy

try:
    from airflow.providers.common.compat.sdk import ExceptionRetryPolicy
except ImportError:
    ExceptionRetryPolicy = None

needs_policies = pytest.mark.skipif(ExceptionRetryPolicy is None, reason="Airflow before 3.3")

ERRORS: dict[str, Exception] = {
    "retry": errors.TransportError("reset"),
    "retry ": errors.RateLimitError("429"),
    "retry  ": errors.ServerError("500", status_code=500),
    "retry   ": JobStalledError("stalled", elapsed=1.0, model_id="m"),
    "fail": errors.AuthenticationError("401"),
    "fail ": errors.ValidationError("422"),
    "fail  ": errors.NotFoundError("404"),
    "fail   ": JobFailedError(model_id="m", job="fit", reason="target is constant"),
    "default": OuterProductError("resumed without an event"),
    "default ": errors.ConflictError("busy"),
    "default  ": errors.UploadError("AccessDenied", status_code=403),
    "default   ": RuntimeError("not ours"),
}


def test_every_transient_error_is_retried_and_no_other() -> None:
    known = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    transient = {kind for kind in known if issubclass(kind, OuterProductError) and kind.transient}
    assert transient == {kind for kind in known if issubclass(kind, RETRIED)}
    assert not any(issubclass(kind, RETRIED) for kind in FAILED_AT_ONCE)


@needs_policies
@pytest.mark.parametrize(("action", "error"), ERRORS.items(), ids=[type(e).__name__ for e in ERRORS.values()])
def test_airflow_s_task_runner_decides_by_it(action: str, error: Exception) -> None:
    import structlog
    from airflow.sdk.execution_time.task_runner import _evaluate_retry_policy

    task = ClearTraceFitOperator(
        task_id="fit", target="y", data="d.csv", retries=3, retry_policy=cleartrace_retry_policy()
    )
    ti: Any = SimpleNamespace(task=task, try_number=1, _ti_context_from_server=None)
    decision = _evaluate_retry_policy(ti, error, structlog.get_logger())
    assert decision is not None
    assert decision.action.value == action.strip()


@needs_policies
def test_it_survives_the_serialization_of_the_dag() -> None:
    policy = cleartrace_retry_policy()
    again = type(policy).deserialize(policy.serialize())
    for action, error in ERRORS.items():
        assert again.evaluate(error, 1, 3).action.value == action.strip()


@pytest.mark.skipif(ExceptionRetryPolicy is not None, reason="Airflow 3.3 and later have them")
def test_an_airflow_without_policies_says_so_when_one_is_asked_for() -> None:
    with pytest.raises(RuntimeError, match=r"need Airflow 3\.3"):
        cleartrace_retry_policy()
