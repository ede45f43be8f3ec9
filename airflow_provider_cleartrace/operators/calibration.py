"""The calibration of a task's model: read, split, and tested on the rows that were held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_cleartrace.api.models import SchemaResult
from airflow_provider_cleartrace.operators.columns import text_columns
from airflow_provider_cleartrace.storage.locations import Location
from airflow_provider_cleartrace.storage.reading import read_frame

if TYPE_CHECKING:
    import pandas as pd

    from airflow_provider_cleartrace.explanations.explainer import CalibratedExplainer
    from airflow_provider_cleartrace.explanations.held_out import Reliability
    from airflow_provider_cleartrace.explanations.question import Question


@dataclass(frozen=True)
class Calibration:
    """Rows with their true target.

    Args:
        place: Their file.
        target: The column of the target.
        held_out: Share of them that tests the intervals.
        seed: Which ones.
        log: For what is odd about them.
    """

    place: Location
    target: str
    held_out: float
    seed: int
    log: Any

    def warn_of_training_data(self, training: Location) -> None:
        """Warn if the model was trained on the same file."""
        if training.fingerprint() == self.place.fingerprint():
            self.log.warning(
                "%s is the training data: the model knows these rows, so that its intervals will be too"
                " narrow. Calibrate with rows that it has not seen.",
                self.place.uri,
            )

    def read(self, schema: SchemaResult, classes: Sequence[Any] | None) -> pd.DataFrame:
        """The model's features and the target."""
        classes = classes or (schema.model_extra or {}).get("classes") or ()
        texts = text_columns(schema)
        if classes and all(isinstance(label, str) for label in classes):
            texts.append(self.target)
        columns = [name for name in schema.feature_names if name != self.target]
        return read_frame(self.place, columns=[*columns, self.target], texts=texts)

    def apply(
        self, explainer: CalibratedExplainer, data: pd.DataFrame, question: Question
    ) -> Reliability | None:
        """Calibrate, and test the calibration with the rows held out; None where there are none."""
        from airflow_provider_cleartrace.explanations.held_out import split  # noqa: PLC0415  (loads numpy)

        known = data[data[self.target].notna()]
        used, held = split(known[self.target].tolist(), self.held_out, self.seed)
        calibrating = known.iloc[used]
        explainer.calibrate(calibrating, calibrating[self.target])
        if explainer.rows_dropped:
            self.log.warning("%d calibration rows lack a number and were left out", explainer.rows_dropped)
        if not held:
            return None
        testing = known.iloc[held]
        reliability = explainer.measure(testing, testing[self.target], question)
        self.log.info("on held-out rows: %s", reliability)
        return reliability
