"""The shapes that travel: request bodies and results, as frozen pydantic models.

Results ignore keys they do not know, so that a newer server stays readable; request bodies refuse them, so
that our own server names a misspelt key. Arrays are numpy arrays in Python and nested lists in JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator, RootModel, model_validator

MODEL_ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"
"""A model id is one safe path segment."""

FILE_FORMATS = {".csv": "csv", ".parquet": "parquet", ".pq": "parquet", ".pkl": "pkl", ".pickle": "pkl"}
"""File extensions that can be uploaded, and the format each is announced as."""


def _to_array(value: Any) -> Any:
    import numpy as np  # noqa: PLC0415  (numpy loads with the first result, never with a DAG)

    array = np.asarray(value)
    if array.dtype == object:
        array = array.astype(float)  # null is NaN
    if array.ndim == 0 or array.dtype.kind not in "biuf":
        raise ValueError("an array of numbers is needed")
    return array


def _to_lists(array: Any) -> Any:
    import numpy as np  # noqa: PLC0415  (numpy loads with the first result, never with a DAG)

    if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
        nullable = array.astype(object)
        nullable[~np.isfinite(array)] = None
        return nullable.tolist()
    return array.tolist()


if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
else:
    Array = Annotated[Any, PlainValidator(_to_array), PlainSerializer(_to_lists)]


class Result(BaseModel):
    """Base of everything a server answers with."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class Body(BaseModel):
    """Base of everything a client sends."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    def wire(self) -> dict[str, Any]:
        """The JSON object to send: a key is left out only where ``None`` is its default, never when empty."""
        told = {
            name: value
            for name, field in type(self).model_fields.items()
            if (value := getattr(self, name)) is not None or field.default is not None
        }
        return told | (self.model_extra or {})


# -- results ---------------------------------------------------------------------------------------------


class Health(Result):
    """The answer of a living server."""

    status: str


class UploadResult(Result):
    """Where and how to PUT a file. ``upload_url`` carries its own signature: treat it as a secret."""

    model_id: str
    upload_url: str = Field(repr=False)
    upload_key: str | None = None
    file_format: str
    content_type: str
    expires_in: float | None = None


class JobResult(Result):
    """A submitted job, after a wait its end; ``job_id`` tells jobs of one model apart (ClearTrace Local)."""

    model_id: str
    status: str
    message: str | None = None
    job_id: str | None = None


class StatusResult(Result):
    """Where a model's job stands. ``status``: ``pending``, ``running``, ``completed``, ``failed``.

    ``job`` names whose status it is (``upload``, ``fit``, ``fit_distill``, ``segment``, ``narrative``) where
    the server says so, ``job_id`` which one; ``progress`` is a share in [0, 1].
    """

    model_id: str
    status: str
    job: str | None = None
    job_id: str | None = None
    progress: float | None = None
    message: str | None = None
    error: str | None = None


class PredictResult(Result):
    """``predictions``: (n,) values or probabilities of class 1; (n, k) probabilities for k classes."""

    predictions: Array


class ExplanationResult(Result):
    """Predictions (n,), ``local_agop`` (n, d) and signed ``local_drivers`` (n, d) for d features."""

    predictions: Array
    local_agop: Array
    local_drivers: Array
    feature_names: list[str]
    warnings: tuple[str, ...] = ()


class Condition(Result):
    """One condition of a rule: ``feature operator value``."""

    feature: str
    operator: str
    value: Any = None


class LocalRule(Result):
    """A conjunction that holds for one row, with its figures on the training data.

    ``support`` and ``coverage`` are shares of rows, ``confidence`` the share of covered rows predicted alike,
    ``lift`` that share over the base rate.
    """

    text: str
    conditions: tuple[Condition, ...] = ()
    support: float | None = None
    confidence: float | None = None
    lift: float | None = None
    coverage: float | None = None

    @model_validator(mode="before")
    @classmethod
    def _accept_text(cls, value: Any) -> Any:
        return {"text": value} if isinstance(value, str) else value

    def __str__(self) -> str:
        if self.lift is None or self.support is None:
            return self.text
        return f"{self.text} (lift {self.lift:.2f}, support {self.support:.1%})"


class RowRules(RootModel[tuple[LocalRule, ...]]):
    """The rules of one row, best first; iterate or index it, or print it for their text."""

    model_config = ConfigDict(frozen=True)

    def __iter__(self) -> Iterator[LocalRule]:  # type: ignore[override]  # a row's rules, not a model's fields
        return iter(self.root)

    def __len__(self) -> int:
        return len(self.root)

    def __getitem__(self, index: int) -> LocalRule:
        return self.root[index]

    def __str__(self) -> str:
        return "; ".join(str(rule) for rule in self.root) or "no rule"


class PredictAndExplainResult(Result):
    """Predictions and drivers, with personas and local rules where asked for (one entry a row)."""

    predictions: Array
    local_drivers: Array
    feature_names: list[str]
    persona: list[Any] | None = None
    persona_cluster_id: list[int] | None = None
    local_rules: list[RowRules] | None = None
    warnings: tuple[str, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _one_list_of_rules_a_row(cls, value: Any) -> Any:
        rules = value.get("local_rules") if isinstance(value, dict) else None
        if not rules:
            return value
        one_a_row = [[entry] if isinstance(entry, str | dict | LocalRule) else entry for entry in rules]
        return value | {"local_rules": one_a_row}


class InterpretResult(Result):
    """Global importance: ``global_drivers`` (d,) >= 0 and sums to 1, in the order of ``feature_names``."""

    feature_names: list[str]
    global_drivers: Array
    warnings: tuple[str, ...] = ()


class SchemaColumn(Result):
    """What the model knows of one column."""

    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True)

    dtype: str
    categories: list[Any] | None = None


class SchemaResult(Result):
    """The columns a model was trained on."""

    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True)

    feature_names: list[str]
    columns: dict[str, SchemaColumn]
    target: str | None = None


class FeatureChange(Result):
    """One edit of a scenario."""

    from_: Any = Field(alias="from")
    to: Any


class ScenarioCandidate(Result):
    """One edited row that the model predicts as wanted."""

    n_changes: int
    changes: dict[str, FeatureChange]
    prediction: float


class ScenarioResultItem(Result):
    """The scenarios of one query row, fewest changes first; iterate or index it for the candidates."""

    query_index: int
    baseline_prediction: float
    already_at_desired_class: bool
    scenario_count: int
    scenarios: list[ScenarioCandidate] = []
    reason: str | None = None

    def __iter__(self) -> Iterator[ScenarioCandidate]:  # type: ignore[override]  # documented to yield candidates
        return iter(self.scenarios)

    def __len__(self) -> int:
        return len(self.scenarios)

    def __getitem__(self, index: int) -> ScenarioCandidate:
        return self.scenarios[index]


class ScenarioResult(Result):
    """One :class:`ScenarioResultItem` for each query row; iterate or index it."""

    results: list[ScenarioResultItem]

    def __iter__(self) -> Iterator[ScenarioResultItem]:  # type: ignore[override]  # documented to yield items
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    def __getitem__(self, index: int) -> ScenarioResultItem:
        return self.results[index]


class Persona(Result):
    """The archetype of one cluster."""

    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True)

    cluster_id: int
    persona_name: str
    persona_description: str


class SegmentationResult(Result):
    """Clusters of explanations: ``cluster_ids`` has one id a row, ``quality`` is in [0, 1]."""

    n_clusters: int
    quality: float
    cluster_ids: list[int]
    personas: list[Persona]


class Narrative(Result):
    """A model's story in plain language."""

    narrative: str


# -- request bodies --------------------------------------------------------------------------------------


ModelId = Annotated[str, Field(pattern=MODEL_ID_PATTERN)]
Rows = Sequence[Any]
"""Records (one object a row) or a 2-D array (one list a row)."""


class CreateUploadBody(Body):
    """Ask for a presigned upload URL."""

    file_format: Literal["csv", "parquet", "pkl"]
    model_id: ModelId | None = None


class TrainingBody(Body):
    """What fit and distillation share. Training options travel as flat extra keys."""

    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True)

    model_id: ModelId | None = None
    data: Rows | None = None
    feature_fields: list[str] | None = None
    feature_schema: dict[str, Any] | None = None


class FitBody(TrainingBody):
    """Train on labels: ``target`` names the column of records or of an uploaded file, or lists the values."""

    target: str | list[Any]


class DistillBody(TrainingBody):
    """Train a student on the predictions that the server fetches from ``predict_url``."""

    predict_url: str = Field(repr=False)
    predict_headers: dict[str, str] | None = Field(default=None, repr=False)
    target: str | None = None
    labels: list[Any] | None = None


class SamplesBody(Body):
    """Rows to score, as a 2-D array and the names of its columns."""

    samples: Rows
    feature_names: list[str] | None = None


class ExplainBody(SamplesBody):
    """Rows to score and explain."""

    use_sqrt: bool = True
    raw_gradient: bool = True


class PredictAndExplainBody(SamplesBody):
    """Rows to score and explain, with personas and rules; ``rule_kwargs={}`` is rules by default settings."""

    use_sqrt: bool = False
    raw_gradient: bool = True
    with_persona: bool = False
    rule_kwargs: dict[str, Any] | None = None


class ScenarioBody(Body):
    """Rows to search counterfactuals for."""

    queries: Rows
    feature_names: list[str] | None = None
    desired_class: int = 1
    n_walks: int = 500
    max_steps: int = 30
    epsilon: float = 0.2
    random_state: int | None = 42
    constraints: Mapping[str, dict[str, Any]] | None = None


class SegmentBody(Body):
    """What to segment; without ``data`` the training data."""

    data: Rows | None = None
    target_values: list[Any] | None = None
    feature_names: list[str] | None = None
    min_clusters: int = 4
    max_clusters: int = 10
    n_search_steps: int = 50
    use_agent: bool | None = None
    kpi_field: str | None = None
    problem_context: str | None = None


class NarrativeBody(Body):
    """What to tell the story of."""

    data: Rows
    feature_names: list[str] | None = None
    kpi_name: str
    context: str | None = None
    max_tool_calls: int = 6
