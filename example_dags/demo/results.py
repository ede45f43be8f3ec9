"""What a run of the DAG ``credit_risk`` made: read from its tasks' manifests and the files that they name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet

#: The tasks that contribute, by id.
TASKS = ("interpret", "explain", "segment", "narrative", "scenario")


class MissingResult(RuntimeError):
    """A run succeeded and yet something that the demo promises is not there, or is not what was announced."""


@dataclass(frozen=True)
class Scenario:
    """The smallest change that was found for one declined application."""

    application: int
    baseline_prediction: float
    prediction: float
    #: From a feature to the value it has and the value it would need.
    changes: Mapping[str, tuple[Any, Any]]


@dataclass(frozen=True)
class Results:
    """The results of a run, as far as the demo shows them."""

    #: Features and their shares of the model's sensitivity, largest first.
    drivers: list[tuple[str, float]]
    scenario: Scenario
    declined: int
    solved: int
    #: The name and the description of each segment's persona.
    personas: list[tuple[str, str]]
    narrative: str
    explanations: Path
    explained_rows: int


def read_results(manifests: Mapping[str, Mapping[str, Any]]) -> Results:
    """Read the results of a run.

    Args:
        manifests: What the tasks of :data:`TASKS` returned, by task id.

    Raises:
        MissingResult: It names the task, and the key or the file that is missing, empty or wrong.
    """
    interpret, explain, segment, narrative, scenario = (_Manifest(task, manifests[task]) for task in TASKS)
    explanations, explained_rows = explain.file(), explain.value("rows")
    rows = pyarrow.parquet.read_metadata(explanations).num_rows
    if rows != explained_rows:
        raise MissingResult(f"{explanations} holds {rows} rows, its manifest says {explained_rows}.")
    personas = json.loads(segment.file().read_text(encoding="utf-8"))["personas"]
    if not personas:
        raise MissingResult(f"{segment.file()} names no persona.")
    return Results(
        drivers=list(zip(interpret.value("top_features"), interpret.value("top_shares"), strict=True)),
        scenario=_first_scenario(scenario.file()),
        declined=scenario.value("rows") - scenario.value("rows_filtered"),
        solved=scenario.value("rows_solved"),
        personas=[(persona["persona_name"], persona["persona_description"]) for persona in personas],
        narrative=narrative.value("narrative"),
        explanations=explanations,
        explained_rows=explained_rows,
    )


@dataclass(frozen=True)
class _Manifest:
    task_id: str
    values: Mapping[str, Any]

    def value(self, key: str) -> Any:
        """Return what the task returned under ``key``; nothing, zero and an empty list are missing."""
        value = self.values.get(key)
        if not value:
            raise MissingResult(f"The task {self.task_id!r} returned nothing under {key!r}.")
        return value

    def file(self) -> Path:
        """Return the file that the task wrote."""
        path = Path(self.value("output_uri"))
        if not path.is_file():
            raise MissingResult(f"The task {self.task_id!r} names {path}, which does not exist.")
        return path


def _first_scenario(path: Path) -> Scenario:
    with path.open(encoding="utf-8") as lines:
        for entry in map(json.loads, lines):
            if entry["changes"]:
                changes = json.loads(entry["changes"]).items()
                return Scenario(
                    application=entry["row"],
                    baseline_prediction=entry["baseline_prediction"],
                    prediction=entry["prediction"],
                    changes={feature: (change["from"], change["to"]) for feature, change in changes},
                )
    raise MissingResult(f"{path} holds no scenario.")
