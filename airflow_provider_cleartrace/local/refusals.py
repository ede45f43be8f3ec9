"""Why the server says no: each refusal knows its HTTP status, so that one handler answers them all."""

from __future__ import annotations


class Refusal(Exception):
    """A request that cannot be served; its text is the answer's ``detail`` and holds no secret, no data."""

    status = 400

    @property
    def headers(self) -> dict[str, str]:
        """Extra headers of the answer."""
        return {}


class WrongKey(Refusal):
    """The bearer key is missing or unknown."""

    status = 401

    @property
    def headers(self) -> dict[str, str]:
        """Name the scheme, as RFC 6750 asks."""
        return {"WWW-Authenticate": "Bearer"}


class BadSignature(Refusal):
    """A presigned URL was altered, has expired, or is used in another way than it was signed for."""

    status = 403


class NotFound(Refusal):
    """No such model, or nothing of this kind was asked for."""

    status = 404


class NotReady(Refusal):
    """The model is not in the state that the call needs."""

    status = 409


class Taken(Refusal):
    """The model id is busy with other work."""

    status = 409


class TooSlow(Refusal):
    """The body did not end in the time a body has."""

    status = 408


class LengthRequired(Refusal):
    """An upload without a Content-Length, as S3 refuses it."""

    status = 411


class TooLarge(Refusal):
    """More bytes than the server was started for."""

    status = 413


class BadInput(Refusal):
    """The body is well formed, but cannot be worked with."""

    status = 422


class BucketUnavailable(Refusal):
    """The upload bucket does not answer, or this server may not use it."""

    status = 503


class QueueFull(Refusal):
    """As many jobs wait as may wait."""

    status = 429

    RETRY_AFTER_SECONDS = 5
    """A job of a few thousand rows takes about this long; a client adds its own backoff."""

    @property
    def headers(self) -> dict[str, str]:
        """Say when to come back."""
        return {"Retry-After": str(self.RETRY_AFTER_SECONDS)}
