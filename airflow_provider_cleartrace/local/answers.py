"""How the server answers: results as JSON, and refusals in FastAPI's error shape, never a traceback."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel

from airflow_provider_cleartrace.api.models import Result
from airflow_provider_cleartrace.local.engine.errors import InputError, ModelFileError
from airflow_provider_cleartrace.local.logs import place_of
from airflow_provider_cleartrace.local.refusals import Refusal

_log = logging.getLogger(__name__)


class ErrorAnswer(BaseModel):
    """What every refusal looks like; for a body that fails validation ``detail`` is a list."""

    detail: str


def answer(result: Result, status: int = 200) -> Response:
    """Write a result as JSON; a missing number is ``null``."""
    return Response(result.model_dump_json(by_alias=True), status, media_type="application/json")


def refuse(refusal: Refusal) -> JSONResponse:
    """Answer a refusal."""
    return JSONResponse({"detail": str(refusal)}, refusal.status, refusal.headers)


def internal_error(error: Exception) -> JSONResponse:
    """Log an unforeseen error by its place, and answer without its text, which may hold data."""
    _log.error("request failed unexpectedly", extra={"where": place_of(error)})
    return JSONResponse(
        {"detail": "internal error; this is a defect of ClearTrace Local, its log has the place"}, 500
    )


def handle_errors(app: FastAPI) -> None:
    """Register a handler for everything that endpoints raise on purpose."""

    @app.exception_handler(Refusal)
    async def _refusal(_: Request, error: Refusal) -> Response:
        return refuse(error)

    @app.exception_handler(InputError)
    async def _input(_: Request, error: InputError) -> Response:
        return JSONResponse({"detail": str(error)}, 422)

    @app.exception_handler(ModelFileError)
    async def _model_file(_: Request, error: ModelFileError) -> Response:
        _log.error("a stored model cannot be read", extra={"where": place_of(error)})
        return JSONResponse({"detail": "the stored model cannot be read; train it again"}, 500)

    @app.exception_handler(RequestValidationError)
    async def _validation(_: Request, error: RequestValidationError) -> Response:
        # pydantic's own items also hold the input: whole bodies, and secrets among them.
        items: list[dict[str, Any]] = [
            {"loc": item["loc"], "msg": item["msg"], "type": item["type"]} for item in error.errors()
        ]
        return JSONResponse({"detail": items}, 422)
