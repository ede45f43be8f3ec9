"""The documented segmentation and narrative calls, each written once as a flow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow_provider_cleartrace.api import models, operations
from airflow_provider_cleartrace.api.errors import ValidationError
from airflow_provider_cleartrace.client import frames
from airflow_provider_cleartrace.client.exchange import Flow
from airflow_provider_cleartrace.client.jobs import artefact
from airflow_provider_cleartrace.client.polling import MISSING_GRACE
from airflow_provider_cleartrace.client.session import Session, build_body
from airflow_provider_cleartrace.client.submitting import submit


def segment(
    session: Session,
    /,
    *,
    data: Any = None,
    target_values: Any = None,
    feature_names: Sequence[str] | None = None,
    min_clusters: int = 4,
    max_clusters: int = 10,
    n_search_steps: int = 50,
    use_agent: bool | None = None,
    kpi_field: str | None = None,
    problem_context: str | None = None,
    wait: bool = True,
) -> Flow[models.SegmentationResult | models.JobResult]:
    """Group rows by how the model explains them.

    Args:
        data: DataFrame, 2-D array or nested list; None for the training data.
        target_values: n outcomes, shown for each persona.
        feature_names: Names of the columns of an array.
        min_clusters: Fewest clusters to try.
        max_clusters: Most clusters to try.
        n_search_steps: Number of candidate clusterings.
        use_agent: Let the service write persona texts with a language model, where it has one.
        kpi_field: Business name of the target.
        problem_context: What the personas are for.
        wait: Wait for the result; otherwise a JobResult comes back at once.
    """
    rows = None if data is None else frames.rows_from(data, feature_names=feature_names, what="data")
    values = None if target_values is None else frames.column_from(target_values, what="target_values")
    if rows is not None and values is not None and len(values) != len(rows.values):
        raise ValidationError(f"target_values has {len(values)} values for {len(rows.values)} rows of data")
    body = build_body(
        models.SegmentBody,
        data=None if rows is None else rows.values,
        target_values=values,
        feature_names=None if rows is None else rows.names,
        min_clusters=min_clusters,
        max_clusters=max_clusters,
        n_search_steps=n_search_steps,
        use_agent=use_agent,
        kpi_field=kpi_field,
        problem_context=problem_context,
    )
    job = yield from submit(session, operations.SEGMENT, body, session.attached())
    if not wait:
        return job
    return (yield from artefact(session, operations.GET_SEGMENTS, missing=MISSING_GRACE))


def get_segments(session: Session, /) -> Flow[models.SegmentationResult]:
    """The segmentation of the current model; waits for it while its job still runs."""
    return (yield from artefact(session, operations.GET_SEGMENTS, missing=0.0))


def narrative(
    session: Session,
    /,
    data: Any,
    *,
    feature_names: Sequence[str] | None = None,
    kpi_name: str,
    context: str | None = None,
    max_tool_calls: int = 6,
    wait: bool = True,
) -> Flow[models.Narrative | models.JobResult]:
    """Have the model's behaviour on a data set told in plain language.

    Args:
        data: DataFrame, 2-D array or nested list.
        feature_names: Names of the columns of an array.
        kpi_name: Business name of the target.
        context: What the reader should know about the data.
        max_tool_calls: Most look-ups a language model may make, where one writes.
        wait: Wait for the text; otherwise a JobResult comes back at once.
    """
    rows = frames.rows_from(data, feature_names=feature_names, what="data")
    body = build_body(
        models.NarrativeBody,
        data=rows.values,
        feature_names=rows.names,
        kpi_name=kpi_name,
        context=context,
        max_tool_calls=max_tool_calls,
    )
    job = yield from submit(session, operations.NARRATIVE, body, session.attached())
    if not wait:
        return job
    return (yield from artefact(session, operations.GET_NARRATIVE, missing=MISSING_GRACE))


def get_narrative(session: Session, /) -> Flow[models.Narrative]:
    """The narrative of the current model; waits for it while its job still runs."""
    return (yield from artefact(session, operations.GET_NARRATIVE, missing=0.0))
