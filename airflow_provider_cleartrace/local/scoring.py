"""Answers from a trained model at once: predictions, explanations, rules, personas, scenarios, schema."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow_provider_cleartrace.api import models
from airflow_provider_cleartrace.local.artefacts import Artefact
from airflow_provider_cleartrace.local.datasets import SizeLimits, rows_for_model
from airflow_provider_cleartrace.local.engine.errors import InputError
from airflow_provider_cleartrace.local.engine.explanation import explain
from airflow_provider_cleartrace.local.engine.model import Model
from airflow_provider_cleartrace.local.engine.rules import RuleSettings, local_rules
from airflow_provider_cleartrace.local.engine.scenario import ScenarioResult, search
from airflow_provider_cleartrace.local.engine.schema import Column
from airflow_provider_cleartrace.local.engine.segmentation import assign
from airflow_provider_cleartrace.local.engine.table import Table
from airflow_provider_cleartrace.local.shelf import ModelShelf

_EXPLAINED: Mapping[str, str] = {
    "regression": "Explanations are of the predicted value.",
    "binary": "Explanations are of the raw score of class 1, before it is calibrated to a probability.",
    "multiclass": (
        "local_drivers are of the raw score of the predicted class, local_agop and global_drivers of the raw "
        "scores of all classes together; both before calibration to probabilities."
    ),
}

MAX_WALKS = 20_000
MAX_STEPS = 1_000
"""Forty and thirty times the defaults; all walks of a query are in memory at once."""


class Scorer:
    """Turns a body and the folder of a model into a result. The work is numerics: call it from a thread."""

    def __init__(self, shelf: ModelShelf, limits: SizeLimits) -> None:
        self._shelf = shelf
        self._limits = limits

    def predict(self, folder: Path, body: models.SamplesBody) -> models.PredictResult:
        """Predict rows."""
        model = self._shelf.model(folder)
        return models.PredictResult(predictions=model.predict(self._samples(model, body)))

    def explain(self, folder: Path, body: models.ExplainBody) -> models.ExplanationResult:
        """Predict rows, with local AGOP and drivers."""
        model = self._shelf.model(folder)
        explanation = explain(
            model, self._samples(model, body), use_sqrt=body.use_sqrt, raw_gradient=body.raw_gradient
        )
        return models.ExplanationResult(
            predictions=explanation.predictions,
            local_agop=explanation.local_agop,
            local_drivers=explanation.local_drivers,
            feature_names=list(explanation.feature_names),
            warnings=explanation.warnings,
        )

    def predict_and_explain(
        self, folder: Path, body: models.PredictAndExplainBody, segmented: Path | None
    ) -> models.PredictAndExplainResult:
        """Predict rows with drivers, and on demand personas and rules.

        Personas are those of ``segmented``, the model's finished segmentation; without one, the default ones.
        """
        model = self._shelf.model(folder)
        table = self._samples(model, body)
        rules = None
        if body.rule_kwargs is not None:
            RuleSettings.from_mapping(body.rule_kwargs)  # names an unknown key, also one that is an argument
            rules = local_rules(model, table, **body.rule_kwargs)
        explanation = explain(model, table, use_sqrt=body.use_sqrt, raw_gradient=body.raw_gradient)
        names, ids = self._personas(folder, segmented, table) if body.with_persona else (None, None)
        answered: dict[str, Any] = {
            "predictions": explanation.predictions,
            "local_drivers": explanation.local_drivers,
            "feature_names": list(explanation.feature_names),
            "warnings": explanation.warnings,
            "persona": names,
            "persona_cluster_id": ids,
            "local_rules": None if rules is None else [[rule.to_json() for rule in row] for row in rules],
        }
        return models.PredictAndExplainResult.model_validate(answered)

    def interpret(self, folder: Path) -> models.InterpretResult:
        """Give the global drivers."""
        model = self._shelf.model(folder)
        return models.InterpretResult(
            feature_names=list(model.schema.feature_names),
            global_drivers=model.global_drivers,
            warnings=model.warnings,
        )

    def schema(self, folder: Path) -> models.SchemaResult:
        """Describe the columns, the task and how good the model is."""
        model = self._shelf.model(folder)
        described: dict[str, Any] = {
            "feature_names": list(model.schema.feature_names),
            "columns": {column.name: _column(column) for column in model.schema.features},
            "target": model.schema.target,
            "task": model.task,
            "classes": list(model.classes),
            "explained": _EXPLAINED[model.task],
            "metrics": dict(model.metrics),
            "fidelity": None if model.fidelity is None else dict(model.fidelity),
            "notes": list(model.notes),
            "warnings": list(model.warnings),
            "config": dict(model.config),
        }
        return models.SchemaResult.model_validate(described)

    def scenario(self, folder: Path, body: models.ScenarioBody) -> models.ScenarioResult:
        """Search the smallest edits that move rows to the wanted class."""
        for name, value, most in (
            ("n_walks", body.n_walks, MAX_WALKS),
            ("max_steps", body.max_steps, MAX_STEPS),
        ):
            if value > most:
                raise InputError(f"{name} must be at most {most}, not {value}")
        model = self._shelf.model(folder)
        table = rows_for_model(
            body.queries, body.feature_names, model.schema.feature_names, self._limits, absent_allowed=True
        )
        found = search(
            model,
            table,
            desired_class=body.desired_class,
            n_walks=body.n_walks,
            max_steps=body.max_steps,
            epsilon=body.epsilon,
            random_state=body.random_state,
            constraints=body.constraints,
        )
        return models.ScenarioResult(results=[_scenarios(item) for item in found])

    def _samples(self, model: Model, body: models.SamplesBody) -> Table:
        return rows_for_model(body.samples, body.feature_names, model.schema.feature_names, self._limits)

    def _personas(self, folder: Path, segmented: Path | None, table: Table) -> tuple[list[str], list[int]]:
        segmentation = Artefact(segmented).segmentation() if segmented else None
        if segmentation is None:
            segmentation = self._shelf.default_personas(folder)
        ids = [int(cluster) for cluster in assign(segmentation, self._shelf.model(folder), table)]
        names = {persona.cluster_id: persona.persona_name for persona in segmentation.personas}
        return [names[cluster] for cluster in ids], ids


def _column(column: Column) -> dict[str, Any]:
    described: dict[str, Any] = {"dtype": column.kind, "missing_share": column.missing_share}
    if column.is_levelled:
        return described | {"categories": [column.json_value(level) for level in column.categories]}
    return described | {
        "min": column.json_value(column.minimum),
        "max": column.json_value(column.maximum),
        "mean": column.mean,
        "std": column.std,
    }


def _scenarios(item: ScenarioResult) -> models.ScenarioResultItem:
    return models.ScenarioResultItem(
        query_index=item.query_index,
        baseline_prediction=item.baseline_prediction,
        already_at_desired_class=item.already_at_desired_class,
        scenario_count=len(item.scenarios),
        scenarios=[
            models.ScenarioCandidate(
                n_changes=candidate.n_changes,
                changes={
                    name: models.FeatureChange.model_validate({"from": before, "to": after})
                    for name, (before, after) in candidate.changes.items()
                },
                prediction=candidate.prediction,
            )
            for candidate in item.scenarios
        ],
        reason=item.reason,
    )
