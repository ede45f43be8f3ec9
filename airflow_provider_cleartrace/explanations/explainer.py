"""``CalibratedExplainer``: calibrates a remote model on data it was not trained on, and explains rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from airflow_provider_cleartrace.explanations.calibrated_model import CalibratedModel
from airflow_provider_cleartrace.explanations.collection import CalibratedExplanations
from airflow_provider_cleartrace.explanations.encoding import Encoder
from airflow_provider_cleartrace.explanations.errors import ExplanationError
from airflow_provider_cleartrace.explanations.held_out import Reliability, of_probabilities, of_quantities
from airflow_provider_cleartrace.explanations.library import Converter, installed_version
from airflow_provider_cleartrace.explanations.predictions import REQUEST_ROWS, Model, Predict
from airflow_provider_cleartrace.explanations.question import Question
from airflow_provider_cleartrace.explanations.targets import check_enough, numbers_of, within
from airflow_provider_cleartrace.explanations.values import Scalar

SEED = 42
"""Of everything random: the library's perturbations, and the held-out part."""


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
        self._calibrated: CalibratedModel | None = None

    def check(self, rows: pd.DataFrame, target: Sequence[Any] | pd.Series[Any], question: Question) -> None:
        """Refuse a question, or calibration data for it, that will not do; nothing is asked of the model.

        Raises:
            ExplanationError: what :meth:`calibrate`, :meth:`measure` and :meth:`explain` would refuse.
        """
        question.check(self.feature_names, self.classes)
        encoder = Encoder.learn(rows, self.feature_names, self._categories)
        encoder.encode(rows)
        question.check_levels(encoder.level_counts)
        numbers_of(pd.Series(target).dropna().tolist(), self.classes)

    def calibrate(self, rows: pd.DataFrame, target: Sequence[Any] | pd.Series[Any]) -> CalibratedExplainer:
        """Learn from rows and their true targets how far the model can be believed.

        Rows in which a number is missing, or the target, are left out: the library has no place for them.
        A missing level is a level.

        Raises:
            ExplanationError: too few rows, a class that the model does not know, classes that do not occur,
                or a target that is no number. Nothing was asked of the model then.
        """
        installed_version()
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
        answers = numbers_of(targets[usable].tolist(), self.classes)
        check_enough(answers, self.classes, self.rows_dropped)
        self.rows = len(answers)
        n_classes = None if self.classes is None else len(self.classes)
        model = Model(
            self._predict,
            encoder,
            n_classes=n_classes,
            request_rows=self._request_rows,
            max_in_flight=self._max_in_flight,
        )
        self._calibrated = CalibratedModel(
            model, encoder, encoded, answers, n_classes=n_classes, seed=self._seed
        )
        return self

    @property
    def calls(self) -> int:
        """Requests sent since the calibration."""
        return self._ready().model.calls

    @property
    def rows_sent(self) -> int:
        """Rows sent since the calibration."""
        return self._ready().model.rows

    def _ready(self) -> CalibratedModel:
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
        calibrated = self._ready()
        encoder = calibrated.encoder
        question.check_levels(encoder.level_counts)
        encoded = encoder.encode(rows)
        if not len(encoded):
            raise ExplanationError("there are no rows to explain")
        unplaced = ~encoder.is_placed(encoded)
        wanted = question.wanted(self.feature_names)
        unwanted = set(range(len(self.feature_names))).difference(wanted)
        hidden = [unwanted.union(np.flatnonzero(absent).tolist()) for absent in unplaced]
        told, boundaries = calibrated.explain(encoded, question, unwanted, hidden)
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
            y_minmax=calibrated.y_minmax,
            low_high_percentiles=question.asked_percentiles if is_quantity else None,
            y_threshold=question.threshold,
            focus_columns=tuple(wanted) if unwanted else None,
            build=lambda parent: [converter.explanation(parent, each) for each in told],
        )
        return explanations.filtered(question.filters)

    def measure(
        self, rows: pd.DataFrame, target: Sequence[Any] | pd.Series[Any], question: Question
    ) -> Reliability:
        """Compare calibrated intervals with the true targets of rows that were not calibrated with."""
        calibrated = self._ready()
        question.check(self.feature_names, self.classes)
        targets = numbers_of(list(target), self.classes)
        values, low, high, chosen = calibrated.predict(calibrated.encoder.encode(rows), question)
        if question.threshold is not None:
            return of_probabilities(values, low, high, within(targets, question.threshold))
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
