"""The predictions of all rows: where they lie, and which rows are worth a closer look."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from airflow_provider_cleartrace.reports.errors import ReportError
from airflow_provider_cleartrace.reports.facts import Bin, ClassShare, Predictions
from airflow_provider_cleartrace.reports.reading.results import Result
from airflow_provider_cleartrace.storage.layouts import FEATURE, Layout
from airflow_provider_cleartrace.storage.tables import numbers

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BINS = 20
"""Of a histogram: enough to see a shape, few enough to read; for probabilities each is 0.05 wide."""

DECISION_BOUNDARY = 0.5
"""The probability at which the class that a model predicts changes."""

Why = Literal["asked", "highest", "median", "lowest"]


@dataclass(frozen=True)
class Scores:
    """One figure a row, NaN where there is none: 8 bytes a row is all that grows with the input.

    ``winners`` is the most probable class of each row and ``means`` the mean probability of each class, of
    more than two; ``found`` maps an identity that was asked for to its row.
    """

    values: NDArray[np.float64]
    winners: NDArray[np.int64] | None = None
    means: Sequence[float] = ()
    found: dict[str, int] = field(default_factory=dict)


def read_scores(result: Result, asked: Collection[str] = ()) -> Scores:
    """Read the predictions of a file, and find the rows with the identities asked for.

    Raises:
        ReportError: no row has a prediction, or none has an identity that was asked for.
    """
    import numpy as np  # noqa: PLC0415  (loads where rows are touched, never with a DAG)

    layout, uri = result.layout, result.table.uri
    wanted = [*layout.predictions, *(result.ids if asked else ()), *((FEATURE,) if layout.long else ())]
    pieces, winners, found, position = [], [], dict[str, int](), 0
    sums = np.zeros(len(layout.predictions))
    for lines in result.table.batches(list(dict.fromkeys(wanted))):
        batch = lines.filter(layout.begins(lines)) if layout.long else lines
        answers = numbers(batch, layout.predictions, uri)
        if layout.classes:
            known = ~np.isnan(answers).any(axis=1)
            winners.append(np.where(known, np.nan_to_num(answers).argmax(axis=1), -1))
            sums += answers[known].sum(axis=0)
        pieces.append(answers.max(axis=1))
        for offset, identity in enumerate(result.identities(batch) if asked else ()):
            if identity in asked:
                found.setdefault(identity, position + offset)
        position += batch.num_rows
    values = np.concatenate(pieces) if pieces else np.empty(0)
    count = int((~np.isnan(values)).sum())
    if not count:
        raise ReportError(f"{uri}: no row has a prediction")
    if lost := [identity for identity in asked if identity not in found]:
        raise ReportError(f"{uri}: no row {lost[0]!r}; rows are named by {', '.join(result.ids)}")
    means = [float(total / count) for total in sums] if layout.classes else ()
    return Scores(values, np.concatenate(winners) if winners else None, means, found)


def describe(scores: Scores, layout: Layout, task: str | None) -> Predictions:
    """The distribution of the predictions.

    Args:
        scores: of all rows.
        layout: of the table they came from.
        task: what the model does, as its server tells: ``binary``, ``multiclass``, ``regression``.
    """
    import numpy as np  # noqa: PLC0415  (loads where rows are touched, never with a DAG)

    values = scores.values[~np.isnan(scores.values)]
    low, quarter, median, three_quarters, high = (
        float(value) for value in np.quantile(values, [0, 0.25, 0.5, 0.75, 1])
    )
    probability = (bool(layout.classes) or task in {"binary", "multiclass"}) and low >= 0 and high <= 1
    edges = np.linspace(0, 1, BINS + 1) if probability else np.asarray(round_edges(low, high))
    counts, _ = np.histogram(values, bins=edges)
    boundary = DECISION_BOUNDARY if probability and task == "binary" else None
    below = None if boundary is None else int((values < boundary).sum())
    above = None if below is None else len(values) - below
    return Predictions(
        scale="probability" if probability else "value",
        rows=len(scores.values),
        missing=len(scores.values) - len(values),
        mean=float(values.mean()),
        minimum=low,
        lower_quartile=quarter,
        median=median,
        upper_quartile=three_quarters,
        maximum=high,
        boundary=boundary,
        below=below,
        below_share=None if below is None else below / len(values),
        above=above,
        above_share=None if above is None else above / len(values),
        bins=tuple(
            Bin(low=round(float(edges[index]), 12), high=round(float(edges[index + 1]), 12), rows=int(count))
            for index, count in enumerate(counts)
        ),
        classes=_class_shares(scores, layout, len(values)),
    )


def _class_shares(scores: Scores, layout: Layout, rows: int) -> tuple[ClassShare, ...]:
    if scores.winners is None:
        return ()
    counts = [int((scores.winners == index).sum()) for index in range(len(layout.classes))]
    return tuple(
        ClassShare(label=label, rows=count, share=count / rows, mean_probability=mean)
        for label, count, mean in zip(layout.classes, counts, scores.means, strict=True)
    )


def round_edges(low: float, high: float) -> list[float]:
    """At most ``BINS`` + 1 edges around a range, at round numbers.

    A range without width has one bin.
    """
    if not high > low:
        return [low, math.nextafter(low, math.inf)]
    rough = (high - low) / BINS
    power = 10.0 ** math.floor(math.log10(rough))
    for factor in (1, 2, 2.5, 5, 10, 20):
        step = factor * power
        first, last = math.floor(low / step), math.ceil(high / step)
        if last - first <= BINS:
            return [index * step for index in range(first, last + 1)]
    raise AssertionError("a step of twenty times the least is wide enough")


def chosen_rows(scores: Scores, asked: Sequence[str]) -> dict[int, Why]:
    """Which rows to show: those asked for, or those of the highest, the median and the lowest prediction."""
    import numpy as np  # noqa: PLC0415  (loads where rows are touched, never with a DAG)

    if asked:
        return {scores.found[identity]: "asked" for identity in asked}
    known = np.flatnonzero(~np.isnan(scores.values))
    order = known[np.argsort(scores.values[known], kind="stable")]
    picked: dict[int, Why] = {int(order[-1]): "highest"}
    picked.setdefault(int(order[(len(order) - 1) // 2]), "median")
    picked.setdefault(int(order[0]), "lowest")
    return picked
