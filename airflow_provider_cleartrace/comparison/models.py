"""What a comparison finds, as frozen models: each figure once, in JSON for reports and other tasks."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION = 1
"""Moves on when an entry of the JSON means something else."""

Verdict = Literal["stable", "drift", "not judged"]


class Finding(BaseModel):
    """Base of all: frozen; what a newer version adds is ignored, infinite numbers are refused."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Side(Finding):
    """One of the two that are compared: an output, a model, calibrated rules, or all of these."""

    output: str | None = None
    rows: int | None = None
    model_id: str | None = None
    calibrated: str | None = None


class Bin(Finding):
    """Rows whose prediction is above ``low`` and at most ``high``; None is open."""

    low: float | None
    high: float | None
    reference_rows: int
    current_rows: int


class PredictionDrift(Finding):
    """How predictions moved; ``label`` is the class of a probability, of more than two.

    ``psi_by_chance`` is what two samples of one population of these sizes have on average.
    """

    label: str | None
    psi: float
    psi_by_chance: float
    reference_mean: float
    current_mean: float
    bins: tuple[Bin, ...]


class DriverShift(Finding):
    """How one feature's part moved.

    The shares are of all features' mean absolute drivers; ranks count from 1, equal features share a mean
    rank. The means of drivers are told of outputs only: a model's global drivers are shares.
    """

    feature: str
    reference_share: float
    current_share: float
    share_difference: float
    reference_rank: float
    current_rank: float
    reference_mean_absolute: float | None = None
    current_mean_absolute: float | None = None
    reference_mean: float | None = None
    current_mean: float | None = None


class DriverDrift(Finding):
    """How drivers moved, the largest shift of share first.

    ``shift`` is half the sum of the absolute differences of share: 0 for none, 1 for all.
    """

    rank_correlation: float
    shift: float
    features: tuple[DriverShift, ...]


class PersonaShare(Finding):
    """How many rows have a persona; ``persona`` is None for rows without one."""

    persona: str | None
    reference_rows: int
    current_rows: int
    reference_share: float
    current_share: float
    share_difference: float


class PersonaDrift(Finding):
    """How rows moved between personas, the largest shift first."""

    psi: float
    psi_by_chance: float
    shift: float
    personas: tuple[PersonaShare, ...]


class RuleDrift(Finding):
    """What the reference's rules say of the current rows.

    Attributes:
        match_rate: share of the current rows for which the conditions of one of the reference's rules hold;
            None, with a reason in ``why_no_match_rate``, where they cannot be tried.
        shared_rate: share of the current rows of whose own rules one is a rule of the reference.
    """

    reference_rules: int
    current_rules: int
    reference_rows_with_rules: int
    current_rows_with_rules: int
    match_rate: float | None
    shared_rate: float
    why_no_match_rate: str | None = None


class Width(Finding):
    """Mean widths of calibrated intervals: of the predictions of rows, of the weights of rules.

    Rules with an open side are only counted. A row without a rule is not in a table of rules.
    """

    rows: int
    rules: int
    open_rules: int
    mean_prediction_width: float | None
    mean_weight_width: float | None


class IntervalDrift(Finding):
    """How sure the calibrated rules are, then and now; ``width_ratio`` is current over reference."""

    reference: Width
    current: Width
    width_ratio: float | None


class Crossing(Finding):
    """A figure beyond its threshold: ``above`` the most, or ``below`` the least that it may be."""

    figure: str
    value: float
    threshold: float
    side: Literal["above", "below"]

    def __str__(self) -> str:
        return f"{self.figure} {self.value:.4g} is {self.side} {self.threshold:g}"


class Comparison(Finding):
    """Everything a comparison finds. ``figures`` has by name what thresholds can be set on."""

    kind: Literal["cleartrace-comparison"] = "cleartrace-comparison"
    schema_version: int = Field(default=SCHEMA_VERSION, le=SCHEMA_VERSION)
    reference: Side
    current: Side
    figures: dict[str, float]
    thresholds: dict[str, float]
    crossed: tuple[Crossing, ...]
    verdict: Verdict
    predictions: tuple[PredictionDrift, ...] = ()
    drivers: DriverDrift | None = None
    global_drivers: DriverDrift | None = None
    personas: PersonaDrift | None = None
    rules: RuleDrift | None = None
    intervals: IntervalDrift | None = None
