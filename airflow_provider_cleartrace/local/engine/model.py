"""The fitted model: encode, score, predict, differentiate, save and load."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from airflow_provider_cleartrace.local.engine.boosted import BoostedTrees
from airflow_provider_cleartrace.local.engine.calibration import Calibration, calibration_from_json
from airflow_provider_cleartrace.local.engine.encoding import Encoder
from airflow_provider_cleartrace.local.engine.errors import ModelFileError
from airflow_provider_cleartrace.local.engine.rfm import KernelMachine
from airflow_provider_cleartrace.local.engine.schema import Label, ModelSchema, Task
from airflow_provider_cleartrace.local.engine.table import Table

FORMAT_VERSION = 1
"""Raised when a stored model of the old form can no longer be read."""

_DOCUMENT = "model.json"
_ARRAYS = "arrays.npz"
_REFERENCE_TABLE = "reference.json"
FAITHFUL_R2 = 0.9
"""Fidelity from which a student's explanations may be read as its teacher's."""

_GRADIENT_ROWS = 1024
"""Rows differentiated at once: bounds memory at rows x outputs x encoded columns."""


class Predictor(Protocol):
    """A differentiable scorer of encoded rows: a KernelMachine or BoostedTrees."""

    @property
    def kind(self) -> str:
        """The base model type, "xrfm" or "xgboost"."""

    def scores(self, encoded: NDArray[np.float64]) -> NDArray[np.float64]:
        """Score rows, (n, p) -> (n, outputs)."""

    def gradients(self, encoded: NDArray[np.float64]) -> NDArray[np.float64]:
        """Differentiate the scores, (n, p) -> (n, outputs, p)."""

    def scores_and_gradients(
        self, encoded: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Give both, for less than the price of two."""

    def save(self, folder: Path) -> None:
        """Write the scorer's own file into the folder."""


@dataclass(frozen=True, eq=False)
class Model:
    """A fitted model; immutable, built by `training.fit`, `training.distill` or `Model.load`.

    A stored model holds training rows: the reference, and the centres of a kernel machine.

    Attributes:
        schema: features, target, task and classes.
        encoder: how tables become matrices.
        predictor: the scorer of encoded rows.
        calibration: how raw scores become predictions.
        metrics: figures of the validation rows ("validation_r2", "validation_auc", ...) and row counts
            ("training_rows", "validation_rows", "dropped_rows").
        trials: the tuning log, one {"params": {...}, "loss": float} a step; the smallest loss was taken.
        notes: what the training did that its caller should know, one sentence each.
        config: the training configuration as a JSON object.
        fidelity: only for a distilled student, on held-out rows: "r2" to the teacher and, for classes,
            "agreement".
        reference: encoded sample of the training table (validation rows included), (m, p), m <= 2,000.
        reference_table: the same rows as a table of the features.
    """

    schema: ModelSchema
    encoder: Encoder
    predictor: Predictor
    calibration: Calibration
    metrics: Mapping[str, float]
    trials: tuple[Mapping[str, Any], ...]
    notes: tuple[str, ...]
    config: Mapping[str, Any]
    fidelity: Mapping[str, float] | None
    reference: NDArray[np.float64]
    reference_table: Table

    def __post_init__(self) -> None:
        self.reference.setflags(write=False)

    @property
    def task(self) -> Task:
        """The task: regression, binary or multiclass."""
        return self.schema.task

    @property
    def classes(self) -> tuple[Label, ...]:
        """The class labels, in the order of scores and probabilities; empty for regression."""
        return self.schema.classes

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader of any explanation must know; today: that a student follows its teacher loosely."""
        if self.fidelity is None or self.fidelity["r2"] >= FAITHFUL_R2:
            return ()
        return (
            f"Low fidelity: on held-out rows the student's r2 to its teacher is {self.fidelity['r2']:.2f}, "
            f"below {FAITHFUL_R2}; read its explanations as a sketch of the teacher's.",
        )

    def encode(self, table: Table) -> NDArray[np.float64]:
        """Encode a table by column name, -> (n, p).

        Raises:
            InputError: missing feature columns, or cells of the wrong type.
        """
        return self.encoder.encode(table)

    def scores(self, encoded: NDArray[np.float64]) -> NDArray[np.float64]:
        """Score encoded rows, (n, p) -> (n, outputs): the raw quantity that explanations differentiate.

        One output for regression (the value) and for two classes (class 1); k outputs for k classes.
        """
        return self.predictor.scores(encoded)

    def predictions_from_scores(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Turn raw scores (n, outputs) into what `predict` returns."""
        return self.calibration.predictions(scores)

    def predict(self, table: Table) -> NDArray[np.float64]:
        """Predict a table.

        Returns:
            Regression: values (n,). Binary: probability of class 1, (n,). Multiclass: probabilities (n, k).

        Raises:
            InputError: missing feature columns, or cells of the wrong type.
        """
        return self.predictions_from_scores(self.scores(self.encode(table)))

    def predicted_classes(self, predictions: NDArray[np.float64]) -> NDArray[np.intp]:
        """Give the class position of what a classifier predicted, (n,): P(class 1) >= 0.5, or the largest."""
        if predictions.ndim == 2:
            return np.asarray(predictions.argmax(axis=1))
        return np.asarray(predictions >= 0.5, dtype=np.intp)

    def gradients(self, encoded: NDArray[np.float64]) -> NDArray[np.float64]:
        """Differentiate the raw scores with respect to encoded columns, (n, p) -> (n, outputs, p).

        Exact for a kernel machine; for boosted trees see `BoostedTrees.gradients`.
        """
        return self.predictor.gradients(encoded)

    def feature_gradients(self, encoded: NDArray[np.float64]) -> NDArray[np.float64]:
        """Differentiate the raw scores with respect to features, (n, p) -> (n, outputs, d).

        Per training standard deviation for a quantity, a contrast for levels: see `Encoder.contract`.
        """
        return self.scores_and_feature_gradients(encoded)[1]

    def scores_and_feature_gradients(
        self, encoded: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Give `scores` and `feature_gradients` together, (n, outputs) and (n, outputs, d)."""
        scores, contracted = [], []
        for rows in np.array_split(encoded, range(_GRADIENT_ROWS, len(encoded), _GRADIENT_ROWS)):
            block_scores, gradients = self.predictor.scores_and_gradients(rows)
            scores.append(block_scores)
            contracted.append(self.encoder.contract(gradients, rows))
        return np.concatenate(scores), np.concatenate(contracted)

    @cached_property
    def global_agop(self) -> NDArray[np.float64]:
        """The average gradient outer product over the reference, summed over outputs, (d, d)."""
        gradients = self.feature_gradients(self.reference)
        agop = np.asarray(np.einsum("nod,noe->de", gradients, gradients) / len(gradients))
        agop.setflags(write=False)
        return agop

    @cached_property
    def global_drivers(self) -> NDArray[np.float64]:
        """One importance a feature, (d,): the root of the global AGOP's diagonal, normalised to sum 1.

        All zeros when the model is constant.
        """
        drivers = np.sqrt(np.diag(self.global_agop))
        total = drivers.sum()
        drivers = drivers / total if total > 0 else drivers
        drivers.setflags(write=False)
        return drivers

    def save(self, folder: Path) -> None:
        """Write the model into a folder (created if need be): JSON and arrays, nothing that runs code."""
        folder.mkdir(parents=True, exist_ok=True)
        document = {
            "format_version": FORMAT_VERSION,
            "predictor": self.predictor.kind,
            "schema": self.schema.to_json(),
            "encoder": self.encoder.to_json(),
            "calibration": self.calibration.to_json(),
            "metrics": dict(self.metrics),
            "trials": [dict(trial) for trial in self.trials],
            "notes": list(self.notes),
            "config": dict(self.config),
            "fidelity": None if self.fidelity is None else dict(self.fidelity),
        }
        (folder / _DOCUMENT).write_text(json.dumps(document, indent=1), encoding="utf-8")
        (folder / _REFERENCE_TABLE).write_text(json.dumps(self.reference_table.to_json()), encoding="utf-8")
        np.savez_compressed(folder / _ARRAYS, reference=self.reference)
        self.predictor.save(folder)

    @classmethod
    def load(cls, folder: Path) -> Model:
        """Read a model that `save` wrote; it predicts the same, bit for bit.

        Raises:
            ModelFileError: a file is missing or damaged, or of another format version.
        """
        try:
            document = json.loads((folder / _DOCUMENT).read_text(encoding="utf-8"))
            if document["format_version"] != FORMAT_VERSION:
                raise ModelFileError(
                    f"{folder / _DOCUMENT} has format version {document['format_version']}, this "
                    f"engine reads {FORMAT_VERSION}; train the model again"
                )
            schema = ModelSchema.from_json(document["schema"])
            with np.load(folder / _ARRAYS, allow_pickle=False) as arrays:
                reference = arrays["reference"]
            reference_columns = json.loads((folder / _REFERENCE_TABLE).read_text(encoding="utf-8"))
            encoder = Encoder.from_json(document["encoder"], schema.features)
            boosted = document["predictor"] == BoostedTrees.kind
            return cls(
                schema=schema,
                encoder=encoder,
                predictor=BoostedTrees.load(folder, encoder) if boosted else KernelMachine.load(folder),
                calibration=calibration_from_json(document["calibration"]),
                metrics=document["metrics"],
                trials=tuple(document["trials"]),
                notes=tuple(document["notes"]),
                config=document["config"],
                fidelity=document["fidelity"],
                reference=reference,
                reference_table=Table.from_columns(reference_columns),
            )
        except ModelFileError:
            raise
        except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile, zlib.error) as error:
            raise ModelFileError(f"the model in {folder} cannot be read ({type(error).__name__})") from error
