"""Scenarios: the smallest edits of a row that move its prediction to a desired outcome, under constraints.

Constrained random walks (walks.py) find edits, pruning (pruning.py) makes them minimal, and the model's own
`predict` confirms every one of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from airflow_provider_cleartrace.local.engine.coding import code_table
from airflow_provider_cleartrace.local.engine.constraints import read_constraints
from airflow_provider_cleartrace.local.engine.edits import EditSpace
from airflow_provider_cleartrace.local.engine.errors import InputError
from airflow_provider_cleartrace.local.engine.figures import number
from airflow_provider_cleartrace.local.engine.model import Model
from airflow_provider_cleartrace.local.engine.moves import moves_from
from airflow_provider_cleartrace.local.engine.outcome import Outcomes
from airflow_provider_cleartrace.local.engine.pruning import revert_needless, shrink
from airflow_provider_cleartrace.local.engine.schema import Label
from airflow_provider_cleartrace.local.engine.table import Table
from airflow_provider_cleartrace.local.engine.walks import WalkSettings, walk

_EXPLORED = 20
"""Kinds of edits collected for every one returned: enough on german credit to find single changes."""
_LONGEST_STEP = 1e6
"""Largest epsilon, in training standard deviations; far beyond it floats overflow."""
_SHRUNK = 8
"""Kinds of edits, the cheapest, whose quantities are brought nearer for every one returned."""


@dataclass(frozen=True)
class Candidate:
    """One edit that reaches the desired outcome.

    Attributes:
        n_changes: number of changed features. Taking any single change back loses the outcome.
        changes: feature -> (value now, new value), as JSON values; dates as ISO texts.
        prediction: the edited row's prediction, in the unit of `ScenarioResult.baseline_prediction`.
        distance: sum of the changes, quantities in training standard deviations, 1 for another level.
    """

    n_changes: int
    changes: Mapping[str, tuple[Label | None, Label | None]]
    prediction: float
    distance: float


@dataclass(frozen=True)
class ScenarioResult:
    """The scenarios of one row.

    Attributes:
        query_index: the row's position among the queries.
        baseline_prediction: the row's own prediction: the value (regression), the probability of class 1
            (binary), or the probability of the desired class (more classes).
        already_at_desired_class: whether nothing has to change.
        scenarios: candidates, fewest changes first, then smallest distance.
        reason: why there is no candidate; None if there is one.
    """

    query_index: int
    baseline_prediction: float
    already_at_desired_class: bool
    scenarios: tuple[Candidate, ...]
    reason: str | None = None


def search(
    model: Model,
    table: Table,
    *,
    desired_class: int = 1,
    n_walks: int = 500,
    max_steps: int = 30,
    epsilon: float = 0.2,
    random_state: int | None = 42,
    constraints: Mapping[str, Mapping[str, Any]] | None = None,
    limit: int = 5,
) -> list[ScenarioResult]:
    """Search scenarios for every row of a table.

    New values lie in the training range (integers whole, levels known) or in what a constraint allows
    instead; the value a row has now is always allowed. A missing value stays missing. Rows are searched
    independently from the same random state, so a row has the same scenarios alone and among others.

    Args:
        model: a fitted model.
        table: n rows; feature columns that are absent count as missing.
        desired_class: position in `Model.classes`. Regression: 1 is above the median training prediction, 0
            is not.
        n_walks: random walks a row.
        max_steps: most steps of a walk.
        epsilon: step scale in training standard deviations.
        random_state: seed; None draws a fresh one.
        constraints: see `read_constraints`.
        limit: most candidates a row.

    Raises:
        InputError: unknown columns, an invalid argument or constraint, cells of the wrong type.
    """
    _check("n_walks", n_walks)
    _check("max_steps", max_steps)
    _check("limit", limit)
    if isinstance(epsilon, bool) or not isinstance(epsilon, int | float) or not 0 < epsilon <= _LONGEST_STEP:
        raise InputError(f"epsilon must be a number above 0 and at most {_LONGEST_STEP:g}, not {epsilon!r}")
    if random_state is not None:
        _check("random_state", random_state, least=0)
    outcomes = Outcomes.of(model)
    outcomes.check(desired_class)
    checked = read_constraints(model.schema, constraints)
    queries = _complete(model, table)
    columns = model.schema.features
    codes, encoded = code_table(queries, columns), model.encode(queries)
    predictions = model.predict(queries)
    reached = outcomes.of_predictions(predictions) == desired_class
    baselines = outcomes.reported(predictions, desired_class)
    settings = WalkSettings(n_walks, max_steps, float(epsilon), _EXPLORED * limit)
    seed = np.random.SeedSequence(random_state).entropy
    results = []
    for index, row in enumerate(codes):
        candidates: tuple[Candidate, ...] = ()
        reason = None
        if reached[index]:
            reason = f"The row is already predicted {outcomes.name(desired_class)}."
        else:
            moves = moves_from(row, columns, checked)
            space = EditSpace(
                outcomes, desired_class, queries.take(np.array([index])), row, encoded[index], moves
            )
            candidates = _candidates(space, settings, np.random.default_rng(seed), limit) if moves else ()
            reason = None if candidates else _failure(space, settings)
        results.append(
            ScenarioResult(index, float(baselines[index]), bool(reached[index]), candidates, reason)
        )
    return results


def _candidates(
    space: EditSpace, settings: WalkSettings, rng: np.random.Generator, limit: int
) -> tuple[Candidate, ...]:
    found = walk(space, settings, rng)
    if not len(found):
        return ()
    sparse = space.cheapest_of_each_kind(revert_needless(space, found))[: _SHRUNK * limit]
    # A smaller change may make another one needless, so minimality is restored last.
    edits = space.cheapest_of_each_kind(revert_needless(space, shrink(space, sparse)))[:limit]
    rows = space.table(edits)
    predictions = space.outcomes.model.predict(rows)
    confirmed = space.outcomes.of_predictions(predictions) == space.desired
    reported = space.outcomes.reported(predictions, space.desired)
    n_changes, distances = space.cost(edits)
    return tuple(
        Candidate(
            int(n_changes[index]),
            _changes(space, edits[index], rows, int(index)),
            float(reported[index]),
            float(distances[index]),
        )
        for index in np.flatnonzero(confirmed)
    )


def _changes(
    space: EditSpace, edit: NDArray[np.float64], rows: Table, index: int
) -> dict[str, tuple[Label | None, Label | None]]:
    changes = {}
    for position in np.flatnonzero(space.changed(edit[None, :])[0]):
        column = space.columns[position]
        original = space.origin[column.name]
        now = (column.to_levels(original) if column.is_levelled else column.to_numbers(original))[0]
        changes[column.name] = (column.json_value(now), column.json_value(rows[column.name][index]))
    return changes


def _failure(space: EditSpace, settings: WalkSettings) -> str:
    goal = space.outcomes.name(space.desired)
    if not space.moves:
        return f"Nothing may change to reach {goal}: each feature is missing, fixed, or has no other value."
    names = ", ".join(space.columns[position].name for position in space.moves)
    return (
        f"None of {number(settings.n_walks)} walks of up to {number(settings.max_steps)} steps reached "
        f"{goal} by changing {names}. More walks, more steps or fewer constraints may help."
    )


def _complete(model: Model, table: Table) -> Table:
    """Bring queries to the model's columns, absent ones as gaps."""
    names = model.schema.feature_names
    unknown = [name for name in table.names if name not in names]
    if unknown:
        raise InputError(f"unknown columns {unknown}; the model's features are {list(names)}")
    gaps = np.full(len(table), np.nan)
    return Table({name: table.columns.get(name, gaps) for name in names})


def _check(name: str, value: object, least: int = 1) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(f"{name} must be a whole number of at least {least}, not {value!r}")
