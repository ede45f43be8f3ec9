"""Which ClearTrace errors are worth another try of the task, as a retry policy of Airflow 3.3+."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_cleartrace.api.errors import (
    AuthenticationError,
    JobFailedError,
    NotFoundError,
    OuterProductError,
    PollTimeoutError,
    RateLimitError,
    ServerError,
    TransportError,
    ValidationError,
)

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ExceptionRetryPolicy

RETRIED: tuple[type[OuterProductError], ...] = (
    TransportError,
    RateLimitError,
    ServerError,
    PollTimeoutError,
)
"""What passes by itself. The retry finds the job of the try before it, or starts the next generation."""

FAILED_AT_ONCE: tuple[type[OuterProductError], ...] = (
    AuthenticationError,
    ValidationError,
    NotFoundError,
    JobFailedError,
)
"""What the same request would meet again.

So would a failed job, mostly: the next generation has the same data and the same options, and is paid for
like the first.
"""


def cleartrace_retry_policy() -> ExceptionRetryPolicy:
    """A retry policy that retries what is transient, and fails at once what no retry can mend.

    All other exceptions go by the task's ``retries``, as without a policy. For other rules, build a policy
    from :data:`RETRIED` and :data:`FAILED_AT_ONCE`.

    Raises:
        RuntimeError: this Airflow has no retry policies.
    """
    try:
        from airflow.providers.common.compat.sdk import (  # noqa: PLC0415  (Airflow 3.3+)
            ExceptionRetryPolicy,
            RetryAction,
            RetryRule,
        )
    except ImportError:
        raise RuntimeError(
            "retry policies need Airflow 3.3 or newer: leave retry_policy out and set retries"
        ) from None
    return ExceptionRetryPolicy(
        rules=[
            RetryRule(list(RETRIED), RetryAction.RETRY, reason="ClearTrace: may pass by itself"),
            RetryRule(list(FAILED_AT_ONCE), RetryAction.FAIL, reason="ClearTrace: would happen again"),
        ]
    )
