"""Explained rows: how drivers work over all of them, reasons counted, chosen rows in detail."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_cleartrace.reports.errors import ReportError
from airflow_provider_cleartrace.reports.facts import (
    Driver,
    Drivers,
    Reason,
    ReasonCount,
    Reasons,
    Row,
    RowDriver,
    is_number,
)
from airflow_provider_cleartrace.reports.figures import NONE
from airflow_provider_cleartrace.reports.layout import FEATURE, LONG_DRIVER, PERSONA, Layout
from airflow_provider_cleartrace.reports.predictions import Leading, Scores, Why
from airflow_provider_cleartrace.reports.tables import Table, identities, numbers

if TYPE_CHECKING:
    import pyarrow as pa

LISTED_DRIVERS = 30
"""Global drivers in the table; the page's plot shows fewer."""

LEADING = 3
"""Drivers that the summary names."""

ROW_DRIVERS = 8
"""Drivers of one row: what a reader compares at a glance."""

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


def row_details(
    explained: Explained,
    chosen: Mapping[int, Why],
    scores: Scores,
    layout: Layout,
    values: Mapping[str, Mapping[str, Any]],
) -> tuple[Row, ...]:
    """The chosen rows with their strongest drivers.

    Args:
        explained: what the explanations tell of them.
        chosen: row to why it is shown, in the order to show them in.
        scores: the rows' predictions.
        layout: of the explanations.
        values: identity to the row's values by feature, where they are known.

    Raises:
        ReportError: a chosen row has no prediction.
    """
    rows = []
    for position, why in chosen.items():
        told = explained.chosen[position]
        prediction = float(scores.values[position])
        if not is_number(prediction) or prediction != prediction:
            raise ReportError(f"row {told['identity']!r} has no prediction")
        known = {name: value for name, value in told["drivers"].items() if value == value}
        ranked = sorted(known.items(), key=lambda pair: -abs(pair[1]))
        own = values.get(told["identity"], {})
        rows.append(
            Row(
                identity=told["identity"],
                why=why,
                prediction=prediction,
                label=None if scores.winners is None else layout.classes[scores.winners[position]],
                drivers=tuple(
                    RowDriver(
                        feature=name, value=value_text(own[name]) if name in own else None, driver=driver
                    )
                    for name, driver in ranked[:ROW_DRIVERS]
                ),
                n_rest=len(ranked[ROW_DRIVERS:]),
                rest=sum(abs(driver) for _, driver in ranked[ROW_DRIVERS:]),
                reasons=tuple(Reason(code=code, text=text) for code, text in told["reasons"]),
                persona=None if told["persona"] is None else str(told["persona"]),
            )
        )
    return tuple(rows)


def row_values(
    data: Table, layout: Layout, chosen: Mapping[int, str], features: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """The features of chosen rows in the data they were made from.

    Args:
        data: found by the id columns, where it has them; otherwise by the rows' numbers.
        layout: of the explanations.
        chosen: row to its identity.
        features: the features to read; those that the data lacks are left out.

    Raises:
        ReportError: rows are neither named by columns of the data nor numbered.
    """
    wanted = [name for name in features if name in data.columns]
    by_name = all(name in data.columns for name in layout.ids)
    if not by_name and layout.ids != ("row",):
        raise ReportError(f"{data.uri}: no id columns {', '.join(map(repr, layout.ids))} to find rows by")
    asked = {str(identity) for identity in chosen.values()}
    found: dict[str, dict[str, Any]] = {}
    first = 0
    for batch in data.batches(list(dict.fromkeys([*wanted, *(layout.ids if by_name else ())]))):
        if by_name:
            places = {
                identity: offset
                for offset, identity in enumerate(identities(batch, layout.ids))
                if identity in asked
            }
        else:
            places = {
                str(row): int(row) - first for row in asked if first <= int(row) < first + batch.num_rows
            }
        for identity, offset in places.items():
            found[identity] = batch.slice(offset, 1).select(wanted).to_pylist()[0]
        first += batch.num_rows
        if len(found) == len(asked):
            break
    return found


def value_text(value: Any) -> str:
    """A cell of the data as text: numbers without noise digits."""
    if value is None or value != value:
        return NONE
    return f"{value:.6g}" if isinstance(value, float) else str(value)
