"""When a request is sent again, and after how long."""

from __future__ import annotations

import random
from dataclasses import dataclass

from airflow_provider_cleartrace.api.errors import (
    OuterProductError,
    RateLimitError,
    ServerError,
    TransportError,
    error_from_answer,
)
from airflow_provider_cleartrace.client.exchange import Answer, Flow, Request, exchange, pause

RETRIED_STATUSES = frozenset({408, 429, 502, 503, 504})
"""Answers that say "not now" rather than "no"; a bare 500 is a fault that a second try would repeat."""

MAX_RETRY_AFTER = 300.0
"""Seconds of a server's ``Retry-After`` that are honoured: beyond, the caller decides."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential delays with jitter: ``first * factor**attempt`` up to ``cap`` seconds, +- ``jitter``."""

    first: float
    factor: float
    cap: float
    jitter: float = 0.2

    def delay(self, attempt: int, retry_after: float | None = None) -> float:
        """Seconds to wait before attempt number ``attempt + 1``; at least what the server asked for."""
        # An exponent beyond 64 is past any cap and would overflow in a wait of days.
        raw = min(self.cap, self.first * self.factor ** min(attempt, 64))
        jittered = raw * random.uniform(1 - self.jitter, 1 + self.jitter)  # noqa: S311  (spreads load, no secret)
        return max(jittered, min(retry_after or 0.0, MAX_RETRY_AFTER))


REQUEST_BACKOFF = Backoff(first=0.5, factor=2.0, cap=30.0)


def is_transient(error: OuterProductError) -> bool:
    """Whether another attempt within seconds may well succeed."""
    return error.transient and (not isinstance(error, ServerError) or error.status_code in RETRIED_STATUSES)


def provably_without_effect(error: OuterProductError) -> bool:
    """Whether the failed request cannot have started anything: it never left, or was turned away."""
    return isinstance(error, RateLimitError) or (isinstance(error, TransportError) and not error.sent)


def retry_after_of(error: OuterProductError) -> float | None:
    """The wait a server asked for with its refusal, in seconds."""
    return error.retry_after if isinstance(error, RateLimitError | ServerError) else None


def send(request: Request, *, max_retries: int, freely: bool) -> Flow[Answer]:
    """Send ``request``; answers of 300 and above become typed errors, transient ones after their retries.

    Args:
        request: What to send.
        max_retries: How often a failed attempt is followed by another.
        freely: Whether a request that may have taken effect is sent again as well.
    """
    for attempt in range(max_retries + 1):
        try:
            answer = yield from exchange(request)
            if answer.status < 300:
                return answer
            raise error_from_answer(
                answer.status, answer.content, operation=request.operation, retry_after=answer.retry_after
            )
        except OuterProductError as error:
            again = is_transient(error) if freely else provably_without_effect(error)
            if not again or attempt == max_retries:
                raise
            delay = REQUEST_BACKOFF.delay(attempt, retry_after_of(error))
        yield from pause(delay)
    raise AssertionError("unreachable: the last attempt returns or raises")
