"""The row pipeline: batches are asked for a few at a time, and written in the order of their rows."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_cleartrace.api.errors import OuterProductError, ServerError, ValidationError
from airflow_provider_cleartrace.operators.progress import Progress
from airflow_provider_cleartrace.operators.rows.answers import Answers
from airflow_provider_cleartrace.operators.rows.reader import (
    Batch,
    PartEnd,
    Rejected,
    RowPlan,
    RowReader,
    identity_of,
    rejected_row,
)
from airflow_provider_cleartrace.operators.rows.unseen import MISSING, UNSEEN, UnseenValues
from airflow_provider_cleartrace.storage.outputs import PartWriter, TableDraft
from airflow_provider_cleartrace.storage.parts import Part
from airflow_provider_cleartrace.storage.sources import Source

if TYPE_CHECKING:
    import pyarrow as pa

Ask = Callable[["pa.RecordBatch"], Awaitable[Answers]]
"""Sends rows to the model: columns in, answers out."""

TOO_LARGE = 413

ROWS_REFUSED = {None, 400, TOO_LARGE, 422}
"""Statuses by which a request is refused for what it holds; None: by the client, before it was sent."""

REFUSED_WITHOUT_AN_ANSWER = 20
"""Rows refused one by one before any row was answered, after which the fault is not the rows'."""


@dataclass(frozen=True)
class Answered:
    """What became of a batch."""

    part: int
    tables: Sequence[pa.RecordBatch] = ()
    rejected: Sequence[Rejected] = ()
    rows: int = 0
    counts: Sequence[Mapping[str, int]] = ()


@dataclass
class Asker:
    """Asks for a batch; halves what is refused, down to the row that is at fault."""

    ask: Ask
    plan: RowPlan
    _most_rows: int = 2**62
    _answered: bool = False
    _refused: int = 0

    async def __call__(self, batch: Batch) -> Answered:
        """Get the answers to a batch.

        Raises:
            BadRowError: a row that cannot be served, where ``on_bad_rows`` is ``fail``.
        """
        tables: list[pa.RecordBatch] = []
        counts: list[Mapping[str, int]] = []
        rejected = list(batch.rejected)
        todo = deque([] if batch.rows is None else [batch.rows])
        answered_rows = 0
        while todo:
            rows = todo.popleft()
            if rows.num_rows > self._most_rows:
                todo.extendleft(reversed(_halves(rows)))
                continue
            try:
                answers = await self.ask(rows.select(list(self.plan.features)))
            except ValidationError as error:
                if error.status_code not in ROWS_REFUSED:
                    raise
                if rows.num_rows > 1:
                    if error.status_code == TOO_LARGE:
                        self._most_rows = min(self._most_rows, (rows.num_rows + 1) // 2)
                    todo.extendleft(reversed(_halves(rows)))
                    continue
                rejected.append(self._reject(rows, error))
                continue
            self._answered = True
            _check(answers, rows.num_rows)
            tables.append(answers.joined(identity_of(self.plan, rows)))
            counts.append(answers.counts)
            answered_rows += rows.num_rows
        return Answered(batch.part, tables, rejected, answered_rows, counts)

    def _reject(self, row: pa.RecordBatch, error: OuterProductError) -> Rejected:
        rejected = rejected_row(self.plan, row, row, str(error))
        if self.plan.on_bad_rows != "skip":
            raise rejected.error(self.plan) from error
        self._refused += 1
        if not self._answered and self._refused >= REFUSED_WITHOUT_AN_ANSWER:
            raise error
        return rejected


def _halves(rows: pa.RecordBatch) -> list[pa.RecordBatch]:
    middle = (rows.num_rows + 1) // 2
    return [rows.slice(0, middle), rows.slice(middle)]


def _check(answers: Answers, rows: int) -> None:
    """Refuse an answer that has lost or invented rows."""
    entries = rows if answers.about is None else len(answers.about)
    wrong = {len(column) for column in answers.columns.values()} - {entries}
    if wrong or (answers.about is not None and set(answers.about) != set(range(rows))):
        raise ServerError(f"{rows} rows were sent, and the answer is not about each of them")


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
        progress = Progress(self.log, self._share_done)
        try:
            async for item in in_order(iter(reader), Asker(self.ask, self.plan), self.max_in_flight):
                if isinstance(item, Answered):
                    await asyncio.to_thread(self._write, item)
                elif (part := done.get(item.part)) is not None:
                    self._rows += part.counts["rows_in"]
                    self.parts.append(part)
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
