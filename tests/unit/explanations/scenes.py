"""Models that answer in this process, each beside the library that is called plainly with the same model."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from calibrated_explanations import WrapCalibratedExplainer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

from airflow_provider_cleartrace.explanations.explainer import CalibratedExplainer

CREDIT = Path(__file__).parents[3] / "example_dags" / "data" / "german_credit.csv"
METHODS = {"factual": "explain_factual", "alternative": "explore_alternatives", "fast": "explain_fast"}


@dataclass
class Scene:
    """A model, its calibration data and rows to explain; ``asked`` holds the size of each request."""

    frame: pd.DataFrame
    target: pd.Series[Any]
    classes: list[Any] | None
    levels: dict[str, list[str]] = field(default_factory=dict)
    asked: list[int] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        return list(self.frame.columns)

    @functools.cached_property
    def third(self) -> int:
        return len(self.frame) // 3

    @functools.cached_property
    def model(self) -> Any:
        kind = RandomForestRegressor if self.classes is None else RandomForestClassifier
        codes, numbers = self.codes(self.frame[: self.third]), self.numbers(self.target[: self.third])
        return kind(20, max_depth=5, random_state=0).fit(codes, numbers)

    @functools.cached_property
    def calibration(self) -> pd.DataFrame:
        return self.frame[self.third : 2 * self.third].reset_index(drop=True)

    @functools.cached_property
    def calibration_target(self) -> pd.Series[Any]:
        return self.target[self.third : 2 * self.third].reset_index(drop=True)

    def rows(self, count: int) -> pd.DataFrame:
        return self.frame[2 * self.third : 2 * self.third + count].reset_index(drop=True)

    def codes(self, frame: pd.DataFrame) -> Any:
        """Rows as the plain library wants them: categories by the position of their level."""
        return np.column_stack(
            [
                frame[name].map(self.levels[name].index) if name in self.levels else frame[name].astype(float)
                for name in self.names
            ]
        ).astype(float)

    def numbers(self, target: Any) -> Any:
        values = np.asarray(target)
        return values if self.classes is None else np.array([self.classes.index(each) for each in values])

    def predict(self, frame: pd.DataFrame) -> Any:
        """Answer as ClearTrace does."""
        self.asked.append(len(frame))
        codes = self.codes(frame)
        if self.classes is None:
            return self.model.predict(codes)
        told = self.model.predict_proba(codes)
        return told[:, 1] if told.shape[1] == 2 else told

    def explainer(self, **options: Any) -> CalibratedExplainer:
        explainer = CalibratedExplainer(
            self.predict, feature_names=self.names, classes=self.classes, categories=self.levels, **options
        )
        return explainer.calibrate(self.calibration, self.calibration_target)

    def library(self, kind: str, count: int, **options: Any) -> Any:
        """The plain library's explanations of the same rows."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return getattr(self.plain, METHODS[kind])(self.codes(self.rows(count)), **options)

    @functools.cached_property
    def plain(self) -> WrapCalibratedExplainer:
        """The library, calibrated with the same data."""
        wrapped = WrapCalibratedExplainer(self.model)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wrapped.calibrate(
                self.codes(self.calibration),
                self.numbers(self.calibration_target),
                mode="regression" if self.classes is None else "classification",
                feature_names=self.names,
                categorical_features=[self.names.index(name) for name in self.levels],
                categorical_labels={
                    self.names.index(name): dict(enumerate(levels)) for name, levels in self.levels.items()
                }
                or None,
            )
        return wrapped


@functools.cache
def shared(scene: Callable[[], Scene]) -> tuple[Scene, CalibratedExplainer]:
    """A scene and an explainer that is calibrated once, for tests that only look at what it tells."""
    made = scene()
    return made, made.explainer()


def _shuffled(data: Any, columns: Sequence[str] | None = None) -> tuple[pd.DataFrame, pd.Series[Any]]:
    frame = data.frame.sample(frac=1, random_state=0).reset_index(drop=True)
    return frame[list(columns or data.feature_names[:6])].astype(float), frame["target"]


def breast_cancer() -> Scene:
    return Scene(*_shuffled(load_breast_cancer(as_frame=True)), classes=[0, 1])


def wine() -> Scene:
    data = load_wine(as_frame=True)
    frame, target = _shuffled(data)
    return Scene(
        frame, target.map(lambda each: str(data.target_names[each])), classes=list(data.target_names)
    )


def diabetes() -> Scene:
    return Scene(*_shuffled(load_diabetes(as_frame=True)), classes=None)


def german_credit() -> Scene:
    frame = pd.read_csv(CREDIT).sample(frac=1, random_state=0).reset_index(drop=True)
    names = ["duration_in_month", "credit_history", "purpose", "credit_amount", "housing", "age_in_years"]
    kept = frame[names]
    levels = {name: sorted(kept[name].unique()) for name in ("credit_history", "purpose", "housing")}
    rows = kept["purpose"].isin(kept["purpose"][333:666])
    return Scene(
        kept[rows].reset_index(drop=True), frame["good_credit"][rows].reset_index(drop=True), [0, 1], levels
    )
