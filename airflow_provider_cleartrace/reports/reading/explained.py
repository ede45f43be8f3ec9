"""Explained rows: how drivers work over all of them, reasons counted, chosen rows in detail."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow_provider_cleartrace.reports.facts import (
    Driver,
    Drivers,
    ReasonCount,
    Reasons,
)
from airflow_provider_cleartrace.reports.reading.results import Result
from airflow_provider_cleartrace.storage.layouts import FEATURE, PERSONA
from airflow_provider_cleartrace.storage.tables import numbers

if TYPE_CHECKING:
    import pyarrow as pa

LISTED_DRIVERS = 30
"""Global drivers in the table; the page's plot shows fewer."""

LEADING = 3
"""Drivers that the summary names."""

LISTED_REASONS = 20

Reason = tuple[str, str]
"""Its code and its text."""

Placed = tuple[int, str, float]
"""A driver: the place of its row, its feature, and its value."""


@dataclass
class ChosenRow:
    """A row to show, as the explanations tell it; ``reasons`` are codes with texts, strongest first."""

    identity: str
    persona: str | None
    reasons: list[Reason]
    drivers: dict[str, float] = field(default_factory=dict)


@dataclass
class Explained:
    """What one pass through the explanations finds.

    Attributes:
        rows: rows so far.
        raised: feature to the number of rows in which its driver is above 0.
        named: reason to the number of rows that have it; ``first``: as the first one.
        with_reason: rows with any reason.
        chosen: place of a row to the row.
    """

    rows: int = 0
    raised: Counter[str] = field(default_factory=Counter)
    named: Counter[Reason] = field(default_factory=Counter)
    first: Counter[Reason] = field(default_factory=Counter)
    with_reason: int = 0
    chosen: dict[int, ChosenRow] = field(default_factory=dict)

    def reasons(self) -> Reasons | None:
        """The reasons given, most frequent first."""
        if not self.named:
            return None
        ranked = sorted(self.named.items(), key=lambda item: (-item[1], item[0]))
        return Reasons(
            rows=self.with_reason,
            share=self.with_reason / self.rows,
            n_codes=len(ranked),
            listed=tuple(
                ReasonCount(
                    code=key[0], text=key[1], rows=count, share=count / self.rows, first=self.first[key]
                )
                for key, count in ranked[:LISTED_REASONS]
            ),
        )


def read_explained(result: Result, chosen: Collection[int]) -> Explained:
    """Read the drivers, reasons and personas of all rows; keep the rows at the places chosen."""
    layout, told = result.layout, Explained()
    parts = [f"reason_{rank}_{part}" for rank in range(1, layout.reasons + 1) for part in ("code", "text")]
    told_once = [*result.ids, *parts, *([PERSONA] if layout.persona else [])]
    per_line = [FEATURE] if layout.long else []
    add_drivers = _add_long if layout.long else _add_wide
    for batch in result.table.batches(list(dict.fromkeys([*told_once, *per_line, *layout.drivers]))):
        places = add_drivers(told, batch, result, chosen)
        begins = batch.filter(layout.begins(batch)) if layout.long else batch
        _add_rows(told, begins, result, chosen)
        for place, feature, driver in places:
            told.chosen[place].drivers[feature] = driver
    return told


def _add_rows(told: Explained, rows: pa.RecordBatch, result: Result, chosen: Collection[int]) -> None:
    """Count the reasons of rows, and keep what is told once of those chosen."""
    given = list(_reasons(rows, result.layout.reasons))
    for own in given:
        told.with_reason += bool(own)
        told.named.update(set(own))
        told.first.update(own[:1])
    for place in (place for place in chosen if told.rows <= place < told.rows + rows.num_rows):
        offset = place - told.rows
        one = rows.slice(offset, 1)
        told.chosen[place] = ChosenRow(
            identity=result.identities(one)[0],
            persona=one.column(PERSONA)[0].as_py() if result.layout.persona else None,
            reasons=given[offset] if given else [],
        )
    told.rows += rows.num_rows


def _reasons(batch: pa.RecordBatch, most: int) -> Iterator[list[Reason]]:
    """The reasons of each row, strongest first."""
    if not most:
        return
    columns = [
        [batch.column(f"reason_{rank}_{part}").to_pylist() for part in ("code", "text")]
        for rank in range(1, most + 1)
    ]
    for row in range(batch.num_rows):
        yield [
            (str(codes[row]), "" if texts[row] is None else str(texts[row]))
            for codes, texts in columns
            if codes[row] not in {None, ""}
        ]


def _add_wide(
    told: Explained, batch: pa.RecordBatch, result: Result, chosen: Collection[int]
) -> list[Placed]:
    """Count drivers above 0; gives those of the chosen rows."""
    features = result.layout.features
    drivers = numbers(batch, result.layout.drivers, result.table.uri)
    told.raised.update(dict(zip(features, (drivers > 0).sum(axis=0).tolist(), strict=True)))
    return [
        (place, feature, driver)
        for place in chosen
        if told.rows <= place < told.rows + batch.num_rows
        for feature, driver in zip(features, drivers[place - told.rows].tolist(), strict=True)
    ]


def _add_long(
    told: Explained, batch: pa.RecordBatch, result: Result, chosen: Collection[int]
) -> list[Placed]:
    """The same of lines for each row and feature; a row may have begun in an earlier batch."""
    import numpy as np  # noqa: PLC0415  (loads where rows are touched, never with a DAG)

    places = told.rows - 1 + np.cumsum(result.layout.begins(batch).to_numpy(zero_copy_only=False))
    drivers = numbers(batch, result.layout.drivers, result.table.uri)[:, 0]
    coded = batch.column(FEATURE).dictionary_encode()
    names = [str(name) for name in coded.dictionary.to_pylist()]
    features = coded.indices.to_numpy()
    counts = np.bincount(features, weights=drivers > 0, minlength=len(names)).astype(int)
    told.raised.update(dict(zip(names, counts.tolist(), strict=True)))
    return [
        (int(places[line]), names[features[line]], float(drivers[line]))
        for line in np.flatnonzero(np.isin(places, list(chosen))).tolist()
    ]


def global_drivers(shares: Sequence[tuple[str, float]], explained: Explained | None) -> Drivers | None:
    """The model's drivers, largest share first, with the way they work in the explained rows."""
    if not shares:
        return None
    ranked = sorted(shares, key=lambda pair: -pair[1])
    listed = ranked[:LISTED_DRIVERS]
    raised = explained.raised if explained is not None and explained.rows else {}
    rows = explained.rows if explained is not None else 0
    return Drivers(
        n_features=len(ranked),
        listed=tuple(
            Driver(
                rank=rank,
                feature=name,
                share=share,
                raising_share=raised[name] / rows if name in raised else None,
            )
            for rank, (name, share) in enumerate(listed, 1)
        ),
        leading_share=sum(share for _, share in ranked[:LEADING]),
        n_rest=len(ranked[LISTED_DRIVERS:]),
        rest_share=max(0.0, sum(share for _, share in ranked[LISTED_DRIVERS:])),
    )
