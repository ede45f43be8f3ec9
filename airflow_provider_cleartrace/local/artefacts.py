"""What jobs publish: a trained model with its training rows, a segmentation, a narrative."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from airflow_provider_cleartrace.local.datasets import TrainingData
from airflow_provider_cleartrace.local.engine.model import Model
from airflow_provider_cleartrace.local.engine.segmentation import Segmentation
from airflow_provider_cleartrace.local.engine.table import Table
from airflow_provider_cleartrace.local.files import load_table, save_table

_MODEL = "model"
_FEATURES = "features.parquet"
_TARGET = "target.parquet"
_SEGMENTATION = "segmentation.json"
_NARRATIVE = "narrative.json"
_OVERVIEW = "overview.json"

LISTED_DRIVERS = 6
"""Of an overview: as many as a reader takes in at a glance."""


@dataclass(frozen=True, slots=True)
class Overview:
    """What a list of models tells about a trained one, to be read without loading it.

    ``drivers`` are the largest global drivers that are not 0, largest first, with their share of all
    ``n_features``.
    """

    task: str
    target: str
    n_features: int
    drivers: tuple[tuple[str, float], ...]

    @classmethod
    def of(cls, model: Model) -> Overview:
        """Sum a model up."""
        names, shares = model.schema.feature_names, model.global_drivers.tolist()
        largest = sorted(zip(names, shares, strict=True), key=lambda driver: -driver[1])[:LISTED_DRIVERS]
        drivers = tuple(driver for driver in largest if driver[1] > 0)
        return cls(model.task, model.schema.target, len(names), drivers)


@dataclass(frozen=True, slots=True)
class Artefact:
    """The folder of one finished job; which of the methods apply depends on the job's kind."""

    folder: Path

    def save_model(self, model: Model, data: TrainingData) -> None:
        """Keep a model, and the rows it learned from: a segmentation without data is one of these."""
        model.save(self.folder / _MODEL)
        self._write(_OVERVIEW, asdict(Overview.of(model)))
        save_table(data.features.select(model.schema.feature_names), self.folder / _FEATURES)
        if data.target is not None:
            save_table(Table({data.target_name: data.target}), self.folder / _TARGET)

    def model(self) -> Model:
        """Load the model."""
        return Model.load(self.folder / _MODEL)

    def overview(self) -> Overview | None:
        """Load what was summed up of the model; None where the folder is gone."""
        document = self._read(_OVERVIEW)
        return None if document is None else Overview(**document)

    def training_rows(self) -> tuple[Table, Any]:
        """Load the features a model learned from and the target's values (None: it had none)."""
        features = load_table(self.folder / _FEATURES)
        path = self.folder / _TARGET
        if not path.exists():
            return features, None
        (target,) = load_table(path).columns.values()
        return features, target

    def save_segmentation(self, segmentation: Segmentation) -> None:
        """Keep a segmentation; a reader sees the whole file or none."""
        self._write(_SEGMENTATION, segmentation.to_json())

    def segmentation(self) -> Segmentation | None:
        """Load the segmentation, if there is one."""
        document = self._read(_SEGMENTATION)
        return None if document is None else Segmentation.from_json(document)

    def save_narrative(self, text: str) -> None:
        """Keep a narrative."""
        self._write(_NARRATIVE, {"narrative": text})

    def narrative(self) -> str | None:
        """Load the narrative, if there is one."""
        document = self._read(_NARRATIVE)
        return None if document is None else str(document["narrative"])

    def _write(self, name: str, document: Any) -> None:
        draft = self.folder / f"{name}.draft"
        draft.write_text(json.dumps(document), encoding="utf-8")
        draft.replace(self.folder / name)

    def _read(self, name: str) -> Any:
        try:
            return json.loads((self.folder / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
