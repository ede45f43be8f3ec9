"""The calibration of a task's model: its data is read and split, and tested on the rows held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_cleartrace.api.models import SchemaResult
from airflow_provider_cleartrace.explanations.errors import ExplanationError
from airflow_provider_cleartrace.hooks.calibrated import explainer_for
from airflow_provider_cleartrace.operators.columns import text_columns
from airflow_provider_cleartrace.storage.locations import Location
from airflow_provider_cleartrace.storage.reading import read_frame

if TYPE_CHECKING:
    import pandas as pd

    from airflow_provider_cleartrace.client import ClearTrace
    from airflow_provider_cleartrace.explanations.explainer import CalibratedExplainer
    from airflow_provider_cleartrace.explanations.question import Question


@dataclass(frozen=True)
class Calibration:
    """Rows with their true target.

    Args:
        place: Their file.
        target: The column of the target.
        classes: The classes in the model's order, where the server does not tell them.
        held_out: Share of them that tests the intervals.
        max_in_flight: Most requests at the same time.
        seed: Of everything random; None for the default.
        log: For what is odd about them.
    """

    place: Location
    target: str
    classes: Sequence[Any] | None
    held_out: float
    max_in_flight: int
    seed: int | None
    log: Any

    def warn_of_training_data(self, training: Location) -> None:
        """Warn if the model was trained on the same file."""
        if training.fingerprint() == self.place.fingerprint():
            self.log.warning(
                "%s is the training data: the model knows these rows, so that its intervals will be too"
                " narrow. Calibrate with rows that it has not seen.",
                self.place.uri,
            )

    def explainer(
        self, client: ClearTrace, schema: SchemaResult, question: Question
    ) -> tuple[CalibratedExplainer, pd.DataFrame]:
        """What explains, not yet calibrated, and the data to calibrate it with; the model is not asked.

        Raises:
            ExplanationError: the question or the data will not do.
        """
        data = self._read(schema)
        explainer = explainer_for(
            client,
            schema,
            target=self.target,
            targets=data[self.target].tolist(),
            classes=self.classes,
            max_in_flight=self.max_in_flight,
            seed=self.seed,
        )
        explainer.check(data, data[self.target], question)
        return explainer, data

    def _read(self, schema: SchemaResult) -> pd.DataFrame:
        """The model's features and the target."""
        classes = self.classes or (schema.model_extra or {}).get("classes") or ()
        texts = text_columns(schema)
        if classes and all(isinstance(label, str) for label in classes):
            texts.append(self.target)
        columns = [name for name in schema.feature_names if name != self.target]
        return read_frame(self.place, columns=[*columns, self.target], texts=texts)

    def apply(self, explainer: CalibratedExplainer, data: pd.DataFrame, question: Question) -> dict[str, Any]:
        """Calibrate, test the calibration with the rows held out, and tell the figures of both."""
        from airflow_provider_cleartrace.explanations.held_out import split  # noqa: PLC0415  (loads numpy)

        known = data[data[self.target].notna()]
        used, held = split(known[self.target].tolist(), self.held_out, self.seed or 0)
        calibrating = known.iloc[used]
        untold = len(data) - len(known)
        try:
            explainer.calibrate(calibrating, calibrating[self.target])
        except ExplanationError as error:
            raise ExplanationError(
                f"{self.place.uri}: {error}; of {len(data)} rows {untold} lack the target, {len(held)} are"
                " held out"
            ) from None
        dropped = untold + explainer.rows_dropped
        if dropped:
            self.log.warning("%d calibration rows lack a number or the target and were left out", dropped)
        measured: dict[str, Any] = {}
        if held:
            testing = known.iloc[held]
            reliability = explainer.measure(testing, testing[self.target], question)
            self.log.info("on held-out rows: %s", reliability)
            measured = reliability.as_figures()
        return {
            "calibration_fingerprint": self.place.fingerprint(),
            "calibration_rows": explainer.rows,
            "calibration_rows_dropped": dropped,
            "calls": explainer.calls,
            "rows_sent": explainer.rows_sent,
        } | measured
