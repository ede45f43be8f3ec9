"""The row pipeline: batches are asked for a few at a time, and written in the order of their rows."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_cleartrace.api.errors import ServerError
from airflow_provider_cleartrace.operators.progress import Progress
from airflow_provider_cleartrace.operators.rows.asking import Answered, Ask, Asker
from airflow_provider_cleartrace.operators.rows.reader import Batch, PartEnd, RowPlan, RowReader
from airflow_provider_cleartrace.operators.rows.unseen import MISSING, UNSEEN, UnseenValues
from airflow_provider_cleartrace.storage.outputs import PartWriter, TableDraft
from airflow_provider_cleartrace.storage.parts import Part
from airflow_provider_cleartrace.storage.sources import Source

if TYPE_CHECKING:
    import pyarrow as pa


async def in_order(
    items: Iterator[Batch | PartEnd], ask: Callable[[Batch], Awaitable[Answered]], max_in_flight: int
) -> AsyncIterator[Answered | PartEnd]:
    """Results in the order of the items, with a bounded number of batches under way.

    Nothing is read ahead of that bound, so that a slow server or a slow disk holds everything before it. A
    part that has ended is handed on before more is read: else one without a wanted row waits for later parts.
    """
    window: deque[PartEnd | asyncio.Task[Answered]] = deque()
    ended = False
    try:
        while True:
            while not ended and not _part_can_end(window) and len(_tasks(window)) < max_in_flight:
                item = await asyncio.to_thread(next, items, None)
                if item is None:
                    ended = True
                elif isinstance(item, PartEnd):
                    window.append(item)
                else:
                    window.append(asyncio.ensure_future(ask(item)))
            if not window:
                return
            head = window.popleft()
            if isinstance(head, PartEnd):
                yield head
                continue
            try:
                result = await head
            except BaseException:
                head.cancel()
                raise
            yield result
    finally:
        waiting = _tasks(window)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


def _tasks(window: Iterable[PartEnd | asyncio.Task[Answered]]) -> list[asyncio.Task[Answered]]:
    return [each for each in window if not isinstance(each, PartEnd)]


def _part_can_end(window: Sequence[PartEnd | asyncio.Task[Answered]]) -> bool:
    """Whether the last that was read ended a part, and the head of the window needs no waiting."""
    if not window or not isinstance(window[-1], PartEnd):
        return False
    head = window[0]
    return isinstance(head, PartEnd) or head.done()


@dataclass
class RowJob:
    """Everything between an input and its parts.

    Args:
        source: Where the rows are.
        plan: What is read of them.
        draft: Where the parts go.
        ask: How a batch is answered.
        unseen: Counts what the model has not met in training.
        max_in_flight: Most requests under way.
        metadata: What each output file says of itself, where its format can.
        log: For progress.
    """

    source: Source
    plan: RowPlan
    draft: TableDraft
    ask: Ask
    unseen: UnseenValues
    max_in_flight: int
    metadata: Mapping[str, str]
    log: Any
    parts: list[Part] = field(default_factory=list)
    _writer: PartWriter | None = None
    _schema: pa.Schema | None = None
    _rows: int = 0

    async def run(self) -> list[Part]:
        """Read, ask and write everything; returns the parts in order, ready to be published."""
        done: dict[int, Part | None] = {}

        def is_done(index: int) -> bool:
            if index not in done:
                done[index] = self.draft.parts.done(index)
            return done[index] is not None

        reader = RowReader(self.source, self.plan, is_done, self.unseen)
        asker = Asker(self.ask, self.plan)
        progress = Progress(self.log, self._share_done)
        try:
            async for item in in_order(iter(reader), asker, self.max_in_flight):
                if isinstance(item, Answered):
                    await asyncio.to_thread(self._write, item)
                elif (part := done.get(item.part)) is not None:
                    self._rows += part.counts["rows_in"]
                    self.parts.append(part)
                elif asker.fault is not None and not any(part.counts["rows_out"] for part in self.parts):
                    raise asker.fault
                else:
                    self.parts.append(await asyncio.to_thread(self._finish, item))
                progress.done(self._rows)
        except BaseException:
            if self._writer is not None:
                self._writer.abandon()
            raise
        if reused := sum(part is not None for part in done.values()):
            self.log.info("%d of %d parts were finished by an earlier try", reused, len(self.parts))
        self.unseen.warn(self.log)
        return self.parts

    def _share_done(self, rows: int) -> float | None:
        return rows / self.source.rows if self.source.rows else self.source.share_read()

    def _part_writer(self, index: int) -> PartWriter:
        if self._writer is None:
            self._writer = self.draft.writer(index)
        return self._writer

    def _write(self, answered: Answered) -> None:
        writer = self._part_writer(answered.part)
        for table in answered.tables:
            writer.write(self.described(table))
        for row in answered.rejected:
            writer.reject(row.line())
        for counts in answered.counts:
            writer.counts.update(counts)
        writer.counts["rows_out"] += answered.rows
        writer.counts["rows_rejected"] += len(answered.rejected)
        self._rows += answered.rows + len(answered.rejected)

    def described(self, table: pa.RecordBatch) -> pa.RecordBatch:
        """The rows with the file's metadata; their columns must be those of all rows before.

        Raises:
            ServerError: the model answered in another shape than before.
        """
        described = table.replace_schema_metadata(dict(self.metadata))
        if self._schema is None:
            self._schema = described.schema
        elif not described.schema.equals(self._schema):
            raise ServerError("the model's answer has other columns than its answers before")
        return described

    def _finish(self, end: PartEnd) -> Part:
        writer = self._part_writer(end.part)
        writer.counts.update(end.counts)
        counts = writer.counts
        for name in ("rows_in", "rows_out", "rows_rejected", "rows_filtered", UNSEEN, MISSING):
            counts[name] += 0  # told also where it is none
        if counts["rows_in"] != counts["rows_out"] + counts["rows_rejected"] + counts["rows_filtered"]:
            raise AssertionError(f"rows of part {end.part} do not add up: {dict(counts)}")
        self._rows += end.counts.get("rows_filtered", 0)
        part = writer.finish()
        self._writer = None
        return part
