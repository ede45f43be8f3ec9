"""A remote model that the library has calibrated: what the library is asked of it, and its raw answers."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from airflow_provider_cleartrace.explanations import conjunctions as joining
from airflow_provider_cleartrace.explanations.conjunctions import Conjunctions
from airflow_provider_cleartrace.explanations.encoding import Encoder, Matrix
from airflow_provider_cleartrace.explanations.library import drop_rules, placeholders, realign
from airflow_provider_cleartrace.explanations.predictions import (
    Memory,
    Model,
    RemoteClassifier,
    RemoteRegressor,
)
from airflow_provider_cleartrace.explanations.question import Question

if TYPE_CHECKING:
    from calibrated_explanations import WrapCalibratedExplainer

_METHODS = {"factual": "explain_factual", "alternative": "explore_alternatives", "fast": "explain_fast"}


class CalibratedModel:
    """Calibrates a model at once.

    Args:
        model: answers rows.
        encoder: turns rows into numbers; made from the calibration data.
        rows: (n, d) calibration data, encoded.
        targets: (n,) values, or the positions of classes.
        n_classes: how many classes the model tells apart; None for a regression.
        seed: of everything random.
    """

    def __init__(
        self,
        model: Model,
        encoder: Encoder,
        rows: Matrix,
        targets: NDArray[Any],
        *,
        n_classes: int | None,
        seed: int,
    ) -> None:
        import calibrated_explanations  # noqa: PLC0415  (an extra, and slow to load)

        self.model = model
        self.encoder = encoder
        self.y_minmax = (float(targets.min()), float(targets.max()))
        self._n_classes = n_classes
        self._undivided: set[int] = set()
        self._memory = Memory(model.ask)
        learner = RemoteRegressor(self._memory) if n_classes is None else RemoteClassifier(self._memory)
        self._wrapped: WrapCalibratedExplainer = calibrated_explanations.WrapCalibratedExplainer(learner)
        with model.failures_as_they_are():
            self._wrapped.calibrate(
                rows,
                targets,
                mode="regression" if n_classes is None else "classification",
                feature_names=placeholders(len(encoder.names)),
                categorical_features=encoder.levelled,
                seed=seed,
            )
        self._memory.keep()

    def explain(
        self, rows: Matrix, question: Question, unwanted: set[int], hidden: Sequence[set[int]]
    ) -> tuple[Any, NDArray[np.float64]]:
        """Explain (n, d) rows.

        Args:
            rows: encoded.
            question: what is asked.
            unwanted: features that no rule is wanted of.
            hidden: for each row the features that no rule is told of.

        Returns:
            The library's explanations, and (n, d, 2) borders of the bins that the values lie in.
        """
        options: dict[str, Any] = {
            "low_high_percentiles": question.asked_percentiles,
            "threshold": question.threshold,
        }
        if question.kind != "fast":
            options["features_to_ignore"] = sorted(unwanted)
            if unwanted != self._undivided:
                # The library would keep the bins of the features that were explained before.
                self._wrapped.explainer.discretizer = None
            self._undivided = unwanted
        with self.model.failures_as_they_are(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            told = getattr(self._wrapped, _METHODS[question.kind])(rows, **options)
            for explanation, features in zip(told, hidden, strict=True):
                if question.kind == "alternative":
                    levelled = [each for each in self.encoder.levelled if each not in unwanted]
                    realign(explanation, levelled)
                drop_rules(explanation, features)
            if question.conjunctions is not None:
                self._join(list(told), question, question.conjunctions)
            boundaries = np.asarray(self._wrapped.explainer.rule_boundaries(rows), dtype=float)
        self._memory.forget()
        return told, boundaries

    def _join(self, told: Sequence[Any], question: Question, wanted: Conjunctions) -> None:
        several = self._n_classes is not None and self._n_classes > 2

        def calibrate(rows: Matrix, labels: Sequence[Any]) -> Any:
            classes = np.array(labels, dtype=int) if several else labels[0]
            return self._predict(rows, question, classes=classes)[:3]

        joining.add(told, wanted, calibrate, first_only=several)

    def predict(self, rows: Matrix, question: Question) -> tuple[Any, Any, Any, Any]:
        """(n,) values, their lows and highs, and of several classes the predicted ones, for (n, d) rows."""
        with self.model.failures_as_they_are():
            values, low, high, chosen = self._predict(rows, question)
        self._memory.forget()
        return np.asarray(values), np.asarray(low), np.asarray(high), chosen

    def _predict(self, rows: Matrix, question: Question, **more: Any) -> Any:
        return self._wrapped.explainer.prediction_orchestrator.predict_internal(
            rows, threshold=question.threshold, low_high_percentiles=question.asked_percentiles, **more
        )
