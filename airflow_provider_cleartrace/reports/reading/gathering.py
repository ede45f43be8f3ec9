"""Reads the files that a run produced into the facts of one report, a batch of rows at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_cleartrace.reports.drift import read_comparison
from airflow_provider_cleartrace.reports.errors import ReportError
from airflow_provider_cleartrace.reports.facts import Report, Run, Source
from airflow_provider_cleartrace.reports.reading.analyses import read_narrative, read_segments
from airflow_provider_cleartrace.reports.reading.calibrated import read_calibrated
from airflow_provider_cleartrace.reports.reading.explained import (
    Explained,
    global_drivers,
    read_explained,
)
from airflow_provider_cleartrace.reports.reading.model_card import model_facts
from airflow_provider_cleartrace.reports.reading.predictions import chosen_rows, describe, read_scores
from airflow_provider_cleartrace.reports.reading.results import Result
from airflow_provider_cleartrace.reports.reading.rows import row_details, row_values
from airflow_provider_cleartrace.reports.reading.scenarios import read_scenarios
from airflow_provider_cleartrace.storage.locations import locate
from airflow_provider_cleartrace.storage.s3 import S3ClientFactory, default_s3_client
from airflow_provider_cleartrace.storage.tables import Table, numbers


@dataclass(frozen=True)
class Inputs:
    """Paths and URIs of what a run produced; whatever is None has no section in the report.

    Attributes:
        predictions: what a Predict task wrote.
        explanations: what an Explain task wrote, wide or long.
        scenarios: what a Scenario task wrote.
        segments: the JSON of a Segment task.
        narrative: the file of a Narrative task, or its text.
        calibrated: the folder of a CalibratedExplain task.
        comparison: the JSON of a Compare task.
        data: the rows that all of it is about, for the values of the rows shown and for the fingerprint.
        rows: identities of the rows to show; by default those of the highest, median and lowest prediction.
        id_columns: columns that identify a row; by default those that each file's manifest tells.
        raw_gradient: whether drivers are gradients, so that rows show none; by default as the manifest of the
            explanations tells, and True without one.
    """

    predictions: str | None = None
    explanations: str | None = None
    scenarios: str | None = None
    segments: str | None = None
    narrative: str | None = None
    calibrated: str | None = None
    comparison: str | None = None
    data: str | None = None
    rows: Sequence[str] = ()
    id_columns: Sequence[str] = ()
    raw_gradient: bool | None = None


@dataclass(frozen=True)
class Known:
    """What is known without a file.

    Attributes:
        model_id: the model.
        schema: what its server tells of it.
        shares: its features with their shares of the sensitivity; empty where nobody asked.
        title: of the report.
        made_at: when, in ISO 8601 with its offset.
        provider_version: of this package.
        server: where the model lives.
        run: the task that makes the report.
    """

    model_id: str
    schema: Mapping[str, Any]
    shares: Sequence[tuple[str, float]]
    title: str
    made_at: str
    provider_version: str
    server: str | None = None
    run: Run | None = None


def gather(known: Known, inputs: Inputs, s3: S3ClientFactory = default_s3_client) -> Report:
    """The facts of a report; memory grows by 8 bytes for each row of predictions.

    Raises:
        ReportError: a file is not what it is given as.
        StorageError: a file cannot be read.
    """
    model = model_facts(known.model_id, known.schema, known.server)
    features = [str(name) for name in known.schema.get("feature_names") or ()]
    asked = list(dict.fromkeys(map(str, inputs.rows)))
    told: dict[str, Any] = {}
    explained: Explained | None = None
    if inputs.explanations:
        result = _explanations(inputs, s3, features)
        _check_maker(result.table, known.model_id)
        scores = read_scores(result, asked)
        chosen = chosen_rows(scores, asked)
        explained = read_explained(result, chosen)
        shown = {row.identity for row in explained.chosen.values()}
        values = row_values(Table(inputs.data, s3), result, shown, features) if inputs.data else {}
        told["predictions"] = describe(scores, result.layout, model.task)
        told["raw_gradient"] = raw_gradient = _raw_gradient(inputs, result)
        told["rows"] = row_details(
            explained, chosen, scores, result.layout.classes, values, raw_gradient=raw_gradient
        )
        told["reasons"] = explained.reasons()
    if inputs.predictions:
        result = Result.of(inputs.predictions, s3, inputs.id_columns)
        _check_maker(result.table, known.model_id)
        told["predictions"] = describe(read_scores(result), result.layout, model.task)
    if inputs.scenarios:
        scenarios = Table(inputs.scenarios, s3)
        _check_maker(scenarios, known.model_id)
        told["scenarios"] = read_scenarios(scenarios, inputs.id_columns, asked)
    if inputs.segments:
        told["segments"] = read_segments(locate(inputs.segments, s3))
    if inputs.calibrated:
        _check_maker(Table(inputs.calibrated, s3), known.model_id)
        told["calibrated"] = read_calibrated(locate(inputs.calibrated, s3), asked)
    if inputs.comparison:
        told["comparison"] = read_comparison(locate(inputs.comparison, s3))
    if inputs.narrative:
        told["narrative"] = read_narrative(inputs.narrative, s3)
    return Report(
        title=known.title,
        made_at=known.made_at,
        provider_version=known.provider_version,
        run=known.run,
        model=model,
        drivers=global_drivers(known.shares, explained),
        sources=_sources(inputs, s3),
        **told,
    )


def _explanations(inputs: Inputs, s3: S3ClientFactory, features: Sequence[str]) -> Result:
    result = Result.of(str(inputs.explanations), s3, inputs.id_columns)
    if not result.layout.features:
        raise ReportError(f"{result.table.uri}: no drivers; give a file of predictions as predictions")
    if lost := [name for name in features if name not in result.layout.features]:
        raise ReportError(
            f"{result.table.uri}: no driver of the feature {lost[0]!r}: explanations of another model?"
        )
    return result


def _check_maker(table: Table, model_id: str) -> None:
    """Refuse what another model has said, where the manifest tells."""
    if (maker := table.made_by.get("model_id", model_id)) != model_id:
        raise ReportError(f"{table.uri}: made by the model {maker!r}, and this is a report of {model_id!r}")


def _raw_gradient(inputs: Inputs, result: Result) -> bool:
    if inputs.raw_gradient is not None:
        return inputs.raw_gradient
    asked = result.table.made_by.get("asked") or {}
    return bool(asked.get("raw_gradient", True))


def read_shares(uri: str, s3: S3ClientFactory = default_s3_client) -> list[tuple[str, float]]:
    """The drivers that an Interpret task wrote: columns ``feature`` and ``share``.

    Raises:
        ReportError: a share is missing.
        StorageError: a column is, or the file.
    """
    shares: list[tuple[str, float]] = []
    for batch in Table(uri, s3).batches(["feature", "share"]):
        names = map(str, batch.column("feature").to_pylist())
        told = numbers(batch, ["share"], uri)[:, 0].tolist()
        if any(map(math.isnan, told)):
            raise ReportError(f"{uri}: the column 'share' has missing or infinite values")
        shares += zip(names, told, strict=True)
    return shares


def _sources(inputs: Inputs, s3: S3ClientFactory) -> tuple[Source, ...]:
    """The inputs with the identity of their content."""
    tables = ("data", "predictions", "explanations", "scenarios")
    listed = [
        Source(role=role, uri=uri, fingerprint=Table(uri, s3).fingerprint)
        for role in tables
        if (uri := getattr(inputs, role))
    ]
    for role, uri in (("segments", inputs.segments), ("comparison", inputs.comparison)):
        if uri:
            place = locate(uri, s3)
            listed.append(Source(role=role, uri=place.uri, fingerprint=place.fingerprint()))
    if inputs.calibrated:
        place = locate(inputs.calibrated, s3)
        payloads = place.child("payloads.jsonl")
        listed.append(Source(role="calibrated", uri=place.uri, fingerprint=payloads.fingerprint()))
    return tuple(listed)
