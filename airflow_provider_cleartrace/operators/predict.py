"""A task that predicts the rows of a file or folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_cleartrace.api.models import SchemaResult
from airflow_provider_cleartrace.client import AsyncClearTrace
from airflow_provider_cleartrace.operators.rows.answers import Answers, Asked, classes_of, predictions
from airflow_provider_cleartrace.operators.rows.operator import RowsOperator

if TYPE_CHECKING:
    import pyarrow as pa


class ClearTracePredictOperator(RowsOperator):
    """Predicts the rows of a file or folder.

    Writes the rows' identity and ``prediction`` (a value, or the probability of class 1), or one
    ``probability_<class>`` for each of more than two classes. Returns a manifest with ``output_uri`` and
    the counts of rows.

    Args:
        **kwargs: As in :class:`~.RowsOperator`.
    """

    def asked_for(self) -> dict[str, Any]:
        """Nothing but predictions."""
        return {"operation": "predict"}

    def nothing(self, schema: SchemaResult, rows: pa.RecordBatch) -> Answers:
        """The columns of no predictions."""
        import numpy as np  # noqa: PLC0415  (loads where rows are touched, never with a DAG)

        classes = len(classes_of(schema)) if (schema.model_extra or {}).get("task") == "multiclass" else 0
        return Answers(predictions(schema, np.empty((0, classes) if classes else 0)))

    async def ask(self, client: AsyncClearTrace, schema: SchemaResult, rows: pa.RecordBatch) -> Answers:
        """Predict one batch."""
        asked = Asked.of(rows)
        return Answers(predictions(schema, asked.settled(await client.predict(asked.rows), "predict")))
