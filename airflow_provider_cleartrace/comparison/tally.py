"""What one pass through an explained output counts and sums; memory does not grow with its rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_cleartrace.comparison.alike import known_numbers
from airflow_provider_cleartrace.comparison.errors import ComparisonError
from airflow_provider_cleartrace.storage.layouts import (
    FEATURE,
    LONG_DRIVER,
    PERSONA,
    Layout,
    Readable,
)

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@dataclass
class Tally:
    """An output in figures.

    Attributes:
        rows: its rows.
        predicted: sums (k,) of the predictions.
        absolute: feature to the sum of its drivers' absolute values; ``signed``: of the drivers.
        personas: persona to its rows; None is for rows without one.
    """

    rows: int = 0
    predicted: Any = 0.0
    absolute: dict[str, float] = field(default_factory=dict)
    signed: dict[str, float] = field(default_factory=dict)
    personas: Counter[str | None] = field(default_factory=Counter)


def tally(
    table: Readable,
    layout: Layout,
    *,
    predictions: Callable[[Floats], None],
    rows: Callable[[pa.RecordBatch], object] | None = None,
    columns: tuple[str, ...] = (),
) -> Tally:
    """Read an output once.

    Args:
        table: The output.
        layout: What its columns are.
        predictions: Gets the predictions (n, k) of each batch.
        rows: Gets each batch as well, with ``columns``.
        columns: Further columns to read.

    Raises:
        ComparisonError: there are no rows, a value is missing, or a row lacks the driver of a feature.
    """
    told = Tally()
    drivers = _Long(layout, table.uri) if layout.long else _Wide(layout, table.uri)
    wanted = [*layout.predictions, *drivers.columns, *([PERSONA] if layout.persona else []), *columns]
    for batch in table.batches(list(dict.fromkeys(wanted))):
        first = drivers.add(batch)
        values = known_numbers(first, layout.predictions, table.uri)
        predictions(values)
        told.rows += len(values)
        told.predicted = told.predicted + values.sum(axis=0)
        if layout.persona:
            told.personas.update(first.column(PERSONA).to_pylist())
        if rows is not None:
            rows(first)
    if not told.rows:
        raise ComparisonError(f"{table.uri}: no rows to compare")
    drivers.finish(told)
    return told


class _Wide:
    """Sums drivers that have a column for each feature."""

    def __init__(self, layout: Layout, uri: str) -> None:
        import numpy as np  # noqa: PLC0415  (loads where rows are touched, never with a DAG)

        self.columns = layout.drivers
        self._features = layout.features
        self._uri = uri
        self._absolute = np.zeros(len(layout.features))
        self._signed = np.zeros(len(layout.features))

    def add(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Sum a batch; gives what is told once a row."""
        import numpy as np  # noqa: PLC0415  (loads where rows are touched, never with a DAG)

        values = known_numbers(batch, self.columns, self._uri)
        self._absolute += np.abs(values).sum(axis=0)
        self._signed += values.sum(axis=0)
        return batch

    def finish(self, told: Tally) -> None:
        """Hand over the sums."""
        told.absolute = dict(zip(self._features, self._absolute.tolist(), strict=True))
        told.signed = dict(zip(self._features, self._signed.tolist(), strict=True))


class _Long(_Wide):
    """Sums drivers that have an entry for each row and feature."""

    def __init__(self, layout: Layout, uri: str) -> None:
        import numpy as np  # noqa: PLC0415  (loads where rows are touched, never with a DAG)

        super().__init__(layout, uri)
        self.columns = [FEATURE, LONG_DRIVER]
        self._place = {name: place for place, name in enumerate(layout.features)}
        self._entries = np.zeros(len(layout.features), dtype=np.int64)

    def add(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Sum a batch; a row is told where its first feature is."""
        import numpy as np  # noqa: PLC0415  (loads where rows are touched, never with a DAG)
        import pyarrow as pa  # noqa: PLC0415

        values = known_numbers(batch, [LONG_DRIVER], self._uri)[:, 0]
        coded = batch.column(FEATURE).dictionary_encode()
        names = [str(name) for name in coded.dictionary.to_pylist()]
        if coded.null_count or (unknown := [name for name in names if name not in self._place]):
            what = "no feature" if coded.null_count else f"the feature {unknown[0]!r}"
            raise ComparisonError(f"{self._uri}: an entry has {what}, which the first row does not have")
        places = np.array([self._place[name] for name in names], dtype=np.int64)[coded.indices.to_numpy()]
        size = len(self._place)
        self._absolute += np.bincount(places, weights=np.abs(values), minlength=size)
        self._signed += np.bincount(places, weights=values, minlength=size)
        self._entries += np.bincount(places, minlength=size)
        return batch.filter(pa.array(places == 0))

    def finish(self, told: Tally) -> None:
        """Hand over the sums, if every row has all features."""
        for name, entries in zip(self._features, self._entries.tolist(), strict=True):
            if entries != told.rows:
                raise ComparisonError(
                    f"{self._uri}: {told.rows} rows, but {entries} drivers of {name!r}: the file is not whole"
                )
        super().finish(told)
