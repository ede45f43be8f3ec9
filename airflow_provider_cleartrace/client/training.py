"""The documented training calls, each written once as a flow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from airflow_provider_cleartrace.api import models, operations
from airflow_provider_cleartrace.api.errors import ValidationError
from airflow_provider_cleartrace.api.operations import Operation
from airflow_provider_cleartrace.client import frames
from airflow_provider_cleartrace.client.exchange import Flow
from airflow_provider_cleartrace.client.jobs import wait_for
from airflow_provider_cleartrace.client.polling import COMPLETED
from airflow_provider_cleartrace.client.session import Session, build_body
from airflow_provider_cleartrace.client.submitting import submit


def _train(
    session: Session,
    operation: Operation[models.JobResult],
    body: models.TrainingBody,
    feature_names: list[str] | None,
    wait: bool,
) -> Flow[models.JobResult]:
    submitted = yield from submit(session, operation, body, body.model_id)
    session.model_id = submitted.model_id
    session.feature_names = feature_names
    if not wait:
        return submitted
    job = cast(str, operation.job)
    ended = yield from wait_for(session, submitted.model_id, job)
    return models.JobResult(
        model_id=submitted.model_id,
        status=COMPLETED,
        message=ended.reason or None,
        job_id=submitted.job_id,
    )


def fit(
    session: Session,
    /,
    data: Any = None,
    *,
    target: Any,
    feature_fields: Sequence[str] | None = None,
    feature_schema: Mapping[str, Any] | None = None,
    wait: bool = True,
    **config: Any,
) -> Flow[models.JobResult]:
    """Train a model on labelled data.

    Args:
        data: DataFrame or 2-D ndarray with the features (a DataFrame may hold the target too); None trains on
            the file uploaded before.
        target: Name of the target column, or the n target values.
        feature_fields: Columns to use; by default all but the target. Only for named columns.
        feature_schema: Per column, what to take it for, for example ``{"zip": {"dtype": "category"}}``.
        wait: Wait for the end of the training (up to the client's ``timeout``).
        **config: Sent as flat fields: ``mode``, ``n_hyperopt_steps``, ``base_model_type``, ``model_id`` and
            whatever else the server knows.

    Raises:
        ValidationError: refused here or by the server; nothing was trained.
        JobFailedError, PollTimeoutError: see :func:`wait_for`.
    """
    if target is None:
        raise ValidationError("target: name the target column, or pass the target values")
    named = isinstance(target, str)
    names: list[str] | None = None
    rows: list[Any] | None = None
    if data is None:
        config["model_id"] = config.get("model_id") or session.attached()
    elif frames.is_frame(data):
        columns = [str(column) for column in data.columns]
        if named and target not in columns:
            raise ValidationError(f"target: the data has no column {target!r}")
        names = list(feature_fields) if feature_fields else [name for name in columns if name != target]
        kept = [*names, target] if named and target not in names else names
        rows = frames.rows_from(data, feature_names=kept, what="data").records()
    else:
        if named:
            raise ValidationError(f"target {target!r} names a column, but the data has no column names")
        table = frames.rows_from(data, what="data")
        names, rows = table.names, (table.values if table.names is None else table.records())
    values = target if named else frames.column_from(target, what="target")
    if rows is not None and not named and len(values) != len(rows):
        raise ValidationError(f"target has {len(values)} values for {len(rows)} rows of data")
    body = build_body(
        models.FitBody,
        data=rows,
        target=values,
        feature_fields=names if frames.is_frame(data) else feature_fields,
        feature_schema=feature_schema,
        **config,
    )
    return (yield from _train(session, operations.FIT, body, names, wait))


def fit_distill(
    session: Session,
    /,
    data: Any = None,
    predict_url: str | None = None,
    *,
    target: str | None = None,
    predict_headers: Mapping[str, str] | None = None,
    labels: Any = None,
    feature_fields: Sequence[str] | None = None,
    feature_schema: Mapping[str, Any] | None = None,
    wait: bool = True,
    **config: Any,
) -> Flow[models.JobResult]:
    """Distil a black-box model: the server asks ``predict_url`` for predictions and trains a student on them.

    Args:
        data: DataFrame or 2-D ndarray of features; None uses the file uploaded before.
        predict_url: The black box's predict endpoint, reachable from the server.
        target: Label column of an uploaded file, for evaluation only.
        predict_headers: Headers for ``predict_url``, such as its key.
        labels: n ground-truth labels, for evaluation only.
        feature_fields: Columns to use; by default all.
        feature_schema: As in :func:`fit`.
        wait: As in :func:`fit`.
        **config: As in :func:`fit`.
    """
    if not predict_url:
        raise ValidationError("predict_url: the URL of the black box's predict endpoint is needed")
    rows: list[Any] | None = None
    names: list[str] | None = None
    if data is None:
        config["model_id"] = config.get("model_id") or session.attached()
    else:
        named = frames.is_frame(data)
        table = frames.rows_from(data, feature_names=feature_fields if named else None, what="data")
        names, rows = table.names, (table.values if table.names is None else table.records())
    body = build_body(
        models.DistillBody,
        data=rows,
        predict_url=predict_url,
        predict_headers=predict_headers,
        target=target,
        labels=None if labels is None else frames.column_from(labels, what="labels"),
        feature_fields=names if frames.is_frame(data) else feature_fields,
        feature_schema=feature_schema,
        **config,
    )
    return (yield from _train(session, operations.FIT_DISTILL, body, names, wait))
