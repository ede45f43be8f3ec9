"""Tasks that bring data to ClearTrace and train models on it."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_cleartrace.api.errors import ValidationError
from airflow_provider_cleartrace.api.models import JobResult
from airflow_provider_cleartrace.client import ClearTrace
from airflow_provider_cleartrace.client.uploads import check_size, format_of, upload_received
from airflow_provider_cleartrace.hooks.teacher import Teacher, teacher_from_connection
from airflow_provider_cleartrace.operators.base import ClearTraceOperator
from airflow_provider_cleartrace.operators.identity import derived_model_id
from airflow_provider_cleartrace.operators.jobs.training import TrainingOperator, upload

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


class ClearTraceUploadOperator(ClearTraceOperator):
    """Uploads a CSV or Parquet file, to be trained on by its ``model_id``.

    Returns a manifest with ``model_id``, ``data``, ``bytes``, ``fingerprint``, ``sha256``, ``file_format``
    and ``skipped``: whether the same bytes were there already, as is known where the model id is derived.

    Args:
        data: Local path or ``s3://`` URI of the file.
        model_id: Id of the model to come; by default one derived from the task instance and the data.
    """

    template_fields: Sequence[str] = ("data", "model_id")
    makes_model = True

    def __init__(self, *, data: str, model_id: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data = data
        self.model_id = model_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Upload the file."""
        location = self.locate(self.data)
        file_format = format_of(location.name)
        size = location.size()
        check_size(size, location.uri)
        fingerprint = location.fingerprint()
        model_id = self.model_id or derived_model_id(context, fingerprint={"data": fingerprint})
        sha256 = fingerprint.removeprefix("sha256:") if location.is_local else None
        with self.hook.get_conn() as client:
            # A derived id holds the fingerprint: what was received under it are these bytes.
            there = not self.model_id and client.run(upload_received(client.session, model_id))
            if not there:
                sha256 = upload(client, location, model_id, fingerprint)
            self._works_on(context, client, model_id)
        verb = "found" if there else "uploaded"
        self.log.info("%s %s (%d bytes) for model %s", verb, location.uri, size, model_id)
        return self._manifest(
            context,
            model_id=model_id,
            data=location.uri,
            bytes=size,
            fingerprint=fingerprint,
            sha256=sha256,
            file_format=file_format,
            skipped=there,
        )


class ClearTraceFitOperator(TrainingOperator):
    """Trains a model on labelled data.

    Returns a manifest with ``model_id``, ``target``, ``task``, ``n_features``, the held-out ``metric_*`` that
    the server tells, ``elapsed_seconds``, and with ``data`` its ``fingerprint`` and ``bytes``.

    Args:
        target: Name of the target column.
        data: Local path or ``s3://`` URI of a CSV or Parquet file, which is uploaded first.
        model_id: Without ``data``: the id of an upload. With it: the id the model shall have, by default one
            derived from the task instance and everything that shapes the model.
        feature_fields: Columns to use; by default all but the target.
        feature_schema: Per column, what to take it for, such as ``{"zip": {"dtype": "category"}}``.
        config: Training options: ``mode``, ``n_hyperopt_steps``, ``base_model_type``, ``random_state``, ...
        **kwargs: See :class:`~.ClearTraceJobOperator`.
    """

    job = "fit"
    template_fields: Sequence[str] = (
        "data",
        "model_id",
        "target",
        "feature_fields",
        "feature_schema",
        "config",
        "on_existing",
    )

    def __init__(self, *, target: str, **kwargs: Any) -> None:
        super().__init__(target=target, **kwargs)

    def submit(self, client: ClearTrace, model_id: str) -> JobResult:
        """Start the training on the file under ``model_id``."""
        return client.fit(
            target=self.target,
            model_id=model_id,
            feature_fields=self.feature_fields,
            feature_schema=self.feature_schema,
            wait=False,
            **dict(self.config or {}),
        )


class ClearTraceDistillOperator(TrainingOperator):
    """Distils a black-box model into an explainable student by asking its predict endpoint.

    Returns the manifest of :class:`ClearTraceFitOperator`, with the student's ``fidelity``.

    Args:
        predict_url: The black box's predict endpoint, reachable from the ClearTrace server; by default
            that of ``predict_conn_id``.
        predict_conn_id: Connection with the endpoint's URL and credentials: its password goes as a bearer
            token (with a login as basic authentication), the ``headers`` of its extra as they are.
        data: As in :class:`ClearTraceFitOperator`; needs no target column.
        target: Label column, for evaluation only.
        **kwargs: As in :class:`ClearTraceFitOperator`.
    """

    job = "fit_distill"
    template_fields: Sequence[str] = (
        "data",
        "model_id",
        "predict_url",
        "target",
        "feature_fields",
        "feature_schema",
        "config",
        "on_existing",
    )

    def __init__(
        self, *, predict_url: str | None = None, predict_conn_id: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.predict_url = predict_url
        self.predict_conn_id = predict_conn_id

    @functools.cached_property
    def _teacher(self) -> Teacher | None:
        """The endpoint of ``predict_conn_id``; read once, and never told but in the request."""
        if not self.predict_conn_id:
            return None
        return teacher_from_connection(self.hook.get_connection(self.predict_conn_id))

    def check(self) -> None:
        """Refuse what cannot work, a teacher without an address included."""
        super().check()
        if not self.predict_url and self._teacher is None:
            raise ValidationError(f"{self.task_id}: give predict_url or predict_conn_id")

    def shape(self) -> dict[str, Any]:
        """What shapes the model, the teacher included, but not its credentials."""
        return super().shape() | {"teacher": self.predict_url or self.predict_conn_id}

    def submit(self, client: ClearTrace, model_id: str) -> JobResult:
        """Start the distillation; the endpoint's credentials travel in the request alone."""
        teacher = self._teacher
        return client.fit_distill(
            predict_url=self.predict_url or (teacher.url if teacher else None),
            predict_headers=teacher.headers if teacher else None,
            target=self.target,
            model_id=model_id,
            feature_fields=self.feature_fields,
            feature_schema=self.feature_schema,
            wait=False,
            **dict(self.config or {}),
        )
