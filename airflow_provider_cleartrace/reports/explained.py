"""Explained rows: how drivers work over all of them, reasons counted, chosen rows in detail."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_cleartrace.reports.facts import (
    Driver,
    Drivers,
    ReasonCount,
    Reasons,
)
from airflow_provider_cleartrace.reports.layout import FEATURE, LONG_DRIVER, PERSONA, Layout
from airflow_provider_cleartrace.reports.predictions import Leading, Why
from airflow_provider_cleartrace.storage.tables import Table, identities, numbers

if TYPE_CHECKING:
    import pyarrow as pa

LISTED_DRIVERS = 30
"""Global drivers in the table; the page's plot shows fewer."""

LEADING = 3
"""Drivers that the summary names."""

LISTED_REASONS = 20


@dataclass
class Explained:
    """What one pass through the explanations finds.

    Attributes:
        rows: rows so far.
        raised: feature to the number of rows in which its driver is above 0.
        named: (code, text) to the number of rows with this reason; ``first``: as the first one.
        with_reason: rows with any reason.
        chosen: row to its identity, reasons, persona and drivers.
    """

    rows: int = 0
    raised: Counter[str] = field(default_factory=Counter)
    named: Counter[tuple[str, str]] = field(default_factory=Counter)
    first: Counter[tuple[str, str]] = field(default_factory=Counter)
    with_reason: int = 0
    chosen: dict[int, dict[str, Any]] = field(default_factory=dict)

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


def read_explained(table: Table, layout: Layout, chosen: Mapping[int, Why]) -> Explained:
    """Read the drivers, reasons and personas of all rows; keep those of the chosen ones."""
    told = Explained()
    if layout.long:
        _read_long(table, layout, chosen, told)
        return told
    parts = [f"reason_{rank}_{part}" for rank in range(1, layout.reasons + 1) for part in ("code", "text")]
    persona = [PERSONA] if layout.persona else []
    wanted = list(dict.fromkeys([*layout.ids, *layout.drivers.values(), *parts, *persona]))
    names = list(layout.drivers)
    for batch in table.batches(wanted):
        drivers = numbers(batch, list(layout.drivers.values()), table.uri)
        told.raised.update(dict(zip(names, (drivers > 0).sum(axis=0).tolist(), strict=True)))
        given = list(_reasons(batch, layout.reasons))
        for own in given:
            told.with_reason += bool(own)
            told.named.update(set(own))
            told.first.update(own[:1])
        for position in _within(chosen, told.rows, batch.num_rows):
            offset = position - told.rows
            one = batch.slice(offset, 1)
            told.chosen[position] = {
                "identity": identities(one, layout.ids)[0],
                "drivers": dict(zip(names, drivers[offset].tolist(), strict=True)),
                "reasons": given[offset] if given else [],
                "persona": one.column(PERSONA)[0].as_py() if layout.persona else None,
            }
        told.rows += batch.num_rows
    return told


def _within(chosen: Mapping[int, Why], first: int, count: int) -> list[int]:
    return [position for position in chosen if first <= position < first + count]


def _reasons(batch: pa.RecordBatch, most: int) -> Iterator[list[tuple[str, str]]]:
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


def _read_long(table: Table, layout: Layout, chosen: Mapping[int, Why], told: Explained) -> None:
    import numpy as np  # noqa: PLC0415  (loads where rows are touched, never with a DAG)

    persona = [PERSONA] if layout.persona else []
    leading = Leading()
    for batch in table.batches(list(dict.fromkeys([*layout.ids, FEATURE, LONG_DRIVER, *persona]))):
        begins = leading.mask(batch).to_numpy(zero_copy_only=False)
        positions = told.rows - 1 + np.cumsum(begins)
        drivers = numbers(batch, [LONG_DRIVER], table.uri)[:, 0]
        coded = batch.column(FEATURE).dictionary_encode()
        names = coded.dictionary.to_pylist()
        counts = np.bincount(coded.indices.to_numpy(), weights=drivers > 0, minlength=len(names))
        told.raised.update(dict(zip(map(str, names), counts.astype(int).tolist(), strict=True)))
        for entry in np.flatnonzero(np.isin(positions, list(chosen))):
            one = batch.slice(int(entry), 1)
            own = told.chosen.setdefault(
                int(positions[entry]),
                {
                    "identity": identities(one, layout.ids)[0],
                    "drivers": {},
                    "reasons": [],
                    "persona": one.column(PERSONA)[0].as_py() if layout.persona else None,
                },
            )
            own["drivers"][str(one.column(FEATURE)[0])] = float(drivers[entry])
        told.rows += int(begins.sum())


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
