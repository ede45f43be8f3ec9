"""Takes jobs in: checks what can be checked at once, writes the job's folder, and queues it."""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from airflow_provider_cleartrace.api.models import Body, NarrativeBody, SegmentBody, TrainingBody
from airflow_provider_cleartrace.local import training
from airflow_provider_cleartrace.local.datasets import SizeLimits, rows_for_model
from airflow_provider_cleartrace.local.engine.errors import InputError
from airflow_provider_cleartrace.local.engine.model import Model
from airflow_provider_cleartrace.local.files import column_names
from airflow_provider_cleartrace.local.folders import Folders
from airflow_provider_cleartrace.local.records import Job
from airflow_provider_cleartrace.local.settings import Settings
from airflow_provider_cleartrace.local.store import Store
from airflow_provider_cleartrace.local.uploads import UploadedFile, Uploads
from airflow_provider_cleartrace.local.worker import REQUEST


class Submissions:
    """Queues jobs. The work reads and writes files: call it from a thread."""

    def __init__(self, store: Store, folders: Folders, uploads: Uploads, settings: Settings) -> None:
        self._store = store
        self._folders = folders
        self._uploads = uploads
        self._settings = settings
        self._limits = SizeLimits(settings.max_rows, settings.max_columns)

    def train(self, owner: str, kind: str, body: TrainingBody) -> Job:
        """Queue a training job under the body's model id, or under a new one.

        Raises:
            InputError, BadInput: the body cannot be trained on; nothing is left behind.
            Taken, QueueFull: see `Store.submit`.
        """
        file: UploadedFile | None = None
        model_id = body.model_id or new_model_id()
        if body.data is not None:
            training.check_inline(body, self._limits)
        else:
            file = self._uploads.find(owner, model_id)
            self._check_file(owner, model_id, body, file)

        def place(folder: Path) -> None:
            if file is not None:
                self._uploads.place(owner, model_id, file, folder)

        return self._queue(owner, model_id, kind, body, file.identity if file else "", place)

    def analyse(
        self, owner: str, model_id: str, kind: str, body: SegmentBody | NarrativeBody, model: Model
    ) -> Job:
        """Queue a segmentation or a narrative of a trained model.

        Raises:
            InputError: the rows are not the model's.
            NotFound, NotReady, Taken, QueueFull: see `Store.submit`.
        """
        rows = self._check_rows(body, model)
        if isinstance(body, SegmentBody):
            _check_segments(body, rows)
        return self._queue(owner, model_id, kind, body, "", lambda folder: None)

    def _check_file(self, owner: str, model_id: str, body: TrainingBody, file: UploadedFile) -> None:
        if file.file_format == "pkl" and not self._settings.allow_pickle:
            raise InputError(
                "the uploaded file is a pickle, which runs code when it is loaded; this server was started "
                "without --allow-pickle: upload the data as Parquet or CSV"
            )
        with self._uploads.open(owner, model_id, file) as opened:
            columns = column_names(opened, file.file_format)
        training.check_file(body, columns)

    def _check_rows(self, body: SegmentBody | NarrativeBody, model: Model) -> int | None:
        if body.data is None:
            return None
        return len(
            rows_for_model(
                body.data, body.feature_names, model.schema.feature_names, self._limits, extra_allowed=True
            )
        )

    def _queue(
        self, owner: str, model_id: str, kind: str, body: Body, data: str, place: Callable[[Path], None]
    ) -> Job:
        document = {name: value for name, value in body.wire().items() if name != "model_id"}
        content = json.dumps(document, ensure_ascii=False).encode()
        fingerprint = hashlib.sha256(content + data.encode()).hexdigest()
        folder = self._folders.new_job()
        try:
            (folder / REQUEST).write_bytes(content)
            place(folder)
            job = self._store.submit(
                owner,
                model_id,
                kind,
                fingerprint=fingerprint,
                folder=folder.name,
                queue_length=self._settings.queue_length,
                queue_share=self._settings.queue_share,
            )
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        if job.folder != folder.name:
            shutil.rmtree(folder, ignore_errors=True)
        return job


def new_model_id() -> str:
    """Make up a model id."""
    return f"m-{secrets.token_hex(8)}"


def _check_segments(body: SegmentBody, rows: int | None) -> None:
    if not 2 <= body.min_clusters <= body.max_clusters:
        raise InputError(
            f"min_clusters ({body.min_clusters}) must be at least 2, and at most max_clusters "
            f"({body.max_clusters})"
        )
    if body.n_search_steps < 1:
        raise InputError(f"n_search_steps must be at least 1, not {body.n_search_steps}")
    values: Sequence[Any] | None = body.target_values
    if values is not None and rows is not None and len(values) != rows:
        raise InputError(f"target_values has {len(values)} values, but the data has {rows} rows")
