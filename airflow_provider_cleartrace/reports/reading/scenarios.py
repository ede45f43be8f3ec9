"""Scenarios: how many rows have a way to the wanted class, what it takes, and some of them in detail."""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_cleartrace.reports.errors import ReportError
from airflow_provider_cleartrace.reports.facts import Edit, EditedFeature, ScenarioRow, Scenarios
from airflow_provider_cleartrace.reports.reading.results import id_columns_of
from airflow_provider_cleartrace.reports.reading.rows import value_text
from airflow_provider_cleartrace.storage.tables import Table, identities, numbers

FIGURES = ("scenario", "n_changes", "prediction", "baseline_prediction")
COLUMNS = (*FIGURES, "changes", "already_at_desired_class")

SHOWN_ROWS = 4
LISTED_FEATURES = 10


@dataclass
class _Searched:
    """A row that was searched for: its scenario of fewest edits, and how many scenarios it has.

    ``rank`` is the number of its last scenario so far, NaN where it has none.
    """

    identity: str
    rank: float
    before: float
    after: float
    changes: str
    already_there: bool
    found: int


def read_scenarios(table: Table, id_columns: Sequence[str], asked: Collection[str] = ()) -> Scenarios:
    """Read what a Scenario task wrote: one line a scenario, a row's in a sequence with the best first.

    The file is read twice, for its figures and for the rows to show; 8 bytes of each row are held.

    Args:
        table: the file.
        id_columns: columns that identify a row; by default those that its manifest tells.
        asked: identities of rows to show before others.

    Raises:
        ReportError: the table lacks a column of scenarios.
    """
    if not table.columns:  # JSON Lines without a line: no row was to be searched for
        return Scenarios(rows=0, needed=0, solved=0, solved_share=0.0, already_there=0, unsolved=0)
    if missing := [name for name in COLUMNS if name not in table.columns]:
        raise ReportError(f"{table.uri}: no column {missing[0]!r}: not an output of a Scenario task")
    ids = id_columns_of(table, id_columns)
    befores = array("d")
    wanted: dict[str, int] = {}
    edited: Counter[str] = Counter()
    rows = there = 0
    for row in _rows(table, ids):
        rows += 1
        there += row.already_there
        if row.found:
            if row.identity in asked:
                wanted.setdefault(row.identity, len(befores))
            edited.update(_changes(row.changes, table.uri).keys())
            befores.append(row.before)
    solved, needed = len(befores), rows - there
    return Scenarios(
        rows=rows,
        needed=needed,
        solved=solved,
        solved_share=solved / needed if needed else 0.0,
        already_there=there,
        unsolved=needed - solved,
        mean_edits=edited.total() / solved if solved else None,
        features=tuple(
            EditedFeature(feature=name, rows=count, share=count / solved)
            for name, count in edited.most_common(LISTED_FEATURES)
        ),
        shown=_shown(table, ids, _chosen(befores, [wanted[name] for name in asked if name in wanted])),
    )


def _rows(table: Table, ids: Sequence[str]) -> Iterator[_Searched]:
    """The rows that were searched for, each put together of its lines."""
    row: _Searched | None = None
    for batch in table.batches(list(dict.fromkeys([*ids, *COLUMNS]))):
        figures = numbers(batch, FIGURES, table.uri).tolist()
        changes = batch.column("changes").to_pylist()
        reached = batch.column("already_at_desired_class").to_pylist()
        for line, identity in enumerate(identities(batch, ids)):
            rank, _, after, before = figures[line]
            if row is not None and row.identity == identity and rank > row.rank:
                row.rank, row.found = rank, row.found + 1
                continue
            if row is not None:
                yield row
            there = str(reached[line]).lower() == "true"
            row = _Searched(identity, rank, before, after, changes[line], there, int(rank == rank))
    if row is not None:
        yield row


def _chosen(befores: array[float], wanted: Sequence[int]) -> list[int]:
    """Places of solved rows: those asked for, then the lowest, the middle and the highest before edits."""
    import numpy as np  # noqa: PLC0415  (loads where rows are touched, never with a DAG)

    if not befores:
        return []
    order = np.argsort(np.frombuffer(befores), kind="stable")
    typical = [int(order[rank]) for rank in (0, (len(order) - 1) // 2, -1)]
    return list(dict.fromkeys([*wanted, *typical]))[: max(SHOWN_ROWS, len(wanted))]


def _shown(table: Table, ids: Sequence[str], places: Sequence[int]) -> tuple[ScenarioRow, ...]:
    solved = (row for row in _rows(table, ids) if row.found)
    told: dict[int, ScenarioRow] = {}
    for place, row in enumerate(solved if places else ()):
        if place in places:
            told[place] = ScenarioRow(
                identity=row.identity,
                before=row.before,
                after=row.after,
                found=row.found,
                edits=tuple(
                    Edit(feature=name, before=before, after=after)
                    for name, (before, after) in _changes(row.changes, table.uri).items()
                ),
            )
        if len(told) == len(places):
            break
    return tuple(told[place] for place in places)


def _changes(changes: str, uri: str) -> dict[str, tuple[str, str]]:
    """The edited features with their values before and after."""
    try:
        told: dict[str, dict[str, Any]] = json.loads(changes)
        return {name: (value_text(edit["from"]), value_text(edit["to"])) for name, edit in told.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ReportError(f"{uri}: a value of 'changes' is no JSON of edits") from None
