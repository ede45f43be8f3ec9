"""The documented Python client of ClearTrace, sync and async."""

from __future__ import annotations

from airflow_provider_cleartrace.api.errors import (
    AuthenticationError,
    ConflictError,
    JobFailedError,
    JobStalledError,
    NotFoundError,
    OuterProductError,
    PollTimeoutError,
    RateLimitError,
    ServerError,
    SubmitInDoubtError,
    TransportError,
    UploadError,
    ValidationError,
)
from airflow_provider_cleartrace.client.aio import AsyncClearTrace
from airflow_provider_cleartrace.client.sync import ClearTrace

__all__ = [
    "AsyncClearTrace",
    "AuthenticationError",
    "ClearTrace",
    "ConflictError",
    "JobFailedError",
    "JobStalledError",
    "NotFoundError",
    "OuterProductError",
    "PollTimeoutError",
    "RateLimitError",
    "ServerError",
    "SubmitInDoubtError",
    "TransportError",
    "UploadError",
    "ValidationError",
]
