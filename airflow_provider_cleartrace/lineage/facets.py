"""The facet that tells of the model of a run; importing this needs the OpenLineage client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
from openlineage.client.facet_v2 import RunFacet

from airflow_provider_cleartrace.assets.events import flat_extra

FACET_NAME = "cleartrace_model"

SCHEMA_URL = "urn:airflow-provider-cleartrace:model-run-facet:1"
"""The ``$id`` of ``model_run_facet.json`` beside this module; its last part moves on with the fields."""

_METRIC = "metric_"
_FIGURES = (_METRIC, "fidelity_")
"""Beginnings of the names of a model's held-out figures in a manifest."""


@attrs.define(kw_only=True)
class ClearTraceModelRunFacet(RunFacet):
    """The model a run made or used. What is not known, or not known yet, is None or empty."""

    modelId: str | None = None
    job: str | None = None
    fingerprint: str | None = None
    target: str | None = None
    task: str | None = None
    metrics: dict[str, float | str] = attrs.field(factory=dict)

    @staticmethod
    def _get_schema() -> str:
        return SCHEMA_URL


def model_facet(
    model_id: str | None, job: str | None, manifest: Mapping[str, Any]
) -> ClearTraceModelRunFacet:
    """The facet of a task, with what the manifest of a training tells of its model."""
    told = flat_extra(manifest)
    return ClearTraceModelRunFacet(
        modelId=model_id,
        job=job,
        fingerprint=told.get("fingerprint"),
        target=told.get("target"),
        task=told.get("task"),
        metrics={
            name.removeprefix(_METRIC): value for name, value in told.items() if name.startswith(_FIGURES)
        },
    )
