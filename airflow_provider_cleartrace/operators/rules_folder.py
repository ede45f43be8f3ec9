"""The folder of explained rows: payloads, rules and plots that appear together, and a manifest last."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self

from airflow_provider_cleartrace.api.errors import ValidationError
from airflow_provider_cleartrace.storage.errors import StorageError
from airflow_provider_cleartrace.storage.locations import Location
from airflow_provider_cleartrace.storage.publishing import publish_bytes, published
from airflow_provider_cleartrace.storage.writing import TableWriter, table_writer

if TYPE_CHECKING:
    import pyarrow as pa

    from airflow_provider_cleartrace.explanations.collection import CalibratedExplanations

PAYLOADS, RULES, MANIFEST, PLOTS = "payloads.jsonl", "rules.parquet", "manifest.json", "plots"


class RulesFolder:
    """Takes explanations batch by batch; the files take their places when the block ends well.

    Args:
        folder: the place, named as a folder.
        plots: numbers of the rows to plot, counted from 0.

    Attributes:
        rows: rows written.
        rules: rules written.
        plotted: names of the plots, below the folder.
    """

    def __init__(self, folder: Location, plots: Collection[int] = ()) -> None:
        if not folder.named_as_folder:
            raise StorageError(f"{folder.uri}: the output is a folder: end it with a slash")
        self.folder = folder
        self.rows = 0
        self.rules = 0
        self.plotted: list[str] = []
        self._plots = set(plots)
        self._stack = ExitStack()
        self._payloads: IO[bytes] | None = None
        self._table: TableWriter | None = None

    def __enter__(self) -> Self:
        self._payloads = self._stack.enter_context(published(self.folder.child(PAYLOADS)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            try:
                # Files are about to be replaced: from here on no manifest speaks for them.
                self.folder.child(MANIFEST).delete()
            except BaseException as failed:
                self._stack.__exit__(type(failed), failed, failed.__traceback__)
                raise
        self._stack.__exit__(kind, error, trace)

    def write(self, explanations: CalibratedExplanations, identity: pa.RecordBatch) -> None:
        """Append explained rows under their identity."""
        import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)
        import pydantic_core  # noqa: PLC0415  (as fast as the model answers)

        from airflow_provider_cleartrace.explanations.table import rule_rows  # noqa: PLC0415  (as above)

        if self._payloads is None:
            raise AssertionError("the folder is not open")
        ids = identity.to_pylist()
        table = self._table or self._open(identity.schema)
        for each, own in zip(explanations, ids, strict=True):
            line = {"id": own, "payload": each.build_rules_payload()}
            self._payloads.write(pydantic_core.to_json(line) + b"\n")
        rules = rule_rows(explanations, ids)
        table.write(pa.RecordBatch.from_pylist(rules, schema=table.schema))
        for position, each in enumerate(explanations):
            if self.rows + position in self._plots and each.feature_rules:
                self._plot(f"{PLOTS}/row-{self.rows + position}.svg", each.to_svg())
        self.rows += len(ids)
        self.rules += len(rules)

    def _open(self, identity: pa.Schema) -> TableWriter:
        import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)

        from airflow_provider_cleartrace.explanations.table import rule_fields  # noqa: PLC0415  (as above)

        fields = rule_fields()
        if clash := {each.name for each in fields}.intersection(identity.names):
            raise ValidationError(f"the id column {min(clash)!r} has the name of an output column")
        schema = pa.schema([*identity, *fields])
        self._table = self._stack.enter_context(table_writer(self.folder.child(RULES), schema))
        return self._table

    def _plot(self, name: str, svg: bytes) -> None:
        self._stack.enter_context(published(self.folder.child(name))).write(svg)
        self.plotted.append(name)

    def finish(self, manifest: Mapping[str, Any]) -> None:
        """Remove what an earlier output had more, and say that this one is whole."""
        for name in self.folder.names():
            if name.startswith(f"{PLOTS}/") and name not in self.plotted:
                self.folder.child(name).delete()
        text = json.dumps(manifest, sort_keys=True, indent=1, ensure_ascii=False)
        publish_bytes(self.folder.child(MANIFEST), text.encode())
