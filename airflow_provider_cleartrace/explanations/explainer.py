"""``CalibratedExplainer``: calibrates a remote model on data it was not trained on, and explains rows."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from airflow_provider_cleartrace.explanations import conjunctions as joining
from airflow_provider_cleartrace.explanations.collection import CalibratedExplanations
from airflow_provider_cleartrace.explanations.conjunctions import Conjunctions
from airflow_provider_cleartrace.explanations.encoding import Encoder, Matrix
from airflow_provider_cleartrace.explanations.errors import ExplanationError
from airflow_provider_cleartrace.explanations.held_out import Reliability, of_probabilities, of_quantities
from airflow_provider_cleartrace.explanations.library import (
    Converter,
    drop_rules,
    installed_version,
    placeholders,
    realign,
)
from airflow_provider_cleartrace.explanations.predictions import (
    REQUEST_ROWS,
    Memory,
    Model,
    Predict,
    RemoteClassifier,
    RemoteRegressor,
)
from airflow_provider_cleartrace.explanations.question import Question
from airflow_provider_cleartrace.explanations.values import Scalar

if TYPE_CHECKING:
    from calibrated_explanations import WrapCalibratedExplainer

LEAST_ROWS = 30
"""Fewest calibration rows: with fewer the library finds hardly a rule, and intervals mean nothing."""

SEED = 42
"""Of everything random: the library's perturbations, and the held-out part."""

_METHODS = {"factual": "explain_factual", "alternative": "explore_alternatives", "fast": "explain_fast"}


class CalibratedExplainer:
    """Explains rows of a remote model, with intervals from calibration data that it was not trained on.

    Args:
        predict: asks the model: a DataFrame of rows in, one number a row out (a value, or the probability of
            the second class), or one probability for each class.
        feature_names: the model's features.
        classes: the classes in the model's order; None for a regression.
        categories: features that the model knows as categories, with their levels.
        request_rows: most rows of one request.
        max_in_flight: most requests at the same time; ``predict`` must allow as many threads.
        seed: of everything random.

    Attributes:
        rows: calibration rows in use.
        rows_dropped: calibration rows left out, because a number of theirs is missing.
    """

    def __init__(
        self,
        predict: Predict,
        *,
        feature_names: Sequence[str],
        classes: Sequence[Scalar] | None = None,
        categories: Mapping[str, Sequence[Scalar]] | None = None,
        request_rows: int = REQUEST_ROWS,
        max_in_flight: int = 1,
        seed: int = SEED,
    ) -> None:
        self._predict = predict
        self.feature_names = tuple(feature_names)
        self.classes = None if classes is None else tuple(classes)
        self._categories = categories or {}
        self._request_rows = request_rows
        self._max_in_flight = max_in_flight
        self._seed = seed
        self.rows = 0
        self.rows_dropped = 0
        self._calibrated: tuple[WrapCalibratedExplainer, Encoder, Memory, Model] | None = None
        self._y_minmax = (0.0, 0.0)
        self._undivided: set[int] = set()

    def check(self, rows: pd.DataFrame, target: Sequence[Any] | pd.Series[Any], question: Question) -> None:
        """Refuse a question, or calibration data for it, that will not do; nothing is asked of the model.

        Raises:
            ExplanationError: what :meth:`calibrate`, :meth:`measure` and :meth:`explain` would refuse.
        """
        question.check(self.feature_names, self.classes)
        encoder = Encoder.learn(rows, self.feature_names, self._categories)
        encoder.encode(rows)
        question.check_levels(encoder.level_counts)
        self._numbers(pd.Series(target).dropna().tolist())

    def calibrate(self, rows: pd.DataFrame, target: Sequence[Any] | pd.Series[Any]) -> CalibratedExplainer:
        """Learn from rows and their true targets how far the model can be believed.

        Rows in which a number is missing, or the target, are left out: the library has no place for them.
        A missing level is a level.

        Raises:
            ExplanationError: too few rows, a class that the model does not know, classes that do not occur,
                or a target that is no number. Nothing was asked of the model then.
        """
        installed_version()
        import calibrated_explanations  # noqa: PLC0415  (an extra, and slow to load)

        encoder = Encoder.learn(rows, self.feature_names, self._categories)
        targets = pd.Series(target).reset_index(drop=True)
        if len(targets) != len(rows):
            raise ExplanationError(f"{len(rows)} calibration rows have {len(targets)} targets")
        encoded = encoder.encode(rows)
        usable = ~np.isnan(encoded).any(axis=1) & targets.notna().to_numpy()
        self.rows_dropped = int((~usable).sum())
        # Levels that occur in dropped rows alone would be levels without a row.
        encoder = Encoder.learn(rows[usable], self.feature_names, self._categories)
        encoded = encoder.encode(rows[usable])
        answers = self._numbers(targets[usable].tolist())
        self._check(answers)
        self.rows = len(answers)
        model = Model(
            self._predict,
            encoder,
            n_classes=None if self.classes is None else len(self.classes),
            request_rows=self._request_rows,
            max_in_flight=self._max_in_flight,
        )
        memory = Memory(model.ask)
        learner = RemoteRegressor(memory) if self.classes is None else RemoteClassifier(memory)
        wrapped = calibrated_explanations.WrapCalibratedExplainer(learner)
        with model.failures_as_they_are():
            wrapped.calibrate(
                encoded,
                answers,
                mode="regression" if self.classes is None else "classification",
                feature_names=placeholders(len(self.feature_names)),
                categorical_features=encoder.levelled,
                seed=self._seed,
            )
        memory.keep()
        self._y_minmax = (float(answers.min()), float(answers.max()))
        self._undivided = set()
        self._calibrated = (wrapped, encoder, memory, model)
        return self

    def _numbers(self, targets: list[Any]) -> Any:
        """Targets as the library takes them: numbers, or the positions of classes."""
        if self.classes is None:
            try:
                numbers = np.array(targets, dtype=float)
            except (TypeError, ValueError):
                raise ExplanationError(
                    "the calibration target has values that are no numbers, and the model is a regression"
                ) from None
            if np.isinf(numbers).any():
                raise ExplanationError("the calibration target has an infinite value")
            return numbers
        positions = {_label(label): position for position, label in enumerate(self.classes)}
        if unknown := {_label(each) for each in targets} - positions.keys():
            raise ExplanationError(
                f"the calibration target has {len(unknown)} values that are no classes of the model;"
                f" its classes: {', '.join(map(repr, self.classes))}"
            )
        return np.array([positions[_label(each)] for each in targets], dtype=int)

    def _check(self, targets: Any) -> None:
        least = max(LEAST_ROWS, len(self.classes or ()))
        if len(targets) < least:
            dropped = f" ({self.rows_dropped} were left out for missing values)" if self.rows_dropped else ""
            raise ExplanationError(
                f"{len(targets)} calibration rows are too few{dropped}: {least} are needed"
            )
        present = set(targets.tolist())
        absent = [label for position, label in enumerate(self.classes or ()) if position not in present]
        if absent:
            raise ExplanationError(f"no calibration row has the class {absent[0]!r}")

    @property
    def calls(self) -> int:
        """Requests sent since the calibration."""
        return self._ready()[3].calls

    @property
    def rows_sent(self) -> int:
        """Rows sent since the calibration."""
        return self._ready()[3].rows

    def _ready(self) -> tuple[WrapCalibratedExplainer, Encoder, Memory, Model]:
        if self._calibrated is None:
            raise ExplanationError("calibrate first: explanations need calibration data")
        return self._calibrated

    def explain(self, rows: pd.DataFrame, question: Question | None = None) -> CalibratedExplanations:
        """Explain rows.

        A value that the calibration data has no place for, a missing number or an unknown level, is asked of
        the model as it is, but no rule is told of it; it is listed as ``unplaced``.

        Raises:
            ExplanationError: a wrong option, before the model is asked, or a wrong answer of the model.
        """
        question = question or Question()
        question.check(self.feature_names, self.classes)
        wrapped, encoder, memory, model = self._ready()
        question.check_levels(encoder.level_counts)
        encoded = encoder.encode(rows)
        if not len(encoded):
            raise ExplanationError("there are no rows to explain")
        unplaced = ~encoder.is_placed(encoded)
        wanted = question.wanted(self.feature_names)
        unwanted = set(range(len(self.feature_names))).difference(wanted)
        hidden = [unwanted.union(np.flatnonzero(absent).tolist()) for absent in unplaced]
        options: dict[str, Any] = {
            "low_high_percentiles": question.asked_percentiles,
            "threshold": question.threshold,
        }
        if question.kind != "fast":
            options["features_to_ignore"] = sorted(unwanted)
            if unwanted != self._undivided:
                # The library would keep the bins of the features that were explained before.
                wrapped.explainer.discretizer = None
            self._undivided = unwanted
        with model.failures_as_they_are(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            told = getattr(wrapped, _METHODS[question.kind])(encoded, **options)
            for explanation, features in zip(told, hidden, strict=True):
                if question.kind == "alternative":
                    realign(explanation, [feature for feature in encoder.levelled if feature in wanted])
                drop_rules(explanation, features)
            if question.conjunctions is not None:
                self._join(list(told), question, question.conjunctions)
            boundaries = np.asarray(wrapped.explainer.rule_boundaries(encoded), dtype=float)
        memory.forget()
        is_quantity = self.classes is None and question.threshold is None
        converter = Converter(
            encoder,
            self.classes,
            unplaced,
            hidden,
            boundaries,
            with_conjunctions=question.conjunctions is not None,
        )
        explanations = CalibratedExplanations(
            kind=question.kind,
            mode="regression" if self.classes is None else "classification",
            feature_names=self.feature_names,
            x_test=tuple(encoder.decode(row) for row in encoded),
            y_minmax=self._y_minmax,
            low_high_percentiles=question.asked_percentiles if is_quantity else None,
            y_threshold=question.threshold,
            focus_columns=tuple(wanted) if unwanted else None,
            build=lambda parent: [converter.explanation(parent, each) for each in told],
        )
        return explanations.filtered(question.filters)

    def _join(self, told: Sequence[Any], question: Question, wanted: Conjunctions) -> None:
        predict = self._ready()[0].explainer.prediction_orchestrator.predict_internal
        several = self.classes is not None and len(self.classes) > 2

        def calibrate(rows: Matrix, labels: Sequence[Any]) -> Any:
            return predict(
                rows,
                threshold=question.threshold,
                low_high_percentiles=question.asked_percentiles,
                classes=np.array(labels, dtype=int) if several else labels[0],
            )[:3]

        joining.add(told, wanted, calibrate, first_only=several)

    def measure(
        self, rows: pd.DataFrame, target: Sequence[Any] | pd.Series[Any], question: Question
    ) -> Reliability:
        """Compare calibrated intervals with the true targets of rows that were not calibrated with."""
        wrapped, encoder, memory, model = self._ready()
        question.check(self.feature_names, self.classes)
        targets = self._numbers(list(target))
        predict = wrapped.explainer.prediction_orchestrator.predict_internal
        with model.failures_as_they_are():
            values, low, high, chosen = predict(
                encoder.encode(rows),
                threshold=question.threshold,
                low_high_percentiles=question.asked_percentiles,
            )
        memory.forget()
        values, low, high = np.asarray(values), np.asarray(low), np.asarray(high)
        if question.threshold is not None:
            below, above = (
                question.threshold
                if isinstance(question.threshold, tuple)
                else (-math.inf, question.threshold)
            )
            return of_probabilities(values, low, high, (below < targets) & (targets <= above))
        if self.classes is None:
            return of_quantities(low, high, targets)
        return of_probabilities(values, low, high, targets == (1 if chosen is None else chosen))

    def factual(self, rows: pd.DataFrame, **options: Any) -> CalibratedExplanations:
        """Factual explanations; ``options`` as of :class:`Question`."""
        return self.explain(rows, Question(kind="factual", **options))

    def alternatives(self, rows: pd.DataFrame, **options: Any) -> CalibratedExplanations:
        """Alternative explanations; ``options`` as of :class:`Question`."""
        return self.explain(rows, Question(kind="alternative", **options))

    def fast(self, rows: pd.DataFrame, **options: Any) -> CalibratedExplanations:
        """Fast explanations; ``options`` as of :class:`Question`."""
        return self.explain(rows, Question(kind="fast", **options))


def _label(label: Any) -> Any:
    """A class label in a form that is equal whichever library it comes from."""
    plain = label.item() if isinstance(label, np.generic) else label
    return int(plain) if isinstance(plain, float) and plain.is_integer() else plain
