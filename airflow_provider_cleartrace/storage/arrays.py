"""Plain numpy arrays as Arrow columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa


def column_of(values: Any) -> pa.Array:
    """Take a one-dimensional array of 64-bit numbers, none of them missing, without a copy where possible.

    ``pyarrow.array`` would load pandas, 40 megabytes of it, to look at what is a plain array.
    """
    import numpy as np  # noqa: PLC0415  (loads where files are touched, never with a DAG)
    import pyarrow as pa  # noqa: PLC0415

    held = np.ascontiguousarray(values)
    arrow_type = {np.dtype(np.float64): pa.float64(), np.dtype(np.int64): pa.int64()}[held.dtype]
    return pa.Array.from_buffers(arrow_type, len(held), [None, pa.py_buffer(held)])
