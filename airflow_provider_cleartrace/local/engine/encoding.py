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
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from airflow_provider_cleartrace.local.engine.errors import InputError
from airflow_provider_cleartrace.local.engine.schema import Column
from airflow_provider_cleartrace.local.engine.table import Table, is_missing

Scaling = Literal["standard", "robust", "quantile"]
SCALINGS: tuple[Scaling, ...] = ("standard", "robust", "quantile")

MAX_ENCODED_COLUMNS = 3000
"""The learned metric is a square matrix of this size; beyond it, memory and time go into sparse levels."""

_CLIP = 3.0
"""The smooth clip keeps a robust score within +-3."""
_IQR_OF_NORMAL = 1.349
"""The interquartile range of a standard normal variable."""
_FARTHEST = 1e6
"""Encoded values stop here: no training row is anywhere near, and squares of larger ones could overflow."""
_KNOTS = 64
"""Quantiles that describe a column for normal scores."""


class Curve(Protocol):
    """An increasing, differentiable map from a column's values to its encoded values."""

    def forward(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Encode values."""

    def slope(self, encoded: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give d(encoded)/d(value) at encoded values."""

    def to_json(self) -> dict[str, Any]:
        """Give the curve as a JSON object that `curve_from_json` reads."""


@dataclass(frozen=True)
class Affine:
    """Standardising: (value - centre) / scale. A scale of 0 makes the column a constant."""

    centre: float
    scale: float

    def forward(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Encode values."""
        return (values - self.centre) * self._rate

    def slope(self, encoded: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give d(encoded)/d(value)."""
        return np.full_like(encoded, self._rate)

    @property
    def _rate(self) -> float:
        return 1.0 / self.scale if self.scale > 0 else 0.0

    def to_json(self) -> dict[str, Any]:
        """Give the curve as a JSON object."""
        return {"curve": "affine", "centre": self.centre, "scale": self.scale}


@dataclass(frozen=True)
class SmoothClip:
    """A robust score r = (value - centre) / scale, bent into +-3: r / sqrt(1 + (r/3)^2).

    The bend is the one of RealMLP (Holzmueller, Grinsztajn and Steinwart, NeurIPS 2024).
    """

    centre: float
    scale: float

    def forward(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Encode values."""
        score = (values - self.centre) / self.scale
        return score / np.hypot(1.0, score / _CLIP)

    def slope(self, encoded: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give d(encoded)/d(value); the bend u has the derivative (1 - (u/3)^2)^(3/2)."""
        return np.clip(1 - (encoded / _CLIP) ** 2, 0, None) ** 1.5 / self.scale

    def to_json(self) -> dict[str, Any]:
        """Give the curve as a JSON object."""
        return {"curve": "smooth_clip", "centre": self.centre, "scale": self.scale}


@dataclass(frozen=True)
class NormalScores:
    """A monotone spline from quantiles of the column to normal scores, straight beyond its ends.

    Between knots it is the rational quadratic of Gregory and Delbourgo (IMA J. Numer. Anal. 2, 1982): once
    differentiable, monotone, and with an inverse in closed form, so that slopes are exact at encoded values
    too.

    Attributes:
        values: the knots, increasing; at least two.
        scores: the encoded values at the knots, increasing.
        slopes: d(score)/d(value) at the knots, positive.
    """

    values: tuple[float, ...]
    scores: tuple[float, ...]
    slopes: tuple[float, ...]

    def forward(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Encode values."""
        inside = np.clip(values, self._x[0], self._x[-1])
        segment = self._segment(self._x, inside)
        start, width, rise, secant, left, right = self._geometry(segment)
        t = (inside - start) / width
        bend = t * (1 - t)
        inner = rise * (secant * t**2 + left * bend) / (secant + (left + right - 2 * secant) * bend)
        below = np.minimum(values - self._x[0], 0) * self._d[0]
        above = np.maximum(values - self._x[-1], 0) * self._d[-1]
        return np.asarray(self._u[segment] + inner + below + above)

    def slope(self, encoded: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give d(encoded)/d(value), after inverting the spline."""
        inside = np.clip(encoded, self._u[0], self._u[-1])
        segment = self._segment(self._u, inside)
        _, _, rise, secant, left, right = self._geometry(segment)
        height = inside - self._u[segment]
        excess = left + right - 2 * secant
        a = rise * (secant - left) + height * excess
        b = rise * left - height * excess
        c = -secant * height
        t = 2 * c / (-b - np.sqrt(np.maximum(b**2 - 4 * a * c, 0)))
        bend = t * (1 - t)
        top = secant**2 * (right * t**2 + 2 * secant * bend + left * (1 - t) ** 2)
        return np.asarray(top / (secant + excess * bend) ** 2)

    def to_json(self) -> dict[str, Any]:
        """Give the curve as a JSON object."""
        lists = {"values": list(self.values), "scores": list(self.scores), "slopes": list(self.slopes)}
        return {"curve": "normal_scores", **lists}

    @cached_property
    def _x(self) -> NDArray[np.float64]:
        return np.array(self.values)

    @cached_property
    def _u(self) -> NDArray[np.float64]:
        return np.array(self.scores)

    @cached_property
    def _d(self) -> NDArray[np.float64]:
        return np.array(self.slopes)

    @staticmethod
    def _segment(knots: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.intp]:
        return np.clip(np.searchsorted(knots, at, side="right") - 1, 0, len(knots) - 2)

    def _geometry(self, segment: NDArray[np.intp]) -> tuple[NDArray[np.float64], ...]:
        start, width = self._x[segment], np.diff(self._x)[segment]
        rise = np.diff(self._u)[segment]
        return start, width, rise, rise / width, self._d[segment], self._d[segment + 1]


def fit_curve(scaling: Scaling, values: NDArray[np.float64]) -> Curve:
    """Fit the curve of one quantity to its training values (gaps allowed).

    A column that is constant, or has too little spread in its middle half for the robust scale, falls back on
    the plain standard deviation; a constant one is encoded as 0.
    """
    present = values[~np.isnan(values)]
    distinct, counts = np.unique(present, return_counts=True)
    if len(distinct) < 2:
        return Affine(float(distinct[0]) if len(distinct) else 0.0, 0.0)
    if scaling == "standard":
        return Affine(float(present.mean()), float(present.std()))
    if scaling == "robust":
        low, median, high = np.percentile(present, [25, 50, 75])
        scale = float(high - low) / _IQR_OF_NORMAL
        return SmoothClip(float(median), scale if scale > 0 else float(present.std()))
    return _normal_scores(distinct, counts)


def _normal_scores(distinct: NDArray[np.float64], counts: NDArray[np.int64]) -> Curve:
    middle = (np.cumsum(counts) - counts / 2) / counts.sum()
    if len(distinct) > _KNOTS:
        kept = np.unique(
            np.searchsorted(middle, np.linspace(middle[0], middle[-1], _KNOTS)).clip(max=len(middle) - 1)
        )
        distinct, middle = distinct[kept], middle[kept]
    scores = ndtri(middle)
    secants = np.diff(scores) / np.diff(distinct)
    # The harmonic mean keeps the slope small next to a flat stretch, and needs no tuning.
    inner = 2 * secants[:-1] * secants[1:] / (secants[:-1] + secants[1:])
    slopes = np.concatenate([secants[:1], inner, secants[-1:]])
    return NormalScores(tuple(distinct.tolist()), tuple(scores.tolist()), tuple(slopes.tolist()))


def curve_from_json(document: Mapping[str, Any]) -> Curve:
    """Read the curve that a `to_json` wrote."""
    fields = {key: value for key, value in document.items() if key != "curve"}
    if document["curve"] == "affine":
        return Affine(**fields)
    if document["curve"] == "smooth_clip":
        return SmoothClip(**fields)
    return NormalScores(**{key: tuple(value) for key, value in fields.items()})


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
