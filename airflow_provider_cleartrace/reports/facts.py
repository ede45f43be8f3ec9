"""Everything a report shows, as data: what the page, the text and the JSON are made of."""

from __future__ import annotations

from typing import Any, Literal, TypeGuard

from pydantic import BaseModel, ConfigDict, Field

from airflow_provider_cleartrace.reports.drift import Comparison
from airflow_provider_cleartrace.reports.texts import Prose, Text

SCHEMA_VERSION = 1
"""Moves on when an entry of the JSON means something else."""


class Fact(BaseModel):
    """Base of all: frozen; a newer report's further entries are ignored, infinite numbers are refused.

    Errors tell the entry at fault and not its value, which may be a row's.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False, hide_input_in_errors=True)


class Figure(Fact):
    """A number with a name."""

    name: Text
    value: float


class Setting(Fact):
    """A word or number that something was made with."""

    name: Text
    value: Text


class Source(Fact):
    """A file or folder that the report was made from."""

    role: str
    uri: Text
    fingerprint: str | None = None


class Run(Fact):
    """The task that made the report."""

    dag_id: Text
    task_id: Text
    run_id: Text


class Feature(Fact):
    """A column of the model; the figures are of its training data."""

    name: Text
    kind: Text
    missing_share: float | None = None
    minimum: float | None = None
    mean: float | None = None
    maximum: float | None = None
    levels: int | None = None


class Model(Fact):
    """What the model's server tells of it. ``features`` are at most ``MOST_FEATURES`` of ``n_features``."""

    model_id: Text
    server: Text | None = None
    target: Text | None = None
    task: Text | None = None
    classes: tuple[Text, ...] = ()
    n_features: int = 0
    features: tuple[Feature, ...] = ()
    metrics: tuple[Figure, ...] = ()
    fidelity: tuple[Figure, ...] = ()
    config: tuple[Setting, ...] = ()
    notes: tuple[Text, ...] = ()


class Driver(Fact):
    """A feature's share of the model's sensitivity; ``raising_share`` is the share of rows it raises."""

    rank: int
    feature: Text
    share: float
    raising_share: float | None = None


class Drivers(Fact):
    """The strongest features; ``leading_share`` is of three, ``rest_share`` of the ``n_rest`` others."""

    n_features: int
    listed: tuple[Driver, ...]
    leading_share: float
    n_rest: int
    rest_share: float


class Bin(Fact):
    """Rows whose prediction is at least ``low`` and below ``high`` (of the last bin: at most)."""

    low: float
    high: float
    rows: int


class ClassShare(Fact):
    """Rows for which a class is the most probable, of more than two."""

    label: Text
    rows: int
    share: float
    mean_probability: float


class Predictions(Fact):
    """The predictions of all rows; of more than two classes: the probability of the most probable.

    ``below`` counts the rows under ``boundary``, where a decision has one, and ``above`` all others.
    """

    scale: Literal["probability", "value"]
    rows: int
    missing: int
    mean: float
    minimum: float
    lower_quartile: float
    median: float
    upper_quartile: float
    maximum: float
    boundary: float | None = None
    below: int | None = None
    below_share: float | None = None
    above: int | None = None
    above_share: float | None = None
    bins: tuple[Bin, ...]
    classes: tuple[ClassShare, ...] = ()


class RowDriver(Fact):
    """What a feature does to one row's prediction."""

    feature: Text
    value: Text | None = None
    driver: float


class Reason(Fact):
    """A reason code with its text."""

    code: Text
    text: Text


class Row(Fact):
    """A row in detail; ``rest`` is the sum of the sizes of its ``n_rest`` weaker drivers."""

    identity: Text
    why: Literal["asked", "highest", "median", "lowest"]
    prediction: float
    label: Text | None = None
    drivers: tuple[RowDriver, ...] = ()
    n_rest: int = 0
    rest: float = 0.0
    reasons: tuple[Reason, ...] = ()
    persona: Text | None = None


class ReasonCount(Fact):
    """How many rows have a reason, and how many have it first."""

    code: Text
    text: Text
    rows: int
    share: float
    first: int


class Reasons(Fact):
    """The reasons given, most frequent first; ``rows`` is how many rows have one."""

    rows: int
    share: float
    n_codes: int
    listed: tuple[ReasonCount, ...]


class Persona(Fact):
    """A group of rows that the model explains alike."""

    name: Text
    description: Prose
    rows: int
    share: float
    mean_prediction: float | None = None
    mean_target: float | None = None
    top_drivers: tuple[Text, ...] = ()


class Segments(Fact):
    """All personas, largest first; ``quality`` is in [0, 1]."""

    rows: int
    quality: float
    personas: tuple[Persona, ...]


class Edit(Fact):
    """One edit of a scenario."""

    feature: Text
    before: Text
    after: Text


class ScenarioRow(Fact):
    """A row with its scenario of fewest edits; ``found`` counts its scenarios."""

    identity: Text
    before: float
    after: float
    found: int
    edits: tuple[Edit, ...]


class EditedFeature(Fact):
    """In how many of the solved rows a feature is edited."""

    feature: Text
    rows: int
    share: float


class Scenarios(Fact):
    """The search for ways to the wanted class, which ``needed`` of the rows are not in already."""

    rows: int
    needed: int
    solved: int
    solved_share: float
    already_there: int
    unsolved: int
    mean_edits: float | None = None
    features: tuple[EditedFeature, ...] = ()
    shown: tuple[ScenarioRow, ...] = ()


class CalibratedRule(Fact):
    """A rule's weight with its interval; None is without bound."""

    rule: Text
    weight: float
    low: float | None
    high: float | None


class CalibratedRow(Fact):
    """A calibrated prediction with its interval; None is without bound."""

    identity: Text
    prediction: float
    low: float | None
    high: float | None
    label: Text | None = None
    rules: tuple[CalibratedRule, ...] = ()


class Calibrated(Fact):
    """Calibrated predictions; ``coverage`` and ``calibration_error`` were measured on held-out rows."""

    kind: Text
    rows: int
    rules: int
    mean_width: float | None = None
    widest: float | None = None
    calibration_rows: int | None = None
    held_out_rows: int | None = None
    coverage: float | None = None
    calibration_error: float | None = None
    shown: tuple[CalibratedRow, ...] = ()


class Moved(Fact):
    """A figure then and now; None: it was not told."""

    name: Text
    before: float | None
    after: float | None
    difference: float | None = None


class DriverMove(Fact):
    """A driver's rank and share then and now; None: it was not among those listed."""

    feature: Text
    rank_before: int | None
    rank_after: int | None
    share_before: float | None
    share_after: float | None


class Changes(Fact):
    """What is different from an earlier report."""

    earlier_made_at: str
    earlier_run: Run | None
    earlier_model_id: Text
    same_model: bool
    same_data: bool | None
    figures: tuple[Moved, ...]
    drivers: tuple[DriverMove, ...]
    personas: tuple[Moved, ...]
    reasons: tuple[Moved, ...]


class Report(Fact):
    """One report. What was not given or not told is None or empty."""

    kind: Literal["cleartrace-report"] = "cleartrace-report"
    schema_version: int = Field(default=SCHEMA_VERSION, le=SCHEMA_VERSION)
    title: Text
    made_at: str
    provider_version: str
    run: Run | None = None
    raw_gradient: bool = True
    model: Model
    drivers: Drivers | None = None
    predictions: Predictions | None = None
    rows: tuple[Row, ...] = ()
    reasons: Reasons | None = None
    segments: Segments | None = None
    scenarios: Scenarios | None = None
    calibrated: Calibrated | None = None
    narrative: Prose | None = None
    changes: Changes | None = None
    comparison: Comparison | None = None
    sources: tuple[Source, ...] = ()

    def to_bytes(self) -> bytes:
        """As JSON."""
        return self.model_dump_json(indent=1).encode() + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes) -> Report:
        """Read what :meth:`to_bytes` wrote.

        Raises:
            ValueError: it is no report, or one of a newer schema.
        """
        return cls.model_validate_json(data)


def figures(told: Any) -> tuple[Figure, ...]:
    """The finite numbers of a mapping, by name."""
    if not isinstance(told, dict):
        return ()
    return tuple(Figure(name=name, value=value) for name, value in told.items() if is_number(value))


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a value is a finite number (and no truth value)."""
    finite = isinstance(value, int | float) and abs(value) < float("inf")
    return finite and not isinstance(value, bool)
