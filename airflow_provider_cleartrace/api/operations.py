"""The one table of ClearTrace operations: clients, the local server, docs and tests read it."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from airflow_provider_cleartrace.api import listing, models
from airflow_provider_cleartrace.api.errors import ValidationError

R = TypeVar("R", bound=models.Result, covariant=True)


class Retry(enum.Enum):
    """When a request may be sent again."""

    FREELY = "the call changes nothing, or nothing that matters"
    UNLESS_DONE = "the call starts paid work: only when it provably did not, or its effect was looked up"


@dataclass(frozen=True, slots=True)
class Operation(Generic[R]):
    """One row of the contract: ``path`` may hold ``{model_id}``; ``body`` and ``answer`` are the shapes.

    ``job`` is the kind of work a submit starts; ``artefact_of`` the kind whose result a GET returns.
    """

    name: str
    method: str
    path: str
    answer: type[R]
    summary: str
    body: type[models.Body] | None = None
    retry: Retry = Retry.FREELY
    authenticated: bool = True
    job: str | None = None
    artefact_of: str | None = None

    def url_path(self, model_id: str | None = None, overrides: Mapping[str, str] | None = None) -> str:
        """The path of this call, with the id as one safe segment and a user's override applied."""
        template = (overrides or {}).get(self.name, self.path)
        if "{model_id}" not in template:
            return template
        if model_id is None or not re.match(models.MODEL_ID_PATTERN, model_id):
            raise ValidationError(f"{self.name}: {model_id!r} is no model id")
        return template.replace("{model_id}", model_id)


HEALTH = Operation("health", "GET", "/health", models.Health, "Is the server up?", authenticated=False)
CREATE_UPLOAD = Operation(
    "create_upload", "POST", "/v1/uploads", models.UploadResult, "Presign an upload", models.CreateUploadBody
)
FIT = Operation(
    "fit",
    "POST",
    "/v1/fit",
    models.JobResult,
    "Train a model on labels",
    models.FitBody,
    Retry.UNLESS_DONE,
    job="fit",
)
FIT_DISTILL = Operation(
    "fit_distill",
    "POST",
    "/v1/fit_distill",
    models.JobResult,
    "Distil a black-box model",
    models.DistillBody,
    Retry.UNLESS_DONE,
    job="fit_distill",
)
STATUS = Operation(
    "status", "GET", "/v1/models/{model_id}/status", models.StatusResult, "Where a model's job stands"
)
PREDICT = Operation(
    "predict",
    "POST",
    "/v1/models/{model_id}/predict",
    models.PredictResult,
    "Predict rows",
    models.SamplesBody,
)
EXPLAIN = Operation(
    "explain",
    "POST",
    "/v1/models/{model_id}/explain",
    models.ExplanationResult,
    "Predict rows with local AGOP and drivers",
    models.ExplainBody,
)
PREDICT_AND_EXPLAIN = Operation(
    "predict_and_explain",
    "POST",
    "/v1/models/{model_id}/predict_and_explain",
    models.PredictAndExplainResult,
    "Predict rows with drivers, personas and rules",
    models.PredictAndExplainBody,
)
INTERPRET = Operation(
    "interpret", "GET", "/v1/models/{model_id}/interpret", models.InterpretResult, "Global importance"
)
GET_SCHEMA = Operation(
    "get_schema",
    "GET",
    "/v1/models/{model_id}/schema",
    models.SchemaResult,
    "The columns a model was trained on",
)
SCENARIO = Operation(
    "scenario",
    "POST",
    "/v1/models/{model_id}/scenario",
    models.ScenarioResult,
    "Search counterfactuals",
    models.ScenarioBody,
)
SEGMENT = Operation(
    "segment",
    "POST",
    "/v1/models/{model_id}/segments",
    models.JobResult,
    "Segment rows by their explanations",
    models.SegmentBody,
    Retry.UNLESS_DONE,
    job="segment",
)
GET_SEGMENTS = Operation(
    "get_segments",
    "GET",
    "/v1/models/{model_id}/segments",
    models.SegmentationResult,
    "The finished segmentation",
    artefact_of="segment",
)
NARRATIVE = Operation(
    "narrative",
    "POST",
    "/v1/models/{model_id}/narrative",
    models.JobResult,
    "Write a narrative",
    models.NarrativeBody,
    Retry.UNLESS_DONE,
    job="narrative",
)
GET_NARRATIVE = Operation(
    "get_narrative",
    "GET",
    "/v1/models/{model_id}/narrative",
    models.Narrative,
    "The finished narrative",
    artefact_of="narrative",
)
CANCEL = Operation(
    "cancel",
    "DELETE",
    "/v1/models/{model_id}/job",
    models.StatusResult,
    "Cancel a running job (ClearTrace Local)",
)
LIST_MODELS = Operation(
    "list_models", "GET", "/v1/models", listing.ModelList, "List the models of this key (ClearTrace Local)"
)

OPERATIONS: tuple[Operation[models.Result], ...] = (
    HEALTH,
    CREATE_UPLOAD,
    FIT,
    FIT_DISTILL,
    STATUS,
    PREDICT,
    EXPLAIN,
    PREDICT_AND_EXPLAIN,
    INTERPRET,
    GET_SCHEMA,
    SCENARIO,
    SEGMENT,
    GET_SEGMENTS,
    NARRATIVE,
    GET_NARRATIVE,
    CANCEL,
    LIST_MODELS,
)

ARTEFACTS: Mapping[str, Operation[models.Result]] = {
    operation.artefact_of: operation for operation in OPERATIONS if operation.artefact_of
}
"""The call that fetches the result of a job, for the jobs that have one of their own."""

BY_NAME: Mapping[str, Operation[models.Result]] = {operation.name: operation for operation in OPERATIONS}
