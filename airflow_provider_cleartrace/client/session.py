"""A client's memory, and one request of it: from an operation and a body to a typed answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import pydantic
import pydantic_core

from airflow_provider_cleartrace.api import models, operations
from airflow_provider_cleartrace.api.errors import ServerError, ValidationError
from airflow_provider_cleartrace.api.operations import Operation, Retry
from airflow_provider_cleartrace.client.exchange import Answer, Flow, Request
from airflow_provider_cleartrace.client.retry import send
from airflow_provider_cleartrace.client.settings import Settings

R = TypeVar("R", bound=models.Result)
B = TypeVar("B", bound=models.Body)


@dataclass(slots=True)
class Session:
    """One client's memory: its settings, the model it is attached to, and that model's columns."""

    settings: Settings
    model_id: str | None = None
    feature_names: list[str] | None = None

    def attached(self) -> str:
        """The id of the current model."""
        if self.model_id is None:
            raise ValidationError("no model yet: call fit, fit_distill, upload_file or load first")
        return self.model_id


def call(
    session: Session,
    operation: Operation[R],
    *,
    model_id: str | None = None,
    body: models.Body | bytes | None = None,
    query: str = "",
) -> Flow[R]:
    """Send one operation and read its answer."""
    answer = yield from answer_of(session, operation, model_id=model_id, body=body, query=query)
    return read(operation, answer)


def answer_of(
    session: Session,
    operation: Operation[R],
    *,
    model_id: str | None = None,
    body: models.Body | bytes | None = None,
    query: str = "",
) -> Flow[Answer]:
    """Send one operation, with the retries its row of the table allows, and return the raw answer.

    A ``body`` of many rows comes as :func:`encoded`, so that they are not held as Python objects as well.
    """
    settings = session.settings
    request = Request(
        operation=operation.name,
        method=operation.method,
        url=settings.base_url + operation.url_path(model_id, settings.paths) + query,
        timeout=settings.timeout,
        content=encoded(operation, body) if isinstance(body, models.Body) else body,
        headers={"Accept": "application/json"}
        | ({} if body is None else {"Content-Type": "application/json"}),
        authenticated=operation.authenticated,
    )
    freely = operation.retry is Retry.FREELY
    return (yield from send(request, max_retries=settings.max_retries, freely=freely))


def read(operation: Operation[R], answer: Answer) -> R:
    """Read an answer as its operation's result."""
    try:
        return operation.answer.model_validate(pydantic_core.from_json(answer.content))
    except ValueError as error:  # pydantic's own error is a ValueError too
        places = (
            ", ".join(sorted({".".join(map(str, item["loc"])) for item in error.errors()}))
            if isinstance(error, pydantic.ValidationError)
            else "not JSON"
        )
        raise ServerError(
            f"{operation.name}: HTTP {answer.status} with an answer that is not the contract's ({places})",
            status_code=answer.status,
        ) from None  # pydantic's message quotes the data


def build_body(model: type[B], **fields: Any) -> B:
    """Build a request body; what does not fit is refused here, before anything is sent."""
    try:
        return model(**fields)
    except pydantic.ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in error.errors()
        )
        raise ValidationError(problems) from None  # pydantic's message quotes the data


def encoded(operation: Operation[Any], body: models.Body) -> bytes:
    """A request body as the JSON that is sent.

    Raises:
        ValidationError: a value in it has no JSON form.
    """
    try:
        return pydantic_core.to_json(body.wire())
    except ValueError:  # a training option or a constraint may hold anything
        raise ValidationError(f"{operation.name}: an argument has no JSON form") from None


def check_length(operation: Operation[Any], got: int, rows: int) -> None:
    """Refuse an answer that has lost or invented rows."""
    if got != rows:
        raise ServerError(f"{operation.name}: {rows} rows were sent, {got} came back")


def health(session: Session, /) -> Flow[models.Health]:
    """Check that the server is up (needs no key)."""
    return (yield from call(session, operations.HEALTH))
