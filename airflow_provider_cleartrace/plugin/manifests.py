"""Reads what tasks handed on: which model it is about, what they tell of it, which report they wrote."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError

FACTS = {"target": "Target", "task": "Task", "n_features": "Features", "fidelity": "Fidelity"}
"""What a training's manifest tells besides its metrics."""

METRIC = "metric_"
"""Begins the name of each metric of a training."""


class Manifest(BaseModel):
    """What every task of this provider returns about a model; everything else depends on the task."""

    schema_version: Literal[1]
    model_id: str
    output_uri: str | None = None
    top_features: list[str] = []
    top_shares: list[float] = []


class Report(BaseModel):
    """What a task returns that wrote an HTML report: where it lies, and the SHA-256 of its bytes."""

    title: str
    sections: list[str]
    output_uri: Annotated[str, Field(pattern=r"\.html$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


@dataclass(frozen=True)
class Told:
    """The manifest of one task instance."""

    run_id: str
    task_id: str
    map_index: int
    at: dt.datetime
    manifest: Manifest
    report: Report | None
    figures: dict[str, str]
    """What a training tells of its model, by name as it is shown; empty for other tasks."""

    @property
    def label(self) -> str:
        """The task, with its index where it is mapped."""
        return self.task_id if self.map_index < 0 else f"{self.task_id}[{self.map_index}]"


@dataclass(frozen=True)
class Model:
    """A model of a run: what is known of it, its strongest features with shares, and who worked on it."""

    model_id: str
    figures: dict[str, str]
    drivers: list[tuple[str, float]]
    tasks: list[Told]


def read(run_id: str, task_id: str, map_index: int, at: dt.datetime, value: Any) -> Told | None:
    """Read a return value as Airflow's database has it; None for what is no manifest of this provider."""
    try:
        held = json.loads(value) if isinstance(value, str) else value
        manifest = Manifest.model_validate(held)
    except ValueError:
        return None
    return Told(run_id, task_id, map_index, at, manifest, _report(held), _figures(held))


def models(told: Iterable[Told]) -> list[Model]:
    """The models that tasks worked on, in the order in which they appeared."""
    grouped: dict[str, list[Told]] = {}
    for each in told:
        grouped.setdefault(each.manifest.model_id, []).append(each)
    return [
        Model(
            model_id,
            {name: figure for each in tasks for name, figure in each.figures.items()},
            next((drivers for each in reversed(tasks) if (drivers := shares(each))), []),
            tasks,
        )
        for model_id, tasks in grouped.items()
    ]


def shares(told: Told) -> list[tuple[str, float]]:
    """The strongest features that a task tells of, by falling share."""
    return list(zip(told.manifest.top_features, told.manifest.top_shares, strict=False))


def _report(held: Any) -> Report | None:
    try:
        return Report.model_validate(held)
    except ValidationError:
        return None


def _figures(held: dict[str, Any]) -> dict[str, str]:
    """The target and the metrics of what a training returned."""
    if "n_features" not in held or "target" not in held:
        return {}
    named = {label: held[key] for key, label in FACTS.items() if held.get(key) is not None}
    metrics = {key.removeprefix(METRIC): value for key, value in held.items() if key.startswith(METRIC)}
    return {name: _shown(value) for name, value in (named | metrics).items()}


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
