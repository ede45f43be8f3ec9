"""Finds a row identity that was there before, in eight bytes a row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa


class SeenIds:
    """A set of 64-bit hashes in sorted runs, each at least twice as long as the next.

    Two different identities share a hash with a probability of about n**2 / 2**65 for n rows: one in ten
    million for two million rows.
    """

    def __init__(self) -> None:
        self._runs: list[Any] = []

    def add(self, ids: pa.RecordBatch) -> list[int]:
        """Take the identities of a batch; returns the positions of those that were there before."""
        import numpy as np  # noqa: PLC0415  (loads where files are touched, never with a DAG)
        import pyarrow as pa  # noqa: PLC0415

        # As texts, since Python gives -1 and -2 the same hash; texts have a keyed one of 64 bits.
        columns = [column.cast(pa.string()).to_pylist() for column in ids.columns]
        hashes = np.fromiter(map(hash, zip(*columns, strict=True)), np.int64, ids.num_rows)
        run, first = np.unique(hashes, return_index=True)
        repeated = np.ones(len(hashes), dtype=bool)
        repeated[first] = False
        for earlier in self._runs:
            places = np.minimum(np.searchsorted(earlier, hashes), len(earlier) - 1)
            repeated |= earlier[places] == hashes
        self._merge(run)
        return [int(position) for position in np.flatnonzero(repeated)]

    def _merge(self, run: Any) -> None:
        import numpy as np  # noqa: PLC0415  (loads where files are touched, never with a DAG)

        while self._runs and len(self._runs[-1]) < 2 * len(run):
            run = np.union1d(self._runs.pop(), run)
        if len(run):
            self._runs.append(run)
