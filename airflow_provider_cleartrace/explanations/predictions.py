"""What the model says of rows: asked in few large requests, checked, and remembered by row."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd

from airflow_provider_cleartrace.explanations.encoding import Encoder, Matrix
from airflow_provider_cleartrace.explanations.errors import ExplanationError

Predict = Callable[[pd.DataFrame], Any]
"""Asks the model: rows in, and for each a number, the probability of class 1, or of every class."""

REQUEST_ROWS = 10_000
"""Most rows of one request: a few megabytes of JSON."""

WITNESSES = 8
"""Rows of a request that are asked twice, far apart: an answer in another order contradicts itself."""

AGREEMENT = 1e-6
"""How far two answers for one row may lie apart: a row's place in a request moves rounding errors."""


class Model:
    """A model behind a callable, whose answers are checked.

    Args:
        predict: asks the model.
        encoder: turns numbers into the rows to ask with.
        n_classes: how many classes the model tells apart; None for a regression.
        request_rows: most rows of one request.
        max_in_flight: most requests at the same time.

    Attributes:
        calls: requests sent.
        rows: rows sent.
    """

    def __init__(
        self,
        predict: Predict,
        encoder: Encoder,
        *,
        n_classes: int | None,
        request_rows: int = REQUEST_ROWS,
        max_in_flight: int = 1,
    ) -> None:
        self._predict = predict
        self._encoder = encoder
        self._n_classes = n_classes
        self._request_rows = request_rows
        self._max_in_flight = max_in_flight
        self._counting = threading.Lock()
        self._failure: Exception | None = None
        self.calls = 0
        self.rows = 0

    @contextmanager
    def failures_as_they_are(self) -> Iterator[None]:
        """Raise what went wrong with the model as it was: the library wraps or drops such errors."""
        self._failure = None
        try:
            yield
        except Exception:
            if self._failure is None:
                raise
        if self._failure is not None:
            raise self._failure

    def ask(self, rows: Matrix) -> Matrix:
        """Answers for (n, d) rows: (n, 1) values, or (n, classes) probabilities.

        Raises:
            ExplanationError: the model's answer cannot be one: too short, not finite, no probabilities, or
                different answers for the same row.
        """
        parts = [
            rows[start : start + self._request_rows] for start in range(0, len(rows), self._request_rows)
        ]
        try:
            with ThreadPoolExecutor(self._max_in_flight) as pool:
                return np.concatenate(list(pool.map(self._request, parts)))
        except Exception as error:
            self._failure = error
            raise

    def _request(self, rows: Matrix) -> Matrix:
        twice = np.unique(np.linspace(0, len(rows) - 1, WITNESSES).astype(int))
        asked = np.concatenate([rows, rows[twice]])
        with self._counting:
            self.calls += 1
            self.rows += len(asked)
        answers = self._read(self._predict(self._encoder.frame(asked)), len(asked))
        if not np.allclose(answers[twice], answers[len(rows) :], rtol=AGREEMENT, atol=AGREEMENT):
            raise ExplanationError(
                "the model gave two answers for the same row of one request: it answers in another order,"
                " or not the same each time"
            )
        return answers[: len(rows)]

    def _read(self, told: Any, count: int) -> Matrix:
        answers = np.asarray(told, dtype=float)
        if len(answers) != count:
            raise ExplanationError(f"the model gave {len(answers)} answers for {count} rows")
        if not np.isfinite(answers).all():
            raise ExplanationError("the model answered with a value that is no finite number")
        if self._n_classes is None:
            if answers.ndim > 1 and answers.shape[1:] != (1,):
                raise ExplanationError("the model answers with several numbers a row: it is no regression")
            return answers.reshape(-1, 1)
        if answers.ndim == 1 and self._n_classes == 2:
            answers = np.column_stack([1 - answers, answers])
        if answers.shape[1:] != (self._n_classes,):
            told_classes = 2 if answers.ndim == 1 else answers.shape[1]
            raise ExplanationError(f"the model tells {told_classes} classes apart, not {self._n_classes}")
        if (answers < -AGREEMENT).any() or not np.allclose(answers.sum(axis=1), 1, atol=1e-4):
            raise ExplanationError("the model's answers are no probabilities")
        return answers


class Memory:
    """Answers by row: what was asked once is not asked again."""

    def __init__(self, ask: Callable[[Matrix], Matrix]) -> None:
        self._ask = ask
        self._kept: dict[bytes, Matrix] = {}
        self._passing: dict[bytes, Matrix] = {}

    def __call__(self, rows: Matrix) -> Matrix:
        """Answers for (n, d) rows; those that are not known are asked for together."""
        rows = np.ascontiguousarray(rows, dtype=float)
        keys = [row.tobytes() for row in rows]
        fresh = {key: index for index, key in enumerate(keys) if not self._knows(key)}
        if fresh:
            answers = self._ask(rows[list(fresh.values())])
            self._passing.update(zip(fresh, answers, strict=True))
        return np.array([self._kept[key] if key in self._kept else self._passing[key] for key in keys])

    def _knows(self, key: bytes) -> bool:
        return key in self._kept or key in self._passing

    def keep(self) -> None:
        """Never forget what is known now."""
        self._kept.update(self._passing)
        self._passing.clear()

    def forget(self) -> None:
        """Forget what is not kept: the rows of a finished batch do not come back."""
        self._passing.clear()


class _Learner:
    """What the library takes for a fitted estimator; its model is elsewhere."""

    def __init__(self, answers: Callable[[Matrix], Matrix]) -> None:
        self._answers = answers

    def fit(self, X: Any, y: Any = None) -> _Learner:
        """Do nothing: the model is trained."""
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __copy__(self) -> _Learner:
        return self

    def __deepcopy__(self, memo: Any) -> _Learner:
        # The library copies its learner; a copy of open sockets would not work.
        return self


class RemoteRegressor(_Learner):
    """A regression as an estimator."""

    def predict(self, X: Any) -> Matrix:
        """(n,) values."""
        return self._answers(np.asarray(X, dtype=float))[:, 0]


class RemoteClassifier(_Learner):
    """A classifier as an estimator, whose classes are their positions."""

    def predict_proba(self, X: Any) -> Matrix:
        """(n, classes) probabilities."""
        return self._answers(np.asarray(X, dtype=float))

    def predict(self, X: Any) -> Any:
        """(n,) positions of the most probable class."""
        return self.predict_proba(X).argmax(axis=1)
