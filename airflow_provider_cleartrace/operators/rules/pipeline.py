"""Rows are explained batch by batch and written part by part; finished parts of an earlier try are kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_cleartrace.operators.progress import Progress
from airflow_provider_cleartrace.operators.rows.reader import Batch, PartEnd, RowPlan, RowReader, identity_of
from airflow_provider_cleartrace.operators.rules.draft import RulesDraft
from airflow_provider_cleartrace.operators.rules.writer import RulesWriter
from airflow_provider_cleartrace.storage.parts import Part
from airflow_provider_cleartrace.storage.sources import Source

if TYPE_CHECKING:
    from airflow_provider_cleartrace.explanations.explainer import CalibratedExplainer
    from airflow_provider_cleartrace.explanations.question import Question


@dataclass
class RulesJob:
    """Everything between the rows and their parts.

    Args:
        source: Where the rows are.
        plan: What is read of them.
        draft: Where the parts go.
        explainer: Explains rows; calibrated.
        question: What is asked of each row.
        log: For progress.
    """

    source: Source
    plan: RowPlan
    draft: RulesDraft
    explainer: CalibratedExplainer
    question: Question
    log: Any
    _writer: RulesWriter | None = None
    _rows: int = 0
    _asked: tuple[int, int] = (0, 0)

    def run(self) -> list[Part]:
        """Explain all rows; returns the parts in order, ready to be published."""
        done: dict[int, Part | None] = {}

        def is_done(index: int) -> bool:
            if index not in done:
                done[index] = self.draft.parts.done(index)
            return done[index] is not None

        parts: list[Part] = []
        progress = Progress(self.log, lambda rows: rows / self.source.rows if self.source.rows else None)
        try:
            for item in RowReader(self.source, self.plan, is_done):
                if isinstance(item, Batch):
                    self._explain(item)
                else:
                    parts.append(done.get(item.part) or self._finish(item))
                    self._rows = sum(part.counts["rows"] for part in parts)
                progress.done(self._rows)
        except BaseException:
            if self._writer is not None:
                self._writer.abandon()
            raise
        if reused := sum(part is not None for part in done.values()):
            self.log.info("%d of %d parts were finished by an earlier try", reused, len(parts))
        return parts

    def _explain(self, batch: Batch) -> None:
        if batch.rows is None:
            raise AssertionError("a row that cannot be read ends the task")
        if self._writer is None:
            self._writer = self.draft.writer(batch.part, self._rows)
            self._asked = (self.explainer.calls, self.explainer.rows_sent)
        rows = batch.rows.select(list(self.plan.features)).to_pandas()
        self._writer.write(self.explainer.explain(rows, self.question), identity_of(self.plan, batch.rows))
        self._rows += batch.rows.num_rows

    def _finish(self, end: PartEnd) -> Part:
        if self._writer is None:
            raise AssertionError(f"part {end.part} ended without a row")
        calls, rows_sent = self._asked
        self._writer.counts["calls"] = self.explainer.calls - calls
        self._writer.counts["rows_sent"] = self.explainer.rows_sent - rows_sent
        part = self._writer.finish()
        self._writer = None
        return part
