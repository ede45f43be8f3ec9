"""A task that asks a model which features drive it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_cleartrace.operators.base import ClearTraceOperator
from airflow_provider_cleartrace.operators.manifest import LISTED
from airflow_provider_cleartrace.operators.rows.answers import floats, texts
from airflow_provider_cleartrace.storage.writing import format_of_output, table_writer

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


class ClearTraceInterpretOperator(ClearTraceOperator):
    """Asks a model which features drive it.

    Returns a manifest with ``top_features`` and their ``top_shares`` (largest first, at most 20);
    ``output_uri`` takes all of them, as columns ``feature`` and ``share``.

    Args:
        model_id: A trained model.
        output_uri: A ``.parquet``, ``.csv`` or ``.jsonl`` file for all features.
    """

    template_fields: Sequence[str] = ("model_id", "output_uri")

    def __init__(self, *, model_id: str, output_uri: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model_id = model_id
        self.output_uri = output_uri

    def execute(self, context: Context) -> dict[str, Any]:
        """Ask, rank and write."""
        target = self.locate(self.output_uri) if self.output_uri else None
        if target is not None:
            format_of_output(target)
        with self.hook.get_conn() as client:
            self._works_on(context, client, self.model_id)
            told = client.load(self.model_id).interpret()
        shares = [float(share) for share in told.global_drivers]
        ranked = sorted(zip(told.feature_names, shares, strict=True), key=lambda pair: -pair[1])
        features, ordered = [name for name, _ in ranked], [share for _, share in ranked]
        if target is not None:
            import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)

            batch = pa.RecordBatch.from_pydict({"feature": texts(features), "share": floats(ordered)})
            with table_writer(target, batch.schema) as writer:
                writer.write(batch)
        return self._manifest(
            context,
            model_id=self.model_id,
            n_features=len(features),
            top_features=features[:LISTED],
            top_shares=ordered[:LISTED],
            output_uri=target.uri if target else None,
        )
