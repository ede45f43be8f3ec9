"""The pages behind the tab: read-only, for who may read the DAG's XComs, and framed by Airflow alone."""

from __future__ import annotations

import base64
import hashlib
import logging
from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import quote

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import requires_access_dag
from airflow.models.dagrun import DagRun
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from pydantic import BeforeValidator
from starlette.exceptions import HTTPException as StarletteHTTPException

from airflow_provider_cleartrace.plugin import lookup
from airflow_provider_cleartrace.plugin.files import NotTheReport, read_report
from airflow_provider_cleartrace.plugin.history import trails
from airflow_provider_cleartrace.plugin.manifests import Told, models

log = logging.getLogger(__name__)

TEMPLATES = Environment(
    loader=PackageLoader("airflow_provider_cleartrace.plugin", "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
STYLE = TEMPLATES.get_template("style.css").render()

FRAMED = "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
PAGE_POLICY = (
    f"default-src 'none'; frame-src 'self'; {FRAMED}; "
    f"style-src 'sha256-{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}'"
)
"""Our pages: no script, one style sheet that is named by its checksum, and one frame for the report."""

REPORT_POLICY = (
    f"sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; {FRAMED}"
)
"""A report: a page of nobody's origin that runs and fetches nothing, whatever is written in it."""

HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
}

REFUSALS = {
    HTTPStatus.UNAUTHORIZED: "Sign in to Airflow and open this tab again.",
    HTTPStatus.FORBIDDEN: "You may not read the XComs of this DAG, which is where ClearTrace tasks say what"
    " they made.",
    HTTPStatus.NOT_FOUND: "There is nothing here.",
    HTTPStatus.METHOD_NOT_ALLOWED: "These pages can only be read.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "This page failed; the log of Airflow's API server says why.",
}

NOT_THERE = (
    "The report is not where its task put it, or it was written anew since then. A local file must be visible"
    " to Airflow's API server as well; for s3:// the server needs credentials."
)


def _index(given: Any) -> Any:
    """The map index in the address; Airflow's UI leaves its placeholder where a task is not mapped."""
    return -1 if given == "{MAP_INDEX}" else given


MapIndex = Annotated[int, BeforeValidator(_index)]

RUN = "/dags/{dag_id}/runs/{run_id}"
TASK = f"{RUN}/tasks/{{task_id}}/{{map_index}}"
router = APIRouter()


def create_app() -> FastAPI:
    """The app for Airflow's API server; no address of it answers who may not read the DAG that it names."""
    app = FastAPI(
        title="ClearTrace",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        dependencies=[Depends(requires_access_dag("GET", DagAccessEntity.XCOM))],
        exception_handlers={
            StarletteHTTPException: _refuse,
            RequestValidationError: _refuse,
            Exception: _refuse,
        },
    )
    app.include_router(router)
    return app


@router.get(RUN)
def show_run(request: Request, dag_id: str, run_id: str, session: SessionDep) -> Response:
    """The newest report of a run; without one, its models."""
    run, told = _run_and_manifests(session, dag_id, run_id)
    reports = [each for each in told if each.report]
    return _report_page(request, run, told, reports[-1]) if reports else _models_page(request, run, told)


@router.get(TASK)
def show_task(
    request: Request, dag_id: str, run_id: str, task_id: str, map_index: MapIndex, session: SessionDep
) -> Response:
    """The report of a task; of one that wrote none, the model that it worked on."""
    run, told = _run_and_manifests(session, dag_id, run_id)
    own = _of_task(told, task_id, map_index)
    if own and own.report:
        return _report_page(request, run, told, own)
    return _models_page(request, run, told, own)


@router.get(f"{TASK}/report")
def report_file(dag_id: str, run_id: str, task_id: str, map_index: MapIndex, session: SessionDep) -> Response:
    """The file that the task's manifest names, if it still is what the task wrote."""
    _, told = _run_and_manifests(session, dag_id, run_id)
    own = _of_task(told, task_id, map_index)
    if own is None or own.report is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, "This task wrote no report.")
    try:
        content = read_report(own.report)
    except NotTheReport as error:
        log.warning("the report of %s in run %s of %s is not shown: %s", own.label, run_id, dag_id, error)
        raise HTTPException(HTTPStatus.NOT_FOUND, NOT_THERE) from None
    name = quote(own.report.output_uri.rpartition("/")[2], safe="")
    return _answer(content, REPORT_POLICY, {"Content-Disposition": f"inline; filename*=UTF-8''{name}"})


@router.get(f"{RUN}/models")
def show_models(request: Request, dag_id: str, run_id: str, session: SessionDep) -> Response:
    """The models that a run's tasks worked on."""
    run, told = _run_and_manifests(session, dag_id, run_id)
    return _models_page(request, run, told)


@router.get(f"{RUN}/history")
def show_history(request: Request, dag_id: str, run_id: str, session: SessionDep) -> Response:
    """Drivers and metrics of a run's models, beside those of the runs before it."""
    run, own = _run_and_manifests(session, dag_id, run_id)
    runs = lookup.runs_until(session, run)
    run_ids = [each.run_id for each in runs]
    told = lookup.manifests(session, dag_id, run_ids)
    when = {each.run_id: each.run_after for each in runs}
    found = trails(told, run_ids)
    return _page("history.html", request, run, own, here="history", trails=found, when=when, runs=len(runs))


def _run_and_manifests(session: SessionDep, dag_id: str, run_id: str) -> tuple[DagRun, list[Told]]:
    run = lookup.find_run(session, dag_id, run_id)
    if run is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, "This DAG has no such run.")
    return run, lookup.manifests(session, dag_id, [run_id])


def _of_task(told: Sequence[Told], task_id: str, map_index: int) -> Told | None:
    return next((each for each in told if (each.task_id, each.map_index) == (task_id, map_index)), None)


def _report_page(request: Request, run: DagRun, told: Sequence[Told], shown: Told) -> Response:
    return _page("report.html", request, run, told, here="report", shown=shown)


def _models_page(request: Request, run: DagRun, told: Sequence[Told], own: Told | None = None) -> Response:
    first = own.manifest.model_id if own else None
    made = sorted(models(told), key=lambda model: model.model_id != first)
    return _page("models.html", request, run, told, here="models", models=made, own=own)


def _page(
    template: str, request: Request, run: DagRun, told: Sequence[Told], *, here: str, **values: Any
) -> Response:
    """One of our pages, with links to the run's others."""
    base = str(request.scope.get("root_path", ""))

    def address(*parts: object, run_id: str = run.run_id) -> str:
        named = ("dags", run.dag_id, "runs", run_id, *parts)
        return base + "".join(f"/{quote(str(part), safe='')}" for part in named)

    reports = [each for each in told if each.report]
    return _rendered(template, run=run, address=address, reports=reports, here=here, **values)


async def _refuse(request: Request, error: Exception) -> Response:
    """A refusal as a page, since it is seen in a frame; of an error of ours, nothing is told but that."""
    if isinstance(error, RequestValidationError):
        error = StarletteHTTPException(HTTPStatus.NOT_FOUND)
    told = error if isinstance(error, StarletteHTTPException) else StarletteHTTPException(500)
    status = HTTPStatus(told.status_code)
    is_ours = status == HTTPStatus.NOT_FOUND and told.detail != status.phrase
    text = told.detail if is_ours else REFUSALS.get(status, status.phrase)
    return _rendered("refusal.html", status, title=status.phrase, text=text, headers=told.headers)


def _rendered(template: str, status: int = HTTPStatus.OK, *, headers: Any = None, **values: Any) -> Response:
    style = Markup(STYLE)  # noqa: S704  (a file of this package)
    content = TEMPLATES.get_template(template).render(style=style, **values)
    # JSON can hold half a character, which UTF-8 cannot.
    return _answer(content.encode(errors="replace"), PAGE_POLICY, headers, status)


def _answer(content: bytes, policy: str, headers: Any = None, status: int = HTTPStatus.OK) -> Response:
    own = {**HEADERS, "Content-Security-Policy": policy}
    return Response(content, status, {**(headers or {}), **own}, "text/html; charset=utf-8")
