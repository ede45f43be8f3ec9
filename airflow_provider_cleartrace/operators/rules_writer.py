"""Explained rows as files: payloads, rules and plots, written batch by batch."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from airflow_provider_cleartrace.api.errors import ValidationError
from airflow_provider_cleartrace.operators.rules_folder import MANIFEST, PAYLOADS, PLOTS, RULES
from airflow_provider_cleartrace.storage.locations import Location
from airflow_provider_cleartrace.storage.manifests import FileEntry
from airflow_provider_cleartrace.storage.writing import CountedBytes, TableWriter

if TYPE_CHECKING:
    import pyarrow as pa

    from airflow_provider_cleartrace.explanations.collection import CalibratedExplanations


class RulesWriter:
    """Takes explanations batch by batch. If its block fails, the folder is gone.

    Args:
        folder: Where to.
        plots: Numbers of the rows to plot, counted from 0.

    Attributes:
        rows: rows written.
        rules: rules written.
        plotted: names of the plots, below the folder.
    """

    def __init__(self, folder: Location, plots: Collection[int] = ()) -> None:
        self.rows = 0
        self.rules = 0
        self.plotted: list[str] = []
        self._folder = folder
        self._plots = set(plots)
        self._stack = ExitStack()
        self._table: TableWriter | None = None
        self._small: list[FileEntry] = []

    def __enter__(self) -> Self:
        self._payloads = self._open(PAYLOADS)
        return self

    def _open(self, name: str) -> CountedBytes:
        return CountedBytes(self._stack.enter_context(self._folder.child(name).create()))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            return
        if self._table is not None:
            self._table.abandon()
        try:
            self._stack.__exit__(kind, error, trace)
        finally:
            self._folder.delete_folder()

    def write(self, explanations: CalibratedExplanations, identity: pa.RecordBatch) -> None:
        """Append explained rows under their identity."""
        import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)
        import pydantic_core  # noqa: PLC0415  (as fast as the model answers)

        from airflow_provider_cleartrace.explanations.table import rule_rows  # noqa: PLC0415  (as above)

        ids = identity.to_pylist()
        table = self._table or self._open_table(identity.schema)
        rules = rule_rows(explanations, ids)
        with self._folder.errors_named():
            for each, own in zip(explanations, ids, strict=True):
                line = {"id": own, "payload": each.build_rules_payload()}
                self._payloads.write(pydantic_core.to_json(line, inf_nan_mode="null") + b"\n")
            table.write(pa.RecordBatch.from_pylist(rules, schema=table.schema))
        for position, each in enumerate(explanations, start=self.rows):
            if position in self._plots and each.feature_rules:
                name = f"{PLOTS}/row-{position}.svg"
                self._write_small(name, each.to_svg())
                self.plotted.append(name)
        self.rows += len(ids)
        self.rules += len(rules)

    def _open_table(self, identity: pa.Schema) -> TableWriter:
        import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)

        from airflow_provider_cleartrace.explanations.table import rule_fields  # noqa: PLC0415  (as above)

        self._rules_file = self._open(RULES)
        self._table = TableWriter(self._rules_file, pa.schema([*identity, *rule_fields()]), "parquet")
        return self._table

    def _write_small(self, name: str, data: bytes) -> None:
        with self._folder.child(name).create() as stream:
            sink = CountedBytes(stream)
            sink.write(data)
        self._small.append(FileEntry(name, 1, sink.size, sink.sha256))

    def finish(self, figures: Mapping[str, Any]) -> list[FileEntry]:
        """Close the files, and write the figures beside them; all files are named in what is returned."""
        if self._table is None:
            raise AssertionError("an input without rows is refused when it is read")
        with self._folder.errors_named():
            self._table.close()
        self._stack.close()
        self._write_small(
            MANIFEST, json.dumps(figures, sort_keys=True, indent=1, ensure_ascii=False).encode() + b"\n"
        )
        return [
            FileEntry(PAYLOADS, self.rows, self._payloads.size, self._payloads.sha256),
            FileEntry(RULES, self.rules, self._rules_file.size, self._rules_file.sha256),
            *self._small,
        ]


def check_identity(names: Collection[str]) -> None:
    """Refuse identifying columns that have the name of a column of rules.

    Raises:
        ValidationError: the column is named.
    """
    from airflow_provider_cleartrace.explanations.table import rule_fields  # noqa: PLC0415  (loads pyarrow)

    if clash := {each.name for each in rule_fields()}.intersection(names):
        raise ValidationError(f"the id column {min(clash)!r} has the name of an output column")
