"""Scenarios: how many rows have a way to the wanted class, what it takes, and some of them in detail."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_cleartrace.reports.errors import ReportError
from airflow_provider_cleartrace.reports.facts import Edit, EditedFeature, ScenarioRow, Scenarios
from airflow_provider_cleartrace.reports.rows import value_text
from airflow_provider_cleartrace.storage.tables import Table, identities, numbers

FIGURES = ("scenario", "n_changes", "prediction", "baseline_prediction")
COLUMNS = (*FIGURES, "changes", "already_at_desired_class")

SHOWN_ROWS = 4
LISTED_FEATURES = 10


@dataclass
class _Best:
    """A row's scenario of fewest edits, and how many scenarios it has."""

    identity: str
    before: float
    after: float
    changes: str
    found: int = 1


def read_scenarios(table: Table, id_columns: Sequence[str], asked: Collection[str] = ()) -> Scenarios:
    """Read what a Scenario task wrote: one line a scenario, a row's in a sequence.

    Args:
        table: the file.
        id_columns: columns that identify a row; by default the first.
        asked: identities of rows to show before others.

    Raises:
        ReportError: the table lacks a column of scenarios.
    """
    import numpy as np  # noqa: PLC0415  (loads where rows are touched, never with a DAG)

    if not table.columns:  # JSON Lines without a line: no row was to be searched for
        return Scenarios(rows=0, solved=0, solved_share=0.0, already_there=0, unsolved=0)
    if missing := [name for name in COLUMNS if name not in table.columns]:
        raise ReportError(f"{table.uri}: no column {missing[0]!r}: not an output of a Scenario task")
    ids = [name for name in id_columns if name in table.columns] or table.columns[:1]
    best: dict[str, _Best] = {}
    rows: set[str] = set()
    there: set[str] = set()
    for batch in table.batches(list(dict.fromkeys([*ids, *COLUMNS]))):
        figures = numbers(batch, FIGURES, table.uri)
        texts = batch.column("changes").to_pylist()
        reached = batch.column("already_at_desired_class").to_pylist()
        for row, identity in enumerate(identities(batch, ids)):
            rows.add(identity)
            rank, _, after, before = figures[row].tolist()
            if str(reached[row]).lower() == "true":
                there.add(identity)
            if np.isnan(rank):
                continue
            if identity in best:
                best[identity].found += 1
            else:
                best[identity] = _Best(identity, before, after, texts[row])
    edits = {identity: _edits(own.changes, table.uri) for identity, own in best.items()}
    edited = Counter(edit.feature for own in edits.values() for edit in own)
    return Scenarios(
        rows=len(rows),
        solved=len(best),
        solved_share=len(best) / len(rows) if rows else 0.0,
        already_there=len(there),
        unsolved=len(rows - there - best.keys()),
        mean_edits=sum(map(len, edits.values())) / len(edits) if edits else None,
        features=tuple(
            EditedFeature(feature=name, rows=count, share=count / len(best))
            for name, count in edited.most_common(LISTED_FEATURES)
        ),
        shown=tuple(
            ScenarioRow(
                identity=own.identity,
                before=own.before,
                after=own.after,
                found=own.found,
                edits=edits[own.identity],
            )
            for own in _shown(best, asked)
        ),
    )


def _edits(changes: str, uri: str) -> tuple[Edit, ...]:
    try:
        told: dict[str, dict[str, Any]] = json.loads(changes)
        return tuple(
            Edit(feature=name, before=value_text(edit["from"]), after=value_text(edit["to"]))
            for name, edit in told.items()
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ReportError(f"{uri}: a value of 'changes' is no JSON of edits") from None


def _shown(best: dict[str, _Best], asked: Collection[str]) -> list[_Best]:
    """Those asked for, then the rows that lie lowest, in the middle and highest before their edits."""
    ranked = sorted(best.values(), key=lambda own: own.before)
    wanted = [best[identity] for identity in asked if identity in best]
    if ranked:
        wanted += [ranked[0], ranked[(len(ranked) - 1) // 2], ranked[-1]]
    unique = {own.identity: own for own in wanted}
    return list(unique.values())[: max(SHOWN_ROWS, len(asked))]
