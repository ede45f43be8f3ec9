"""The endpoints: one method for each operation of the wire, by the operation's name."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import fastapi
from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import Depends, Query, Request, Response
from fastapi.security import HTTPBearer

from airflow_provider_cleartrace.api import models
from airflow_provider_cleartrace.api.listing import LISTED_MODELS, ListedDriver, ListedModel, ModelList
from airflow_provider_cleartrace.local.answers import answer
from airflow_provider_cleartrace.local.artefacts import Artefact
from airflow_provider_cleartrace.local.destinations import Destinations
from airflow_provider_cleartrace.local.engine.errors import ModelFileError
from airflow_provider_cleartrace.local.folders import Folders
from airflow_provider_cleartrace.local.jobs import JobRunner
from airflow_provider_cleartrace.local.progress import ProgressFile
from airflow_provider_cleartrace.local.records import COMPLETED, FAILED, PENDING, RUNNING, Job, ModelRecord
from airflow_provider_cleartrace.local.refusals import NotFound, NotReady
from airflow_provider_cleartrace.local.scoring import Scorer
from airflow_provider_cleartrace.local.shelf import ModelShelf
from airflow_provider_cleartrace.local.store import Store, unknown_model
from airflow_provider_cleartrace.local.submissions import Submissions, new_model_id
from airflow_provider_cleartrace.local.uploads import OwnUploads, Uploads
from airflow_provider_cleartrace.local.worker import attempt_folder

_UPLOAD = "upload"
"""What the status of a model id is about before a job was submitted."""

_RESOLVING_THREADS = 4
"""A name server that does not answer holds a thread for long; it must not be one that computes."""

_STILL_READABLE_ATTEMPTS = 2
"""A model may be replaced between looking it up and reading its files; the second look finds the new one."""


async def _owner(request: Request, _: Annotated[Any, Depends(HTTPBearer(auto_error=False))]) -> str:
    """Who asks, as the gate found out; the bearer scheme is here for the OpenAPI document."""
    owner: str = request.state.owner
    return owner


Owner = Annotated[str, Depends(_owner)]
ModelId = Annotated[str, fastapi.Path(pattern=models.MODEL_ID_PATTERN, description="The model's id")]
JobKind = Annotated[str | None, Query(description="The kind of job that is meant; default: the last one")]


class Endpoints:
    """What the server does for each operation. It writes the answers; its parts do the work."""

    def __init__(
        self,
        *,
        store: Store,
        folders: Folders,
        uploads: Uploads,
        submissions: Submissions,
        runner: JobRunner,
        shelf: ModelShelf,
        scorer: Scorer,
        destinations: Destinations,
        request_threads: int,
    ) -> None:
        self._store = store
        self._folders = folders
        self._uploads = uploads
        self._submissions = submissions
        self._runner = runner
        self._shelf = shelf
        self._scorer = scorer
        self._destinations = destinations
        self._resolving = CapacityLimiter(_RESOLVING_THREADS)
        self._computing = CapacityLimiter(request_threads)

    async def health(self) -> Response:
        """Say that the server is up."""
        return answer(models.Health(status="ok"))

    # -- uploads -----------------------------------------------------------------------------------------

    async def create_upload(self, request: Request, owner: Owner, body: models.CreateUploadBody) -> Response:
        """Give out a URL that one file can be PUT to; the model id exists from now on."""
        model_id = body.model_id or new_model_id()
        base_url = str(request.base_url)
        return answer(await run_sync(self._uploads.presign, owner, model_id, body.file_format, base_url))

    async def receive_upload(
        self,
        request: Request,
        owner: str,
        model_id: ModelId,
        file_format: Annotated[str, Query(alias="format")] = "",
        expires: str = "",
        signature: str = "",
    ) -> Response:
        """Receive a file under a presigned URL; an Authorization header plays no part."""
        if not isinstance(self._uploads, OwnUploads):
            raise NotFound("this server's uploads go to a bucket")
        headers = request.headers
        self._uploads.verify(
            owner,
            model_id,
            file_format=file_format,
            expires=expires,
            signature=signature,
            content_type=headers.get("content-type"),
        )
        await self._uploads.receive(
            owner, model_id, file_format, length=headers.get("content-length"), chunks=request.stream()
        )
        return Response(status_code=200)

    # -- jobs --------------------------------------------------------------------------------------------

    async def fit(self, owner: Owner, body: models.FitBody) -> Response:
        """Queue a training job."""
        return self._submitted(await self._compute(self._submissions.train, owner, "fit", body))

    async def fit_distill(self, owner: Owner, body: models.DistillBody) -> Response:
        """Queue a distillation: this server asks ``predict_url``, then trains a student."""
        await run_sync(self._destinations.check_url, body.predict_url, limiter=self._resolving)
        return self._submitted(await self._compute(self._submissions.train, owner, "fit_distill", body))

    async def segment(self, owner: Owner, model_id: ModelId, body: models.SegmentBody) -> Response:
        """Queue a segmentation of a trained model; without data, of its training rows."""
        return await self._analyse(owner, model_id, "segment", body)

    async def narrative(self, owner: Owner, model_id: ModelId, body: models.NarrativeBody) -> Response:
        """Queue a narrative of a trained model over the rows that are sent."""
        return await self._analyse(owner, model_id, "narrative", body)

    async def status(self, owner: Owner, model_id: ModelId, job: JobKind = None) -> Response:
        """Say where the model's last job stands, or its last job of one kind."""
        return answer(self._status(owner, model_id, job))

    async def list_models(
        self, owner: Owner, limit: Annotated[int, Query(ge=1, le=LISTED_MODELS)] = LISTED_MODELS
    ) -> Response:
        """List the models of the calling key, the latest first: where each stands, and what drives it."""
        return answer(await run_sync(self._list, owner, limit))

    async def cancel(self, owner: Owner, model_id: ModelId, job: JobKind = None) -> Response:
        """End the model's last job (of one kind), where it has not ended; answer the status."""
        last = self._store.latest(owner, model_id, (job,) if job else None)
        if last is not None and not last.is_over:
            await run_sync(self._store.cancel, last)
            if last.status == PENDING:
                await run_sync(shutil.rmtree, self._folders.jobs / last.folder, True)
            self._runner.wake()
        return answer(self._status(owner, model_id, job))

    async def get_segments(self, owner: Owner, model_id: ModelId) -> Response:
        """Give the segmentation that was asked for last; 202 while it is worked on."""
        job = self._finished(owner, model_id, "segment")
        if not job.artefact:
            return _not_yet(job)
        segmentation = await run_sync(Artefact(self._folders.artefacts / job.artefact).segmentation)
        if segmentation is None:
            raise NotReady(f"the segmentation of model {model_id!r} was replaced just now; ask again")
        return answer(models.SegmentationResult.model_validate(segmentation.to_json()))

    async def get_narrative(self, owner: Owner, model_id: ModelId) -> Response:
        """Give the narrative that was asked for last; 202 while it is worked on."""
        job = self._finished(owner, model_id, "narrative")
        if not job.artefact:
            return _not_yet(job)
        text = await run_sync(Artefact(self._folders.artefacts / job.artefact).narrative)
        if text is None:
            raise NotReady(f"the narrative of model {model_id!r} was replaced just now; ask again")
        return answer(models.Narrative(narrative=text))

    # -- answers of a trained model ----------------------------------------------------------------------

    async def predict(self, owner: Owner, model_id: ModelId, body: models.SamplesBody) -> Response:
        """Predict rows."""
        return await self._scored(owner, model_id, lambda folder: self._scorer.predict(folder, body))

    async def explain(self, owner: Owner, model_id: ModelId, body: models.ExplainBody) -> Response:
        """Predict rows, with local AGOP and drivers."""
        return await self._scored(owner, model_id, lambda folder: self._scorer.explain(folder, body))

    async def predict_and_explain(
        self, owner: Owner, model_id: ModelId, body: models.PredictAndExplainBody
    ) -> Response:
        """Predict rows with drivers, and on demand personas and rules."""
        segmented = self._segmentation(owner, model_id) if body.with_persona else None
        return await self._scored(
            owner, model_id, lambda folder: self._scorer.predict_and_explain(folder, body, segmented)
        )

    async def interpret(self, owner: Owner, model_id: ModelId) -> Response:
        """Give the global drivers."""
        return await self._scored(owner, model_id, self._scorer.interpret)

    async def get_schema(self, owner: Owner, model_id: ModelId) -> Response:
        """Describe the columns, the task, and how good the model is."""
        return await self._scored(owner, model_id, self._scorer.schema)

    async def scenario(self, owner: Owner, model_id: ModelId, body: models.ScenarioBody) -> Response:
        """Search the smallest edits that move rows to the wanted class."""
        return await self._scored(owner, model_id, lambda folder: self._scorer.scenario(folder, body))

    # -- parts of the above ------------------------------------------------------------------------------

    async def _compute(self, work: Callable[..., Any], *arguments: Any) -> Any:
        return await run_sync(work, *arguments, limiter=self._computing)

    async def _scored(self, owner: str, model_id: str, work: Callable[[Path], models.Result]) -> Response:
        def compute(folder: Path) -> Response:
            return answer(work(folder))

        response: Response = await self._with_model(owner, model_id, compute)
        return response

    async def _analyse(
        self, owner: str, model_id: str, kind: str, body: models.SegmentBody | models.NarrativeBody
    ) -> Response:
        def queue(folder: Path) -> Job:
            return self._submissions.analyse(owner, model_id, kind, body, self._shelf.model(folder))

        return self._submitted(await self._with_model(owner, model_id, queue))

    async def _with_model(self, owner: str, model_id: str, work: Callable[[Path], Any]) -> Any:
        for attempt in range(1, _STILL_READABLE_ATTEMPTS + 1):
            folder = self._folders.artefacts / str(self._store.training(owner, model_id).artefact)
            try:
                return await self._compute(work, folder)
            except ModelFileError:
                if attempt == _STILL_READABLE_ATTEMPTS or folder.exists():
                    raise
        raise NotReady(f"model {model_id!r} was replaced just now; ask again")

    def _submitted(self, job: Job) -> Response:
        self._runner.wake()
        return answer(models.JobResult(model_id=job.model_id, status=job.status, job_id=str(job.job_id)))

    def _status(self, owner: str, model_id: str, kind: str | None) -> models.StatusResult:
        job = None if kind == _UPLOAD else self._store.latest(owner, model_id, (kind,) if kind else None)
        if job is not None:
            return self._job_status(job)
        if not self._store.model_exists(owner, model_id):
            raise unknown_model(model_id)
        upload = self._store.upload(owner, model_id)
        if kind not in (None, _UPLOAD) or upload is None:
            raise NotFound(f"no {kind} job was submitted for model {model_id!r}")
        message = (
            "waiting for a training job"
            if upload.received_format
            else "waiting for the file and a training job"
        )
        return models.StatusResult(
            model_id=model_id,
            status=PENDING,
            job=_UPLOAD,
            progress=1.0 if upload.received_format else 0.0,
            message=message,
        )

    def _list(self, owner: str, limit: int) -> ModelList:
        records, total = self._store.models(owner, limit)
        return ModelList(models=[self._listed(owner, record) for record in records], total=total)

    def _listed(self, owner: str, record: ModelRecord) -> ListedModel:
        overview = Artefact(self._folders.artefacts / record.artefact).overview() if record.artefact else None
        told: dict[str, Any] = {}
        if overview is not None:
            told = {"task": overview.task, "target": overview.target, "n_features": overview.n_features}
            told["drivers"] = [
                ListedDriver(feature=feature, share=share) for feature, share in overview.drivers
            ]
        return ListedModel(
            **self._status(owner, record.model_id, None).model_dump(),
            created=datetime.fromtimestamp(record.created, UTC),
            updated=datetime.fromtimestamp(record.updated, UTC),
            **told,
        )

    def _job_status(self, job: Job) -> models.StatusResult:
        progress: float | None = None
        message: str | None = None
        if job.status == RUNNING:
            folder = attempt_folder(self._folders.jobs / job.folder, job.attempt)
            progress, message = ProgressFile(folder).read()
        elif job.status == COMPLETED:
            progress = 1.0
        return models.StatusResult(
            model_id=job.model_id,
            status=job.status,
            job=job.kind,
            job_id=str(job.job_id),
            progress=progress,
            message=message,
            error=job.error,
        )

    def _finished(self, owner: str, model_id: str, kind: str) -> Job:
        job = self._store.latest(owner, model_id, (kind,))
        if job is None:
            if not self._store.model_exists(owner, model_id):
                raise unknown_model(model_id)
            raise NotFound(f"no {kind} job was submitted for model {model_id!r}")
        if job.status == FAILED:
            raise NotReady(f"the {kind} job of model {model_id!r} failed: {job.error}")
        if job.status == COMPLETED and job.based_on != self._store.training(owner, model_id).job_id:
            raise NotFound(f"model {model_id!r} was trained anew since its {kind} job; submit the job again")
        return job

    def _segmentation(self, owner: str, model_id: str) -> Path | None:
        training = self._store.training(owner, model_id)
        job = self._store.latest_completed(owner, model_id, "segment", based_on=training.job_id)
        return self._folders.artefacts / job.artefact if job and job.artefact else None


def _not_yet(job: Job) -> Response:
    return answer(models.JobResult(model_id=job.model_id, status=job.status, job_id=str(job.job_id)), 202)
