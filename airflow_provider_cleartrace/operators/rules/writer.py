"""The explained rows of one part, written batch by batch."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Collection
from typing import TYPE_CHECKING

from airflow_provider_cleartrace.api.errors import ValidationError
from airflow_provider_cleartrace.storage.manifests import FileEntry
from airflow_provider_cleartrace.storage.parts import Part, Parts
from airflow_provider_cleartrace.storage.publishing import abandon, published
from airflow_provider_cleartrace.storage.writing import CountedBytes, TableWriter

if TYPE_CHECKING:
    import pyarrow as pa

    from airflow_provider_cleartrace.explanations.collection import CalibratedExplanations

PAYLOADS, PREDICTIONS, RULES, PLOTS = "payloads.jsonl", "predictions.parquet", "rules.parquet", "plots"
FORMATS = {PAYLOADS: "jsonl", PREDICTIONS: "parquet", RULES: "parquet"}
"""The files that every part has, and how those of several parts are made one."""


class RulesWriter:
    """Takes explanations batch by batch; end with :meth:`finish` or :meth:`abandon`.

    Args:
        parts: Where the part is recorded.
        index: Its place among them.
        first_row: The number of its first row among all that are explained.
        plots: Numbers of the rows to plot.

    Attributes:
        counts: rows and rules written, and what else is counted of the part.
    """

    def __init__(self, parts: Parts, index: int, first_row: int, plots: Collection[int]) -> None:
        self.counts: Counter[str] = Counter(rows=0, rules=0)
        self._parts = parts
        self._index = index
        self._first_row = first_row
        self._plots = plots
        self._stack = contextlib.ExitStack()
        self._sinks: dict[str, CountedBytes] = {}
        self._tables: dict[str, TableWriter] = {}
        self._plotted: dict[str, FileEntry] = {}

    def write(self, explanations: CalibratedExplanations, identity: pa.RecordBatch) -> None:
        """Append explained rows under their identity."""
        import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)
        import pydantic_core  # noqa: PLC0415  (as fast as the model answers)

        from airflow_provider_cleartrace.explanations import table  # noqa: PLC0415  (as above)

        ids = identity.to_pylist()
        rows = {
            PREDICTIONS: table.prediction_rows(explanations, ids),
            RULES: table.rule_rows(explanations, ids),
        }
        self._open(identity.schema)
        with self._parts.folder.errors_named():
            for each, own in zip(explanations, ids, strict=True):
                line = {"id": own, "payload": each.build_rules_payload()}
                self._sinks[PAYLOADS].write(pydantic_core.to_json(line, inf_nan_mode="null") + b"\n")
            for name, writer in self._tables.items():
                writer.write(pa.RecordBatch.from_pylist(rows[name], schema=writer.schema))
        for number, each in enumerate(explanations, start=self._first_row + self.counts["rows"]):
            if number in self._plots and each.feature_rules:
                self._plot(f"{PLOTS}/row-{number}.svg", each.to_svg())
        self.counts.update(rows=len(ids), rules=len(rows[RULES]))

    def _open(self, identity: pa.Schema) -> None:
        """Open the files, where that was not done; the first batch decides the columns."""
        import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)

        if self._sinks:
            return
        for name in FORMATS:
            place = self._parts.folder.child(self._name(name))
            self._sinks[name] = CountedBytes(self._stack.enter_context(published(place)))
        for name, fields in _fields().items():
            columns = pa.schema([*identity, *fields])
            self._tables[name] = TableWriter(self._sinks[name], columns, FORMATS[name])

    def _name(self, name: str) -> str:
        return f"part-{self._index:05d}.{name}"

    def _plot(self, name: str, drawn: bytes) -> None:
        with published(self._parts.folder.child(name)) as stream:
            sink = CountedBytes(stream)
            sink.write(drawn)
        self._plotted[name] = FileEntry(name, 1, sink.size, sink.sha256)

    def finish(self) -> Part:
        """Close the files, then record that the part is there."""
        if not self._sinks:
            raise AssertionError("an input without rows is refused when it is read")
        with self._parts.folder.errors_named():
            for table in self._tables.values():
                table.close()
        self._stack.close()
        files = {}
        for name, sink in self._sinks.items():
            rows = self.counts["rules" if name == RULES else "rows"]
            files[name] = FileEntry(self._name(name), rows, sink.size, sink.sha256)
        return self._parts.finish(Part(self._index, files | self._plotted, dict(self.counts)))

    def abandon(self) -> None:
        """Close the files after a failure, and leave nothing of them."""
        for table in self._tables.values():
            table.abandon()
        abandon(self._stack)


def check_identity(names: Collection[str]) -> None:
    """Refuse identifying columns that have the name of another column of a table.

    Raises:
        ValidationError: the column is named.
    """
    taken = {field.name for fields in _fields().values() for field in fields}
    if clash := taken.intersection(names):
        raise ValidationError(f"the id column {min(clash)!r} has the name of an output column")


def _fields() -> dict[str, list[pa.Field]]:
    """The columns of each table, after those that identify the row."""
    from airflow_provider_cleartrace.explanations import table  # noqa: PLC0415  (loads pyarrow)

    return {PREDICTIONS: table.prediction_fields(), RULES: table.rule_fields()}
