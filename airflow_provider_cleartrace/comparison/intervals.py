"""How wide the intervals of calibrated rules are on average."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_cleartrace.comparison.errors import ComparisonError
from airflow_provider_cleartrace.comparison.models import IntervalDrift, Width
from airflow_provider_cleartrace.storage.layouts import Readable

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

BOUNDS = ("prediction_low", "prediction_high", "weight_low", "weight_high")

KIND = "kind"
"""The first column of a rule; those before it identify its row."""


def check_rules_table(table: Readable) -> None:
    """Refuse what is no table of calibrated rules.

    Raises:
        ComparisonError: it lacks a bound.
    """
    if missing := [name for name in (KIND, *BOUNDS) if name not in table.columns]:
        raise ComparisonError(
            f"{table.uri}: no column {', '.join(map(repr, missing))}:"
            " not the rules of a CalibratedExplain task"
        )


def interval_drift(reference: Readable, current: Readable) -> IntervalDrift:
    """Hold the widths of two tables of calibrated rules against each other.

    Raises:
        ComparisonError: a table has no rules.
    """
    one, other = width_of(reference), width_of(current)
    ratio = None
    if one.mean_prediction_width and other.mean_prediction_width is not None:
        ratio = other.mean_prediction_width / one.mean_prediction_width
    return IntervalDrift(reference=one, current=other, width_ratio=ratio)


def width_of(table: Readable) -> Width:
    """The mean widths of a table's intervals, read once: of predictions by row, of weights by rule."""
    import numpy as np  # noqa: PLC0415  (loads where rows are touched, never with a DAG)
    import pyarrow as pa  # noqa: PLC0415

    rules = closed = 0
    weights = 0.0
    rows = _RowMeans()
    ids = table.columns[: table.columns.index(KIND)]
    for batch in table.batches([*ids, *BOUNDS]):
        bounds = np.column_stack(
            [batch.column(name).cast(pa.float64()).to_numpy(zero_copy_only=False) for name in BOUNDS]
        )
        widths = bounds[:, 1::2] - bounds[:, ::2]
        finite = np.isfinite(widths).all(axis=1)
        rules += len(widths)
        closed += int(finite.sum())
        weights += float(widths[finite, 1].sum())
        rows.add(batch.select(ids), np.where(finite, widths[:, 0], np.nan))
    if not rules:
        raise ComparisonError(f"{table.uri}: no rules to compare")
    rows.end()
    return Width(
        rows=rows.rows,
        rules=rules,
        open_rules=rules - closed,
        mean_prediction_width=rows.total / rows.known if rows.known else None,
        mean_weight_width=weights / closed if closed else None,
    )


class _RowMeans:
    """Averages a figure of rules within their row, so that a row with many rules counts once.

    The rules of a row follow each other, also from one batch to the next.

    Attributes:
        rows: rows that are whole.
        known: those of them with any figure; ``total`` is the sum of their means.
    """

    def __init__(self) -> None:
        self.rows = self.known = 0
        self.total = 0.0
        self._last: list[Any] | None = None
        self._sum = self._count = 0.0

    def add(self, ids: pa.RecordBatch, figures: NDArray[np.float64]) -> None:
        """Take a batch; NaN is left out of the mean of its row."""
        import numpy as np  # noqa: PLC0415  (loads where rows are touched, never with a DAG)

        if not len(figures):
            return
        first = [column[0].as_py() for column in ids.columns]
        begins = np.zeros(len(figures), dtype=bool)
        for column in ids.columns:
            coded = column.dictionary_encode(null_encoding="encode").indices.to_numpy()
            begins[1:] |= coded[1:] != coded[:-1]
        if self._last is not None and first != self._last:
            self.end()
        self._last = [column[-1].as_py() for column in ids.columns]
        place = np.cumsum(begins)
        sums = np.bincount(place, weights=np.nan_to_num(figures))
        counts = np.bincount(place, weights=~np.isnan(figures))
        sums[0] += self._sum
        counts[0] += self._count
        whole = counts[:-1] > 0
        self.rows += len(sums) - 1
        self.known += int(whole.sum())
        self.total += float((sums[:-1][whole] / counts[:-1][whole]).sum())
        self._sum, self._count = float(sums[-1]), float(counts[-1])

    def end(self) -> None:
        """The row at hand is whole."""
        if self._last is None:
            return
        self.rows += 1
        if self._count:
            self.known += 1
            self.total += self._sum / self._count
        self._last, self._sum, self._count = None, 0.0, 0.0
