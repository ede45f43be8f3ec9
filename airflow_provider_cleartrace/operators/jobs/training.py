"""What all trainings share: their data, its upload, and the model that comes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_provider_cleartrace.api.errors import ValidationError
from airflow_provider_cleartrace.client import ClearTrace
from airflow_provider_cleartrace.client.uploads import format_of, upload_open_file
from airflow_provider_cleartrace.operators.jobs.operator import ClearTraceJobOperator
from airflow_provider_cleartrace.operators.jobs.submission import JobRequest
from airflow_provider_cleartrace.operators.jobs.unchanged import check_unchanged
from airflow_provider_cleartrace.operators.manifest import LISTED
from airflow_provider_cleartrace.storage.digests import DigestedFile
from airflow_provider_cleartrace.storage.locations import Location

RESERVED = frozenset(
    {"data", "feature_fields", "feature_schema", "labels", "model_id", "predict_headers", "predict_url"}
    | {"target", "wait"}
)
"""What has a parameter of its own, or no place in a task, and so none in ``config``."""


def upload(client: ClearTrace, location: Location, model_id: str, fingerprint: str) -> str:
    """Send a file, if it still is the one of this fingerprint; returns the SHA-256 of what was sent.

    Raises:
        StorageError: the file is another one by now. The upload breaks off before its last bytes, so that the
            service has nothing that could be trained on.
    """

    def check(sha256: str) -> None:
        check_unchanged(location, fingerprint, f"sha256:{sha256}" if location.is_local else None)

    size = location.size()
    with location.open() as opened:
        file = DigestedFile(opened, size, check)
        client.run(
            upload_open_file(
                client.session,
                file,  # type: ignore[arg-type]  # what an upload needs of a file
                size,
                format_of(location.name),
                what=location.uri,
                model_id=model_id,
            )
        )
        return file.sha256


class TrainingOperator(ClearTraceJobOperator):
    """A training: uploads its data, starts the job, and tells what the model is like.

    A subclass names the job and starts it; it may add to what shapes the model (:meth:`shape`) and to what is
    refused at once (:meth:`check`).

    Args:
        data: Local path or URI of the file to train on.
        model_id: Id of the model to come, or of an upload.
        target: Name of the target column.
        feature_fields: Columns to use.
        feature_schema: Per column, what to take it for.
        config: Training options.
        **kwargs: See :class:`~.ClearTraceJobOperator`.
    """

    makes_model = True

    def __init__(
        self,
        *,
        data: str | None = None,
        model_id: str | None = None,
        target: str | None = None,
        feature_fields: Sequence[str] | None = None,
        feature_schema: Mapping[str, Any] | None = None,
        config: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.data = data
        self.model_id = model_id
        self.target = target
        self.feature_fields = feature_fields
        self.feature_schema = feature_schema
        self.config = config

    def shape(self) -> dict[str, Any]:
        """What shapes the model besides the data (JSON, no secrets)."""
        return {
            "job": self.job,
            "target": self.target,
            "feature_fields": list(self.feature_fields) if self.feature_fields else None,
            "feature_schema": self.feature_schema,
            "config": self.config,
        }

    def check(self) -> None:
        """Refuse what cannot work before anything is uploaded or paid for."""
        if not self.data and not self.model_id:
            raise ValidationError(f"{self.task_id}: give data to upload, or the model_id of an upload")
        if clash := RESERVED & set(self.config or {}):
            raise ValidationError(f"{self.task_id}: config must not hold {', '.join(sorted(clash))}")
        if self.data:
            format_of(self.data)

    def request(self) -> JobRequest:
        """A model of this shape, trained on this data."""
        self.check()
        receipt: dict[str, Any] = {}
        if self.data:
            location = self.locate(self.data)
            receipt = {
                "data": location.uri,
                "bytes": location.size(),
                "fingerprint": location.fingerprint(),
            }
        return JobRequest(
            job=self.job,
            fingerprint=self.shape() | {"data": receipt.get("fingerprint")},
            model_id=self.model_id or None,
            receipt=receipt,
        )

    def bring(self, client: ClearTrace, model_id: str, receipt: Mapping[str, Any]) -> None:
        """Upload the data, where there is any."""
        if self.data:
            upload(client, self.locate(self.data), model_id, receipt["fingerprint"])

    def result(self, client: ClearTrace, receipt: Mapping[str, Any]) -> dict[str, Any]:
        """The trained model in figures, as its schema tells them."""
        schema = client.get_schema()
        told = schema.model_extra or {}
        metrics = told.get("metrics") or {}
        return {
            "target": schema.target,
            "task": told.get("task"),
            "n_features": len(schema.feature_names),
            "feature_names": schema.feature_names[:LISTED],
            "fidelity": told.get("fidelity"),
            **{
                f"metric_{name}": value
                for name, value in metrics.items()
                if isinstance(value, int | float | str)
            },
        }
