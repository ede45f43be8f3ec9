"""Every way a ClearTrace call can end badly, and how an HTTP answer becomes one of them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, ClassVar

MAX_DETAIL = 1000
"""Characters of a server's error text that are kept: enough to understand, too few to flood a log."""


class OuterProductError(Exception):
    """Base of every error this client raises.

    ``status_code`` is the HTTP status, where there was one; ``from_service`` is False where the answer cannot
    have come from ClearTrace, whose errors are JSON; ``transient`` tells whether the same may well succeed
    later.
    """

    from_service = True
    transient: ClassVar[bool] = False

    def __init__(self, message: str, *, status_code: int | None = None) -> None:
        super().__init__(message)
        self.status_code = status_code


class AuthenticationError(OuterProductError):
    """The key is missing, wrong, or lacks the right (401, 403)."""


class NotFoundError(OuterProductError):
    """No such model, artefact or route (404)."""


class ValidationError(OuterProductError, ValueError):
    """The request cannot be served as it stands (400, 413, 422), or the client refused to send it."""


class ConflictError(OuterProductError):
    """The model id is taken by other work, or the model is not in the state the call needs (409)."""


class RateLimitError(OuterProductError):
    """Too many requests (429). ``retry_after`` is the wait the server asked for, in seconds, if any."""

    transient = True

    def __init__(
        self, message: str, *, status_code: int | None = 429, retry_after: float | None = None
    ) -> None:
        super().__init__(message, status_code=status_code)
        self.retry_after = retry_after


class ServerError(OuterProductError):
    """The service failed (5xx) or answered with something that is not its contract."""

    transient = True

    def __init__(
        self, message: str, *, status_code: int | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message, status_code=status_code)
        self.retry_after = retry_after


class TransportError(OuterProductError):
    """No answer arrived. ``sent`` is False only when the request provably never reached the server."""

    transient = True

    def __init__(self, message: str, *, sent: bool = True) -> None:
        super().__init__(message)
        self.sent = sent


class SubmitInDoubtError(TransportError):
    """A submit's answer was lost, and the service cannot tell whether the job was started.

    It is not repeated: that might start, and cost, a second one.
    """

    def __init__(self, *, model_id: str, job: str, reason: str) -> None:
        super().__init__(
            f"ClearTrace {job} of model {model_id!r} may have been started: its submit had no answer "
            f"({reason}), and the service cannot tell. Look at the model before you submit again"
        )
        self.model_id = model_id
        self.job = job
        self.reason = reason


class UploadError(OuterProductError):
    """The object store refused the bytes; ``code`` is its own error code, such as ``AccessDenied``."""

    def __init__(self, message: str, *, status_code: int | None = None, code: str | None = None) -> None:
        super().__init__(message, status_code=status_code)
        self.code = code


class JobFailedError(OuterProductError):
    """The service ended a job as failed; ``reason`` is what it said, ``page`` where to look at the model."""

    def __init__(self, *, model_id: str, job: str, reason: str, page: str = "") -> None:
        see = f"; see {page}" if page else ""
        super().__init__(f"ClearTrace {job} of model {model_id!r} failed: {reason}{see}")
        self.model_id = model_id
        self.job = job
        self.reason = reason


class PollTimeoutError(OuterProductError):
    """The wait outlasted its deadline; the job may still run. ``elapsed`` is in seconds."""

    transient = True

    def __init__(self, message: str, *, elapsed: float, model_id: str) -> None:
        super().__init__(message)
        self.elapsed = elapsed
        self.model_id = model_id


class JobStalledError(PollTimeoutError):
    """The wait was given up because the job stood still for too long; it may still run."""


_BY_STATUS: Mapping[int, type[OuterProductError]] = {
    400: ValidationError,
    401: AuthenticationError,
    403: AuthenticationError,
    404: NotFoundError,
    409: ConflictError,
    413: ValidationError,
    422: ValidationError,
}


def error_detail(content: bytes) -> str:
    """The human part of an error body: FastAPI's ``detail``, else the usual keys, else the text itself."""
    text = content.decode("utf-8", "replace").strip()
    try:
        body: Any = json.loads(text)
    except ValueError:
        return text[:MAX_DETAIL]
    if isinstance(body, dict):
        body = next(
            (body[key] for key in ("detail", "error", "error_message", "message") if body.get(key)), text
        )
    if isinstance(body, list):
        body = "; ".join(_validation_item(item) for item in body)
    return str(body)[:MAX_DETAIL]


def _validation_item(item: Any) -> str:
    if not isinstance(item, dict):
        return str(item)
    where = ".".join(str(part) for part in item.get("loc", ()) if part != "body")
    message = str(item.get("msg", item))
    return f"{where}: {message}" if where else message


def error_from_answer(
    status: int, content: bytes, *, operation: str, retry_after: float | None = None
) -> OuterProductError:
    """Build the typed error for an answer of ``status`` >= 300 to ``operation``."""
    detail = error_detail(content) or "no detail given"
    if status < 400:
        detail = "redirects are not followed: give the address they lead to as the API's URL"
    message = f"{operation}: HTTP {status}: {detail}"
    error: OuterProductError
    if status == 429:
        error = RateLimitError(message, status_code=status, retry_after=retry_after)
    elif status >= 500 or status == 408:
        error = ServerError(message, status_code=status, retry_after=retry_after)
    else:
        error = _BY_STATUS.get(status, OuterProductError)(message, status_code=status)
    error.from_service = content.lstrip()[:1] in (b"{", b"[")
    return error


_XML_CODE = re.compile(rb"<Code>([^<]{1,200})</Code>")
_XML_MESSAGE = re.compile(rb"<Message>([^<]{1,1000})</Message>")


def upload_error_from_answer(status: int, content: bytes) -> UploadError:
    """Build the error for an object store's refusal; S3 speaks XML, ClearTrace Local speaks JSON."""
    code = _XML_CODE.search(content)
    if code is None:
        return UploadError(f"upload refused: HTTP {status}: {error_detail(content)}", status_code=status)
    message = _XML_MESSAGE.search(content)
    name = code.group(1).decode("utf-8", "replace")
    text = message.group(1).decode("utf-8", "replace") if message else "no message"
    return UploadError(f"upload refused: HTTP {status}: {name}: {text}", status_code=status, code=name)
