"""A batch of rows is asked for; what the server refuses is halved until the row at fault is alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_cleartrace.api.errors import OuterProductError, ServerError, ValidationError
from airflow_provider_cleartrace.operators.rows.answers import Answers
from airflow_provider_cleartrace.operators.rows.reader import (
    Batch,
    Rejected,
    RowPlan,
    identity_of,
    rejected_row,
)

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
    """Asks for a batch; halves what is refused, down to the row that is at fault.

    Attributes:
        fault: why the server refused a row, while it has answered none: the fault may not be the rows'.
    """

    ask: Ask
    plan: RowPlan
    fault: OuterProductError | None = None
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
            self._answered, self.fault = True, None
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
        if not self._answered:
            if self._refused >= REFUSED_WITHOUT_AN_ANSWER:
                raise error
            if error.status_code is not None:
                self.fault = error
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
