"""Exact quantiles of more numbers than memory holds, and the bins between them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

BLOCK_ROWS = 65_536
"""Rows read back at a time."""

_DIGIT_BITS = 16
"""Bits decided in one pass: 65,536 counters for each quantile, and four passes for a double."""


class Spool:
    """Rows of k doubles on disk, eight bytes a number: read a file once, look at its numbers often."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.rows = 0
        self._file: Any = tempfile.TemporaryFile(prefix="cleartrace-compare-")  # noqa: SIM115  (closed on exit)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, values: Floats) -> None:
        """Append finite values (n, k)."""
        import numpy as np  # noqa: PLC0415  (loads where figures are computed, never with a DAG)

        self._file.write(np.ascontiguousarray(values, dtype=np.float64).tobytes())
        self.rows += len(values)

    def blocks(self) -> Iterator[Floats]:
        """The rows (n, k), a bounded piece at a time."""
        import numpy as np  # noqa: PLC0415  (loads where figures are computed, never with a DAG)

        self._file.seek(0)
        while data := self._file.read(BLOCK_ROWS * self.width * 8):
            yield np.frombuffer(data).reshape(-1, self.width)


def order_statistics(blocks: Callable[[], Iterator[Floats]], places: Sequence[int]) -> Floats:
    """The values that stand at some places when all are sorted, without sorting them.

    A radix selection: the bits of a double, suitably flipped, sort as the numbers do. Four passes count the
    next 16 bits of the values that agree with a wanted one so far.

    Args:
        blocks: gives all values again at each call; none is NaN.
        places: counted from 0.
    """
    import numpy as np  # noqa: PLC0415  (loads where figures are computed, never with a DAG)

    digits = 1 << _DIGIT_BITS
    prefixes = np.zeros(len(places), dtype=np.uint64)
    remaining = np.array(places, dtype=np.int64)
    for shift in range(64 - _DIGIT_BITS, -1, -_DIGIT_BITS):
        wanted = np.unique(prefixes)
        counts = np.zeros(len(wanted) * digits, dtype=np.int64)
        for values in blocks():
            keys = _sortable(values) >> np.uint64(shift)
            above = keys >> np.uint64(_DIGIT_BITS)
            row = np.minimum(np.searchsorted(wanted, above), len(wanted) - 1)
            same = wanted[row] == above
            digit = (keys[same] & np.uint64(digits - 1)).astype(np.int64)
            counts += np.bincount(row[same] * digits + digit, minlength=len(counts))
        below = counts.reshape(len(wanted), digits).cumsum(axis=1)
        for index, row_of in enumerate(np.searchsorted(wanted, prefixes)):
            digit = np.searchsorted(below[row_of], remaining[index], side="right")
            remaining[index] -= below[row_of][digit - 1] if digit else 0
            prefixes[index] = (prefixes[index] << np.uint64(_DIGIT_BITS)) | np.uint64(digit)
    return _from_sortable(prefixes)


def _sortable(values: Floats) -> Any:
    """Unsigned integers in the order of the doubles."""
    import numpy as np  # noqa: PLC0415  (loads where figures are computed, never with a DAG)

    sign = np.uint64(1 << 63)
    bits = np.ascontiguousarray(values + 0.0).view(np.uint64)  # -0.0 becomes 0.0
    return np.where(bits & sign, ~bits, bits | sign)


def _from_sortable(keys: Any) -> Floats:
    import numpy as np  # noqa: PLC0415  (loads where figures are computed, never with a DAG)

    sign = np.uint64(1 << 63)
    values: Floats = np.where(keys & sign, keys & ~sign, ~keys).view(np.float64)
    return values


def quantile_edges(spool: Spool, column: int, bins: int) -> Floats:
    """The upper edges of all bins but the last, which is open: above an edge and at most the next.

    The edges are the values at the places ceil(n j / bins), j = 1 to bins - 1, of the sorted column. A value
    at which two edges fall gets a bin of its own, so that rows below it do not hide among those at it.
    """
    import numpy as np  # noqa: PLC0415  (loads where figures are computed, never with a DAG)

    places = [-(-spool.rows * j // bins) - 1 for j in range(1, bins)]
    found = order_statistics(lambda: (rows[:, column] for rows in spool.blocks()), places)
    values, times = np.unique(found, return_counts=True)
    with np.errstate(over="ignore"):
        below = np.nextafter(values[times > 1], -np.inf)
    return np.union1d(values, below[np.isfinite(below)])


def count(values: Floats, edges: Floats) -> NDArray[np.int64]:
    """How many values fall into each of the bins, one more than there are edges."""
    import numpy as np  # noqa: PLC0415  (loads where figures are computed, never with a DAG)

    return np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1)


class Histogram:
    """Rows counted column by column, in bins of each column's own.

    Args:
        edges: The edges of each of k columns, as :func:`quantile_edges` gives them.

    Attributes:
        counts: the rows in each column's bins.
    """

    def __init__(self, edges: Sequence[Floats]) -> None:
        import numpy as np  # noqa: PLC0415  (loads where figures are computed, never with a DAG)

        self.edges = edges
        self.counts = [np.zeros(len(each) + 1, dtype=np.int64) for each in edges]

    def add(self, values: Floats) -> None:
        """Count rows (n, k)."""
        for column, edges in enumerate(self.edges):
            self.counts[column] += count(values[:, column], edges)
