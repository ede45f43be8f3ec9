"""Chosen rows in detail: their strongest drivers, beside their values in the data."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from airflow_provider_cleartrace.reports.errors import ReportError
from airflow_provider_cleartrace.reports.facts import Reason, Row, RowDriver, is_number
from airflow_provider_cleartrace.reports.reading.explained import Explained
from airflow_provider_cleartrace.reports.reading.predictions import Scores, Why
from airflow_provider_cleartrace.reports.reading.results import Result
from airflow_provider_cleartrace.reports.texts import NONE
from airflow_provider_cleartrace.storage.tables import Table, identities

ROW = "row"
"""The column that numbers rows which have no names."""

ROW_DRIVERS = 8
"""Drivers of one row: what a reader compares at a glance."""


def row_details(
    explained: Explained,
    chosen: Mapping[int, Why],
    scores: Scores,
    classes: Sequence[str],
    values: Mapping[str, Mapping[str, Any]],
    *,
    raw_gradient: bool,
) -> tuple[Row, ...]:
    """The chosen rows with their strongest drivers.

    Args:
        explained: what the explanations tell of them.
        chosen: row to why it is shown, in the order to show them in.
        scores: the rows' predictions.
        classes: where each has a probability of its own.
        values: identity to the row's values by feature, where they are known.
        raw_gradient: drivers are per unit of their features: they do not compare, so that none is shown.

    Raises:
        ReportError: a chosen row has no prediction.
    """
    rows = []
    for position, why in chosen.items():
        told = explained.chosen[position]
        prediction = float(scores.values[position])
        if not is_number(prediction) or prediction != prediction:
            raise ReportError(f"row {told.identity!r} has no prediction")
        drivers = {} if raw_gradient else told.drivers
        known = {name: value for name, value in drivers.items() if value == value}
        ranked = sorted(known.items(), key=lambda pair: -abs(pair[1]))
        own = values.get(told.identity, {})
        rows.append(
            Row(
                identity=told.identity,
                why=why,
                prediction=prediction,
                label=None if scores.winners is None else classes[scores.winners[position]],
                drivers=tuple(
                    RowDriver(
                        feature=name, value=value_text(own[name]) if name in own else None, driver=driver
                    )
                    for name, driver in ranked[:ROW_DRIVERS]
                ),
                n_rest=len(ranked[ROW_DRIVERS:]),
                rest=sum(abs(driver) for _, driver in ranked[ROW_DRIVERS:]),
                reasons=tuple(Reason(code=code, text=text) for code, text in told.reasons),
                persona=told.persona,
            )
        )
    return tuple(rows)


def row_values(
    data: Table, result: Result, asked: Collection[str], features: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """The features of chosen rows in the data they were made from.

    Args:
        data: found by the id columns, where it has them; otherwise by the rows' numbers.
        result: the explanations.
        asked: identities of the rows.
        features: the features to read; those that the data lacks are left out.

    Raises:
        ReportError: rows are neither named by columns of the data nor numbered.
    """
    wanted = [name for name in features if name in data.columns]
    ids = result.ids
    by_name = all(name in data.columns for name in ids)
    if not by_name and ids != (ROW,):
        raise ReportError(f"{data.uri}: no id columns {', '.join(map(repr, ids))} to find rows by")
    found: dict[str, dict[str, Any]] = {}
    first = 0
    for batch in data.batches(list(dict.fromkeys([*wanted, *(ids if by_name else ())]))):
        if by_name:
            places = {
                identity: offset
                for offset, identity in enumerate(identities(batch, ids))
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
