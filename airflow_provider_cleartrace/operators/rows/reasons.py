"""Reason codes: the drivers that push a row towards the unwanted outcome, in a lender's own words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_cleartrace.api.errors import ValidationError
from airflow_provider_cleartrace.api.models import SchemaResult
from airflow_provider_cleartrace.operators.columns import feature_kinds
from airflow_provider_cleartrace.operators.rows.answers import texts

if TYPE_CHECKING:
    import pyarrow as pa

Unwanted = Literal["low", "high"]
DIRECTIONS = ("high", "low", "any")
FIELDS = ("feature", "direction", "code", "text")


@dataclass(frozen=True)
class ReasonTable:
    """Maps (feature, direction) to a code and a text.

    Args:
        entries: ``(feature, direction) -> (code, text)``. The direction is that of the row's value: ``high``
            or ``low`` beside the training mean, or ``any``. What has no entry is never given as a reason.
        means: The training means of the features that have an entry for ``high`` or ``low``.
        top_k: Most reasons of a row.
        unwanted: Which predictions are unwanted: low ones, or high ones.
    """

    entries: Mapping[tuple[str, str], tuple[str, str]]
    means: Mapping[str, float]
    top_k: int
    unwanted: Unwanted

    @classmethod
    def parse(
        cls, entries: Sequence[Mapping[Any, Any]], schema: SchemaResult, top_k: int, unwanted: Unwanted
    ) -> ReasonTable:
        """Read the entries of a user's table, and hold them against the model.

        Raises:
            ValidationError: an entry lacks a field, names no feature or direction, or comes twice; or a
                direction needs a mean that the model's schema does not tell.
        """
        told: dict[tuple[str, str], tuple[str, str]] = {}
        kinds = feature_kinds(schema)
        means: dict[str, float] = {}
        for number, entry in enumerate(entries):
            if not isinstance(entry, Mapping):
                raise ValidationError(f"reasons: entry {number} is no mapping with {', '.join(FIELDS)}")
            if missing := [name for name in FIELDS if entry.get(name) in (None, "")]:
                raise ValidationError(f"reasons: entry {number} has no {', '.join(missing)}")
            feature, direction = str(entry["feature"]), str(entry["direction"])
            if feature not in schema.feature_names:
                raise ValidationError(f"reasons: {feature!r} is no feature of the model")
            if direction not in DIRECTIONS:
                raise ValidationError(f"reasons: {direction!r} is none of {', '.join(DIRECTIONS)}")
            if (feature, direction) in told:
                raise ValidationError(f"reasons: {feature!r} has two entries for {direction!r}")
            if direction != "any":
                column = schema.columns.get(feature)
                mean = (column.model_extra or {}).get("mean") if column is not None else None
                if kinds[feature] == "date" or not isinstance(mean, int | float):
                    raise ValidationError(f"reasons: the model tells no mean of {feature!r}; use 'any'")
                means[feature] = float(mean)
            told[feature, direction] = (str(entry["code"]), str(entry["text"]))
        if not told:
            raise ValidationError("reasons: the table has no entries")
        return cls(told, means, top_k, unwanted)

    def columns(self, rows: pa.RecordBatch, features: Sequence[str], drivers: Any) -> dict[str, pa.Array]:
        """``reason_1_code``, ``reason_1_feature``, ``reason_1_text`` and so on, strongest first.

        Args:
            rows: The features of n rows.
            features: Their names, d of them.
            drivers: (n, d) drivers, as gradient times (value - mean).
        """
        import numpy as np  # noqa: PLC0415  (loads where rows are touched, never with a DAG)

        push = np.asarray(drivers) * (-1.0 if self.unwanted == "low" else 1.0)
        codes = np.full((len(features), 3), -1)
        listed = list(self.entries)
        for place, (feature, direction) in enumerate(listed):
            codes[features.index(feature), DIRECTIONS.index(direction)] = place
        chosen = np.repeat(codes[None, :, DIRECTIONS.index("any")], len(push), axis=0)
        for feature, mean in self.means.items():
            column = features.index(feature)
            values = rows.column(feature).to_numpy(zero_copy_only=False).astype(float)
            for direction, holds in (("high", values > mean), ("low", values < mean)):
                if (place := codes[column, DIRECTIONS.index(direction)]) >= 0:
                    chosen[holds, column] = place
        push = np.where((chosen >= 0) & (push > 0), push, 0.0)
        ranked = np.argsort(-push, axis=1, kind="stable")[:, : self.top_k]
        columns: dict[str, pa.Array] = {}
        for rank in range(self.top_k):
            places: list[int | None] = [None] * len(push)
            if rank < ranked.shape[1]:
                best = ranked[:, rank]
                index = np.arange(len(push))
                strong = push[index, best] > 0
                places = [
                    int(place) if holds else None
                    for place, holds in zip(chosen[index, best], strong, strict=True)
                ]
            told = [None if place is None else listed[place] for place in places]
            name = f"reason_{rank + 1}"
            columns[f"{name}_code"] = texts([None if key is None else self.entries[key][0] for key in told])
            columns[f"{name}_feature"] = texts([None if key is None else key[0] for key in told])
            columns[f"{name}_text"] = texts([None if key is None else self.entries[key][1] for key in told])
        return columns
