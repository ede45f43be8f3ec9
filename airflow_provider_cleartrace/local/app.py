"""The ASGI application: the wire's table of operations becomes routes, behind the gate."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio.to_thread import run_sync
from fastapi import FastAPI
from fastapi.responses import HTMLResponse, PlainTextResponse

from airflow_provider_cleartrace import __version__
from airflow_provider_cleartrace.api.operations import OPERATIONS
from airflow_provider_cleartrace.local.answers import ErrorAnswer, handle_errors
from airflow_provider_cleartrace.local.auth import KeyRing
from airflow_provider_cleartrace.local.buckets import BucketUploads
from airflow_provider_cleartrace.local.datasets import SizeLimits
from airflow_provider_cleartrace.local.destinations import Destinations
from airflow_provider_cleartrace.local.docs_page import docs_page
from airflow_provider_cleartrace.local.endpoints import Endpoints
from airflow_provider_cleartrace.local.folders import Folders
from airflow_provider_cleartrace.local.gate import Gate
from airflow_provider_cleartrace.local.jobs import JobRunner
from airflow_provider_cleartrace.local.metrics import CONTENT_TYPE, RequestCounts, exposition
from airflow_provider_cleartrace.local.scoring import Scorer
from airflow_provider_cleartrace.local.settings import Settings
from airflow_provider_cleartrace.local.shelf import ModelShelf
from airflow_provider_cleartrace.local.status_page import StatusPage
from airflow_provider_cleartrace.local.store import Store
from airflow_provider_cleartrace.local.submissions import Submissions
from airflow_provider_cleartrace.local.uploads import UPLOAD_PATH, OwnUploads, Uploads

_PAGE = "/"
_DOCS = "/docs"
_OPENAPI = "/openapi.json"
_METRICS = "/metrics"

_REFUSALS: dict[int | str, dict[str, object]] = {
    status: {"model": ErrorAnswer, "description": description}
    for status, description in {
        401: "No key, or none of this server's",
        404: "No such model for this key",
        409: "The model is not in the state that the call needs",
        413: "The body is too large",
        422: "The body is malformed, or cannot be worked with",
        429: "Too many jobs wait; Retry-After says when to come back",
    }.items()
}


def create_app(settings: Settings) -> FastAPI:
    """Build the server for one data directory, which it locks.

    Raises:
        DataDirInUse: another server works on the directory.
        ValueError: the upload bucket is not written as s3://bucket/prefix, or an allowed host not as
            HOST or HOST:PORT.
    """
    folders = Folders(settings.data_dir)
    folders.prepare()
    lock = folders.lock()
    secret = folders.secret()
    store = Store(folders.database)
    uploads: Uploads
    if settings.upload_bucket is None:
        uploads = OwnUploads(
            store,
            folders,
            secret,
            max_bytes=settings.max_upload_bytes,
            url_seconds=settings.upload_url_seconds,
        )
    else:
        uploads = BucketUploads(
            settings.upload_bucket,
            store,
            max_bytes=settings.max_upload_bytes,
            url_seconds=settings.upload_url_seconds,
        )
    runner = JobRunner(store, folders, settings)
    shelf = ModelShelf(settings.cached_models)
    endpoints = Endpoints(
        store=store,
        folders=folders,
        uploads=uploads,
        submissions=Submissions(store, folders, uploads, settings),
        runner=runner,
        shelf=shelf,
        scorer=Scorer(shelf, SizeLimits(settings.max_scoring_rows, settings.max_columns)),
        destinations=Destinations.parse(settings.allow_predict_host),
        request_threads=settings.request_threads,
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        runner.start()
        yield
        await run_sync(runner.stop)
        lock.close()

    app = FastAPI(
        title="ClearTrace Local",
        version=__version__,
        description="Explainable models on tables: train, distil, explain, segment and narrate.",
        lifespan=lifespan,
        docs_url=None,  # FastAPI's own pages load their scripts from the internet
        redoc_url=None,
        openapi_url=_OPENAPI,
    )
    app.state.runner = runner
    for operation in OPERATIONS:
        app.add_api_route(
            operation.path,
            getattr(endpoints, operation.name),
            methods=[operation.method],
            name=operation.name,
            summary=operation.summary,
            response_model=operation.answer,
            responses=_REFUSALS if operation.authenticated else None,
            operation_id=operation.name,
        )
    app.add_api_route(
        UPLOAD_PATH, endpoints.receive_upload, methods=["PUT"], summary="PUT a file to a presigned URL"
    )

    page = StatusPage(needs_key=bool(settings.api_keys))

    @app.get(_PAGE, include_in_schema=False)
    async def status_page() -> HTMLResponse:
        return HTMLResponse(page.html, headers=page.headers)

    @app.get(_DOCS, include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(docs_page(app.openapi()))

    counts = RequestCounts()

    @app.get(_METRICS, include_in_schema=False)
    def metrics() -> PlainTextResponse:
        return PlainTextResponse(exposition(counts, store.job_totals()), media_type=CONTENT_TYPE)

    handle_errors(app)
    app.add_middleware(
        Gate,
        keys=KeyRing(settings.api_keys, secret),
        public={
            _PAGE,
            _DOCS,
            _OPENAPI,
            *(operation.path for operation in OPERATIONS if not operation.authenticated),
        },
        presigned=UPLOAD_PATH.partition("{")[0],
        max_body_bytes=settings.max_body_bytes,
        body_seconds=settings.request_body_seconds,
        upload_seconds=settings.upload_url_seconds,
        access_log=settings.access_log,
        counts=counts,
    )
    return app
