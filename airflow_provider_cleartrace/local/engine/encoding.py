"""Tables as matrices: scaling, levels, gaps, and the chain rule that brings gradients back to features.

Every quantity takes one encoded column, and a second one (1 = gap) when its training column had gaps. Every
category or boolean takes one column a level, and one for "missing" when its training column had gaps.

Gaps and strangers:
    A gap in a quantity is encoded as the training mean. When the training column had no gaps that is all the
    model can know; otherwise the gap column tells the model. A gap in a category is a level of its own if it
    was one at training. A level (or a gap) unknown from training is all zeros.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from airflow_provider_cleartrace.local.engine.errors import InputError
from airflow_provider_cleartrace.local.engine.scaling import Curve, Scaling, curve_from_json, fit_curve
from airflow_provider_cleartrace.local.engine.schema import Column
from airflow_provider_cleartrace.local.engine.table import Table, is_missing

MAX_ENCODED_COLUMNS = 3000
"""The learned metric is a square matrix of this size; beyond it, memory and time go into sparse levels."""

_FARTHEST = 1e6
"""Encoded values stop here: no training row is anywhere near, and squares of larger ones could overflow."""


@dataclass(frozen=True)
class QuantityBlock:
    """One quantity as one encoded column, or two when its training column had gaps.

    Attributes:
        column: the feature.
        curve: its scaling.
        marks_gaps: whether a second column marks gaps.
    """

    column: Column
    curve: Curve
    marks_gaps: bool

    @property
    def width(self) -> int:
        """How many encoded columns the feature takes."""
        return 2 if self.marks_gaps else 1

    def encode(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Encode a table column; (n,) -> (n, width)."""
        numbers = self.column.to_numbers(values)
        gap = np.isnan(numbers)
        scaled = self.curve.forward(np.where(gap, self.column.mean or 0.0, numbers))
        scaled = np.clip(scaled, -_FARTHEST, _FARTHEST)
        return np.column_stack([scaled, gap]) if self.marks_gaps else scaled[:, None]

    def contract(self, gradient: NDArray[np.float64], encoded: NDArray[np.float64]) -> NDArray[np.float64]:
        """Turn d/d(encoded) (..., width) into the derivative per training standard deviation (...)."""
        sd = self.column.std or 0.0
        per_sd = gradient[..., 0] * self.curve.slope(encoded[..., 0]) * sd
        if not self.marks_gaps:
            return np.asarray(per_sd)
        contrast = gradient[..., 1] * (1 - self.column.missing_share)
        return np.where(encoded[..., 1] > 0, contrast, per_sd)

    def to_json(self) -> dict[str, Any]:
        """Give what the Column does not already tell."""
        return {"curve": self.curve.to_json(), "marks_gaps": self.marks_gaps}


@dataclass(frozen=True)
class LevelBlock:
    """A category or boolean as one encoded column a level.

    Attributes:
        column: the feature.
        frequencies: training share of every level, in the order of `column.categories`; the last one is the
            share of gaps if `marks_gaps`.
        marks_gaps: whether "missing" is a level.
    """

    column: Column
    frequencies: tuple[float, ...]
    marks_gaps: bool

    @property
    def width(self) -> int:
        """How many encoded columns the feature takes."""
        return len(self.frequencies)

    def encode(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Encode a table column; (n,) -> (n, width), rows of one 1, or of zeros for a stranger."""
        positions = {level: position for position, level in enumerate(self.column.categories)}
        missing = len(positions) if self.marks_gaps else -1
        codes = np.array(
            [
                missing if level is None else positions.get(level, -1)
                for level in self.column.to_levels(values)
            ],
            dtype=np.intp,
        )
        return np.asarray(codes[:, None] == np.arange(self.width), dtype=np.float64)

    def contract(self, gradient: NDArray[np.float64], encoded: NDArray[np.float64]) -> NDArray[np.float64]:
        """Turn d/d(encoded) (..., width) into the row's contrast against the training mix (...)."""
        return np.asarray((gradient * (encoded - np.array(self.frequencies))).sum(axis=-1))

    def to_json(self) -> dict[str, Any]:
        """Give what the Column does not already tell."""
        return {"frequencies": list(self.frequencies), "marks_gaps": self.marks_gaps}


Block = QuantityBlock | LevelBlock


@dataclass(frozen=True)
class Encoder:
    """Tables to matrices and back from gradients to features; build one with `Encoder.fit`.

    Encoded columns stand in the alphabetical order of the features' names, so that the order of the training
    table's columns changes nothing, down to the last bit.

    Attributes:
        blocks: one block a feature, in the schema's order.
        scaling: the scaling of the quantities.
    """

    blocks: tuple[Block, ...]
    scaling: Scaling

    @classmethod
    def fit(cls, table: Table, features: tuple[Column, ...], scaling: Scaling) -> Encoder:
        """Fit scalings and level frequencies to a training table.

        Raises:
            InputError: more than MAX_ENCODED_COLUMNS encoded columns.
        """
        encoder = cls(tuple(_fit_block(column, table[column.name], scaling) for column in features), scaling)
        if encoder.width > MAX_ENCODED_COLUMNS:
            widest = max(encoder.blocks, key=lambda block: block.width).column.name
            raise InputError(
                f"the table needs {encoder.width} encoded columns, more than {MAX_ENCODED_COLUMNS}; "
                f"leave out columns with many levels, first of all {widest!r}"
            )
        return encoder

    @property
    def features(self) -> tuple[Column, ...]:
        """The features, in order; d of them."""
        return tuple(block.column for block in self.blocks)

    @property
    def width(self) -> int:
        """The number p of encoded columns."""
        return sum(block.width for block in self.blocks)

    @cached_property
    def groups(self) -> tuple[slice, ...]:
        """The encoded columns of every feature, in the order of `features`."""
        slices: dict[str, slice] = {}
        start = 0
        for block in sorted(self.blocks, key=lambda block: block.column.name):
            slices[block.column.name] = slice(start, start + block.width)
            start += block.width
        return tuple(slices[block.column.name] for block in self.blocks)

    def encode(self, table: Table) -> NDArray[np.float64]:
        """Encode a table by column name; columns that are no feature are ignored.

        Returns:
            Matrix (n, p) without NaN.

        Raises:
            InputError: missing feature columns, or cells of the wrong type.
        """
        table = table.select(column.name for column in self.features)
        encoded = np.empty((len(table), self.width))
        for block, group in zip(self.blocks, self.groups, strict=True):
            encoded[:, group] = block.encode(table[block.column.name])
        return encoded

    def encode_feature(self, name: str, values: NDArray[Any]) -> NDArray[np.float64]:
        """Encode values of one feature, (m,) in a table's normal form -> (m, width of its group).

        Raises:
            InputError: no such feature, or cells of the wrong type.
        """
        for block in self.blocks:
            if block.column.name == name:
                return block.encode(values)
        raise InputError(
            f"unknown feature {name!r}; the model's features are {[c.name for c in self.features]}"
        )

    def contract(self, gradient: NDArray[np.float64], encoded: NDArray[np.float64]) -> NDArray[np.float64]:
        """Bring gradients from encoded columns back to features.

        A quantity's entry is the derivative per training standard deviation of the column itself: the chain
        rule of the scaling is applied. A category's or boolean's entry is the contrast of the row's level
        against the training mix, gradient . (level - frequencies), which is linear in the gradient. A row
        with a gap in a quantity that had gaps at training has the same contrast for the gap, for there is no
        value to move.

        Args:
            gradient: (n, p) or (n, outputs, p), derivatives with respect to encoded columns.
            encoded: (n, p), where they were taken.

        Returns:
            (n, d) or (n, outputs, d).
        """
        if gradient.ndim == 3:
            encoded = encoded[:, None, :]
        contracted = np.empty((*gradient.shape[:-1], len(self.blocks)))
        for position, (block, group) in enumerate(zip(self.blocks, self.groups, strict=True)):
            at = np.broadcast_to(encoded[..., group], gradient[..., group].shape)
            contracted[..., position] = block.contract(gradient[..., group], at)
        return contracted

    def deviations(self, table: Table) -> NDArray[np.float64]:
        """Give what a driver multiplies a contracted gradient with: how far a row is from typical, (n, d).

        A quantity's entry is (value - training mean) / training sd; for a category, a boolean and a gap that
        the model was taught it is 1, for their contrast already compares with the training mix.
        """
        deviations = np.ones((len(table), len(self.blocks)))
        for position, block in enumerate(self.blocks):
            if isinstance(block, QuantityBlock):
                column = block.column
                numbers = column.to_numbers(table[column.name])
                scores = (numbers - (column.mean or 0.0)) / (column.std or 1.0)
                deviations[:, position] = np.where(np.isnan(scores), float(block.marks_gaps), scores)
        return deviations

    def units(self, table: Table) -> NDArray[np.float64]:
        """Give what a contracted gradient is divided by to be per unit of the column, (n, d).

        The training sd for a quantity (1 for a constant one); 1 for levels and for gaps that the model was
        taught.
        """
        units = np.ones((len(table), len(self.blocks)))
        for position, block in enumerate(self.blocks):
            if isinstance(block, QuantityBlock):
                gaps = is_missing(table[block.column.name]) & block.marks_gaps
                units[:, position] = np.where(gaps, 1.0, block.column.std or 1.0)
        return units

    def to_json(self) -> dict[str, Any]:
        """Give the encoder as a JSON object; the features themselves are the schema's."""
        return {"scaling": self.scaling, "blocks": [block.to_json() for block in self.blocks]}

    @classmethod
    def from_json(cls, document: Mapping[str, Any], features: tuple[Column, ...]) -> Encoder:
        """Read what `to_json` wrote."""
        return cls(
            tuple(
                _block_from_json(column, block)
                for column, block in zip(features, document["blocks"], strict=True)
            ),
            document["scaling"],
        )


def _fit_block(column: Column, values: NDArray[Any], scaling: Scaling) -> Block:
    marks_gaps = 0.0 < column.missing_share < 1.0
    if not column.is_levelled:
        return QuantityBlock(column, fit_curve(scaling, column.to_numbers(values)), marks_gaps)
    encoded = LevelBlock(column, (0.0,) * (len(column.categories) + marks_gaps), marks_gaps).encode(values)
    return LevelBlock(column, tuple(encoded.mean(axis=0).tolist()), marks_gaps)


def _block_from_json(column: Column, document: Mapping[str, Any]) -> Block:
    if column.is_levelled:
        return LevelBlock(column, tuple(document["frequencies"]), document["marks_gaps"])
    return QuantityBlock(column, curve_from_json(document["curve"]), document["marks_gaps"])
