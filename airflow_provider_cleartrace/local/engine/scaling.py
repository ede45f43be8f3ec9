"""How quantities are scaled: increasing, differentiable curves from a column's values to encoded values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

Scaling = Literal["standard", "robust", "quantile"]
SCALINGS: tuple[Scaling, ...] = ("standard", "robust", "quantile")

_CLIP = 3.0
"""The smooth clip keeps a robust score within +-3."""
_IQR_OF_NORMAL = 1.349
"""The interquartile range of a standard normal variable."""
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
