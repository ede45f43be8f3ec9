"""How the server answers: results as JSON, and refusals in FastAPI's error shape, never a traceback."""

from __future__ import annotations

import json
import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel
from pydantic_core import PydanticSerializationError

from airflow_provider_cleartrace.api.models import Result
from airflow_provider_cleartrace.local.engine.errors import InputError, ModelFileError
from airflow_provider_cleartrace.local.logs import place_of
from airflow_provider_cleartrace.local.refusals import Refusal

_log = logging.getLogger(__name__)


class Fault(BaseModel):
    """One thing that is wrong with a request: where, in words, and as a code."""

    loc: list[str | int]
    msg: str
    type: str


class ErrorAnswer(BaseModel):
    """What every refusal looks like; for a request that fails validation ``detail`` is a list."""

    detail: str | list[Fault]


def answer(result: Result, status: int = 200) -> Response:
    """Write a result as JSON; a missing number is ``null``."""
    return Response(result.model_dump_json(by_alias=True), status, media_type="application/json")


def refuse(refusal: Refusal) -> Response:
    """Answer a refusal."""
    return _problem(str(refusal), refusal.status, refusal.headers)


def internal_error(error: Exception) -> Response:
    """Log an unforeseen error by its place, and answer without its text, which may hold data."""
    _log.error("request failed unexpectedly", extra={"where": place_of(error)})
    return _problem("internal error; this is a defect of ClearTrace Local, its log has the place", 500)


def handle_errors(app: FastAPI) -> None:
    """Register a handler for everything that a request can raise by what it holds."""

    @app.exception_handler(Refusal)
    async def _refusal(_: Request, error: Refusal) -> Response:
        return refuse(error)

    @app.exception_handler(InputError)
    async def _input(_: Request, error: InputError) -> Response:
        return _problem(str(error), 422)

    @app.exception_handler(OverflowError)
    async def _number(_: Request, error: OverflowError) -> Response:
        return _problem("the body holds a number beyond the range of a 64-bit float", 422)

    @app.exception_handler(UnicodeEncodeError)
    @app.exception_handler(PydanticSerializationError)  # of an answer that repeats such a text
    async def _text(_: Request, error: Exception) -> Response:
        return _problem("the body holds a text that is no valid Unicode (a lone surrogate)", 422)

    @app.exception_handler(ModelFileError)
    async def _model_file(_: Request, error: ModelFileError) -> Response:
        _log.error("a stored model cannot be read", extra={"where": place_of(error)})
        return _problem("the stored model cannot be read; train it again", 500)

    @app.exception_handler(RequestValidationError)
    async def _validation(_: Request, error: RequestValidationError) -> Response:
        # pydantic's own items also hold the input: whole bodies, and secrets among them.
        return _problem(
            [{"loc": item["loc"], "msg": item["msg"], "type": item["type"]} for item in error.errors()], 422
        )


def _problem(
    detail: str | list[dict[str, Any]], status: int, headers: dict[str, str] | None = None
) -> Response:
    # In ASCII: a detail may name a key that is no valid Unicode.
    return Response(json.dumps({"detail": detail}), status, headers, media_type="application/json")
