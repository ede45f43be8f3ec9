"""What a model says of a batch of rows, checked and put into columns."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_cleartrace.api.errors import ServerError
from airflow_provider_cleartrace.api.models import SchemaResult
from airflow_provider_cleartrace.storage.arrays import column_of

if TYPE_CHECKING:
    import pyarrow as pa

CONTROL_ROWS = 3
"""Rows that are asked for twice in a request: an answer in another order gives them different values."""

CONTROL_TOLERANCE = 1e-4
"""Relative difference that two answers to one row may have: matrix products depend on a row's place."""


@dataclass(frozen=True)
class Answers:
    """Columns about a batch; ``about`` is the row of each entry where rows repeat, ``counts`` add up."""

    columns: Mapping[str, pa.Array]
    about: Sequence[int] | None = None
    counts: Mapping[str, int] = field(default_factory=dict)

    def joined(self, identity: pa.RecordBatch) -> pa.RecordBatch:
        """The answers with what identifies their rows in front."""
        import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)

        rows = identity if self.about is None else identity.take(pa.array(self.about, pa.int64()))
        return pa.RecordBatch.from_arrays(
            [*rows.columns, *self.columns.values()], names=[*rows.schema.names, *self.columns]
        )


@dataclass(frozen=True)
class Asked:
    """Rows to be asked for, with copies of some of them behind.

    The wire has no row ids: a server that answers in another order, or gives one row's answer to another,
    is found out by two answers to one row that differ.
    """

    rows: pa.RecordBatch
    _copied: Sequence[int]

    @classmethod
    def of(cls, rows: pa.RecordBatch) -> Asked:
        """Choose the rows to copy, the same for the same batch; a single row has no order."""
        import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)

        count = rows.num_rows
        if count < 2:
            return cls(rows, ())
        chosen = random.Random(count).sample(range(count), min(CONTROL_ROWS, count))  # noqa: S311  (no secret)
        copies = [rows.slice(row, 1) for row in chosen]
        (asked,) = pa.Table.from_batches([rows, *copies]).combine_chunks().to_batches()
        return cls(asked, chosen)

    def settled(self, values: Any, what: str) -> Any:
        """The rows' own answers out of an array with one entry a row that was sent.

        Raises:
            ServerError: another number of answers, a missing value, or two answers to one row that differ.
        """
        import numpy as np  # noqa: PLC0415  (loads where rows are touched, never with a DAG)

        if len(values) != self.rows.num_rows:
            raise ServerError(f"{what}: {self.rows.num_rows} rows were sent, {len(values)} came back")
        if missing := int((~np.isfinite(values.reshape(len(values), -1)).all(axis=1)).sum()):
            raise ServerError(f"{what}: no value for {missing} of {len(values)} rows")
        own = values[: len(values) - len(self._copied)]
        again = values[len(own) :]
        if not np.allclose(own[list(self._copied)], again, rtol=CONTROL_TOLERANCE, atol=1e-9):
            raise ServerError(
                f"{what}: a row that was sent twice got two different answers: the answers are not in the"
                " order of the rows, or the model changed meanwhile"
            )
        return own


def floats(values: Any) -> pa.Array:
    """Numbers, none of them missing, as a column of doubles."""
    import numpy as np  # noqa: PLC0415  (loads where rows are touched, never with a DAG)

    return column_of(np.asarray(values, dtype=np.float64))


def texts(values: Sequence[Any]) -> pa.Array:
    """Texts as a column; None is null."""
    import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)

    return pa.array([None if value is None else str(value) for value in values], pa.string())


def classes_of(schema: SchemaResult) -> list[Any]:
    """The classes that a model tells apart, where its server says."""
    return list((schema.model_extra or {}).get("classes") or [])


def predictions(schema: SchemaResult, values: Any) -> dict[str, pa.Array]:
    """One column ``prediction``, or one ``probability_<class>`` for each of more than two classes.

    Raises:
        ServerError: another number of classes than the model has.
    """
    if values.ndim == 1:
        return {"prediction": floats(values)}
    classes = classes_of(schema) or list(range(values.shape[1]))
    if len(classes) != values.shape[1]:
        raise ServerError(f"predict: {values.shape[1]} probabilities a row for {len(classes)} classes")
    return {f"probability_{label}": floats(values[:, index]) for index, label in enumerate(classes)}


def in_order_of(features: Sequence[str], told: Sequence[str], values: Any, what: str) -> Any:
    """The columns of an (n, d) answer in the order of the model's features.

    Raises:
        ServerError: the answer is about other features.
    """
    if list(told) == list(features):
        if values.ndim == 2 and values.shape[1] == len(features):
            return values
    elif sorted(told) == sorted(features) and values.shape[1:] == (len(features),):
        place = {name: index for index, name in enumerate(told)}
        return values[:, [place[name] for name in features]]
    raise ServerError(f"{what}: the answer is about other features than the model's")


def per_feature(prefix: str, names: Sequence[str], values: Any) -> dict[str, pa.Array]:
    """One column a feature."""
    import numpy as np  # noqa: PLC0415  (loads where rows are touched, never with a DAG)

    columns = np.ascontiguousarray(values.T, dtype=np.float64)  # one copy, not one a column
    return {f"{prefix}_{name}": floats(column) for name, column in zip(names, columns, strict=True)}
