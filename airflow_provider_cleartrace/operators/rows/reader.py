"""An input cut into what is asked for at once and what is written at once, every row accounted for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_cleartrace.api.errors import ValidationError
from airflow_provider_cleartrace.operators.rows.unseen import UnseenValues
from airflow_provider_cleartrace.storage.arrays import column_of
from airflow_provider_cleartrace.storage.errors import StorageError
from airflow_provider_cleartrace.storage.filters import RowFilter
from airflow_provider_cleartrace.storage.kinds import AS_IT_IS, Kind, converted
from airflow_provider_cleartrace.storage.row_ids import SeenIds
from airflow_provider_cleartrace.storage.sources import Source

if TYPE_CHECKING:
    import pyarrow as pa

ROW = "row"
"""Column that numbers the input's rows from 0, where no id columns are named."""

_NUMBER = "\0row"
"""The row numbers while rows are cut and filtered: no file has a column of this name."""

OnBadRows = Literal["fail", "skip"]


class BadRowError(ValidationError):
    """One row of the input cannot be served; the message names it."""


@dataclass(frozen=True)
class RowPlan:
    """What is read of an input, and how it is cut.

    Args:
        ids: Columns that identify a row.
        carried: Further columns that go into the output as they are.
        features: Columns the model reads.
        kinds: What each column is read as.
        where: Which rows are wanted.
        batch_rows: Most rows asked for at once.
        part_rows: Rows of the input behind one part of the output.
        on_bad_rows: Whether a row that cannot be served ends the task or goes to the reject file; None where
            there is no such file.
    """

    ids: Sequence[str]
    carried: Sequence[str]
    features: Sequence[str]
    kinds: Mapping[str, Kind]
    where: RowFilter | None
    batch_rows: int
    part_rows: int
    on_bad_rows: OnBadRows | None

    @property
    def columns(self) -> list[str]:
        """Every column that is read."""
        return list(self.kinds)


@dataclass(frozen=True)
class Rejected:
    """A row without an answer: its identity, why, and what it held."""

    identity: Mapping[str, Any]
    reason: str
    values: Mapping[str, Any]

    def line(self) -> dict[str, Any]:
        """What the reject file says of it."""
        return {**self.identity, "reason": self.reason, "values": dict(self.values)}

    def error(self, plan: RowPlan) -> BadRowError:
        """The error that names it, without what it held."""
        named = ", ".join(f"{name} {value!r}" for name, value in self.identity.items())
        if plan.on_bad_rows is None:
            return BadRowError(f"{named}: {self.reason}")
        return BadRowError(f"{named}: {self.reason}; on_bad_rows='skip' puts such rows into a reject file")


@dataclass(frozen=True)
class Batch:
    """Rows of one part to be asked for at once, and rows that cannot be."""

    part: int
    rows: pa.RecordBatch | None = None
    rejected: Sequence[Rejected] = ()


@dataclass(frozen=True)
class PartEnd:
    """All rows of a part were read; ``counts`` says how many there were, and how many were not wanted."""

    part: int
    counts: Mapping[str, int]


@dataclass
class RowReader:
    """Reads an input by a plan.

    Args:
        source: The input.
        plan: How to cut it.
        is_done: Whether a part is finished already: its rows are read for their identity alone.
        unseen: Counts what the model has not met in training.
    """

    source: Source
    plan: RowPlan
    is_done: Callable[[int], bool]
    unseen: UnseenValues = field(default_factory=lambda: UnseenValues({}, ()))
    _seen: SeenIds = field(default_factory=SeenIds)
    _types: dict[str, Any] = field(default_factory=dict)
    _pending: list[pa.RecordBatch] = field(default_factory=list)
    _counts: Counter[str] = field(default_factory=Counter)
    _cursor: int = 0

    def __iter__(self) -> Iterator[Batch | PartEnd]:
        """Batches and part ends, in the order of the rows.

        Raises:
            StorageError: the input is damaged, or holds no row.
            BadRowError: a row that cannot be served, where ``on_bad_rows`` is ``fail``.
        """
        self._cursor = self.source.start
        for block in self.source.read(self.plan.columns, prune=self.plan.where):
            yield from self._skip_to(block.first)
            offset = 0
            while offset < block.batch.num_rows:
                piece = block.batch.slice(offset, min(block.batch.num_rows - offset, self._left_in_part()))
                yield from self._take(piece)
                offset += piece.num_rows
        if self.source.rows is not None:
            yield from self._skip_to(self.source.start + self.source.rows)
        if self._counts["rows_in"]:
            yield from self._end_part((self._cursor - 1 - self.source.start) // self.plan.part_rows)
        if self._cursor == self.source.start:
            raise StorageError(f"{self.source.uri}: there are no rows")

    @property
    def _part(self) -> int:
        return (self._cursor - self.source.start) // self.plan.part_rows

    def _left_in_part(self) -> int:
        return self.plan.part_rows - (self._cursor - self.source.start) % self.plan.part_rows

    def _skip_to(self, row: int) -> Iterator[Batch | PartEnd]:
        """Count rows that were not read, since statistics say that no filter wants them."""
        while self._cursor < row:
            skipped = min(row - self._cursor, self._left_in_part())
            self._counts["rows_filtered"] += skipped
            yield from self._passed(skipped)

    def _passed(self, rows: int) -> Iterator[Batch | PartEnd]:
        part, at_end = self._part, rows == self._left_in_part()
        self._counts["rows_in"] += rows
        self._cursor += rows
        if at_end:
            yield from self._end_part(part)

    def _end_part(self, part: int) -> Iterator[Batch | PartEnd]:
        yield from self._cut(part, final=True)
        yield PartEnd(part, dict(self._counts))
        self._counts.clear()

    def _take(self, piece: pa.RecordBatch) -> Iterator[Batch | PartEnd]:
        rows, faults = converted(piece, self.plan.kinds)
        rows = _numbered(self._uniform(rows), self._cursor)
        rejected = [self._rejected(rows, piece, index, reason) for index, reason in faults.items()]
        if faults:
            rows = _without(rows, faults)
        if self.plan.where is not None:
            kept = self.plan.where.apply(rows, self.source.uri)
            self._counts["rows_filtered"] += rows.num_rows - kept.num_rows
            rows = kept
        if self.plan.ids and rows.num_rows:
            repeated = self._seen.add(rows.select(list(self.plan.ids)))
            reason = f"a row before has the same {', '.join(map(repr, self.plan.ids))}"
            rejected += [self._rejected(rows, rows, index, reason) for index in repeated]
            rows = _without(rows, repeated)
        if rejected and self.plan.on_bad_rows != "skip":
            raise rejected[0].error(self.plan)
        self._counts.update(self.unseen.count(rows))
        if not self.is_done(self._part):
            if rejected:
                yield Batch(self._part, rejected=rejected)
            if rows.num_rows:
                self._pending.append(rows)
                yield from self._cut(self._part, final=False)
        yield from self._passed(piece.num_rows)

    def _cut(self, part: int, *, final: bool) -> Iterator[Batch]:
        """Batches of full size out of the pending rows, and at a part's end what is left."""
        import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)

        size = self.plan.batch_rows
        held = sum(batch.num_rows for batch in self._pending)
        if not held or (held < size and not final):
            return
        (rows,) = pa.Table.from_batches(self._pending).combine_chunks().to_batches()
        stop = held if final else held - held % size
        for start in range(0, stop, size):
            yield Batch(part, rows.slice(start, min(size, stop - start)))
        self._pending = [rows.slice(stop)] if stop < held else []

    def _uniform(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Columns of every file in the type that holds them all."""
        import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)

        columns = []
        for name, column in zip(rows.schema.names, rows.columns, strict=True):
            wanted = self._type_of(name, column.type)
            try:
                columns.append(column if column.type == wanted else column.cast(wanted))
            except pa.ArrowException:
                raise StorageError(
                    f"{self.source.uri}: the column {name!r} is {wanted} in one file,"
                    f" {column.type} in another"
                ) from None
        return pa.RecordBatch.from_arrays(columns, names=rows.schema.names)

    def _type_of(self, name: str, found: pa.DataType) -> pa.DataType:
        if name not in self._types:
            of_all = self.source.type_of(name) if self.plan.kinds[name] in AS_IT_IS else None
            self._types[name] = of_all or found
        return self._types[name]

    def _rejected(self, rows: pa.RecordBatch, held: pa.RecordBatch, index: int, reason: str) -> Rejected:
        return rejected_row(self.plan, rows.slice(index, 1), held.slice(index, 1), reason)


def rejected_row(plan: RowPlan, row: pa.RecordBatch, held: pa.RecordBatch, reason: str) -> Rejected:
    """One row that gets no answer; ``held`` is what the input has there."""
    (known,) = row.to_pylist()
    (values,) = held.to_pylist()
    values.pop(_NUMBER, None)
    identity = {ROW: known[_NUMBER]} | {name: known[name] for name in plan.ids}
    return Rejected(identity, reason, values)


def identity_of(plan: RowPlan, rows: pa.RecordBatch) -> pa.RecordBatch:
    """The id columns of some rows, or their numbers, and the columns that are carried along."""
    import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)

    names = [*(plan.ids or [_NUMBER]), *plan.carried]
    columns = [rows.column(name) for name in names]
    return pa.RecordBatch.from_arrays(columns, names=[ROW if name == _NUMBER else name for name in names])


def no_rows(plan: RowPlan) -> pa.RecordBatch:
    """A batch without rows, as the plan reads CSV files."""
    import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)

    types = {"number": pa.float64(), "boolean": pa.bool_()}
    columns = {name: pa.nulls(0, types.get(kind, pa.string())) for name, kind in plan.kinds.items()}
    columns[_NUMBER] = pa.nulls(0, pa.int64())
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def _numbered(rows: pa.RecordBatch, first: int) -> pa.RecordBatch:
    import numpy as np  # noqa: PLC0415  (loads where files are touched, never with a DAG)
    import pyarrow as pa  # noqa: PLC0415

    numbers = column_of(np.arange(first, first + rows.num_rows, dtype=np.int64))
    return pa.RecordBatch.from_arrays([*rows.columns, numbers], names=[*rows.schema.names, _NUMBER])


def _without(rows: pa.RecordBatch, indices: Sequence[int] | Mapping[int, Any]) -> pa.RecordBatch:
    import numpy as np  # noqa: PLC0415  (loads where files are touched, never with a DAG)
    import pyarrow as pa  # noqa: PLC0415

    if not indices:
        return rows
    kept = np.ones(rows.num_rows, dtype=bool)
    kept[list(indices)] = False
    return rows.filter(pa.array(kept))
