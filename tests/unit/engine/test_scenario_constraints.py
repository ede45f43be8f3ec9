"""Scenarios on 1,000 random rows, each batch under constraints drawn at random: whatever is asked, holds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from airflow_provider_cleartrace.local.engine import Model, Table
from airflow_provider_cleartrace.local.engine.scenario import search
from airflow_provider_cleartrace.local.engine.schema import Column
from airflow_provider_cleartrace.local.engine.table import json_values
from tests.unit.engine.engine_tables import mixed_table

BATCHES, ROWS = 50, 20


Constraints = dict[str, dict[str, Any]]


def random_constraints(random: np.random.Generator, features: tuple[Column, ...]) -> Constraints:
    """Draw a constraint of a random kind for about half of the features."""
    drawn: Constraints = {}
    for column in features:
        kind = random.choice(["none", "none", "immutable", "monotonic", "value_range", "allowed_values"])
        if kind == "immutable":
            drawn[column.name] = {"immutable": True}
        elif kind == "allowed_values" and column.kind == "category":
            levels = random.choice(column.categories, size=random.integers(1, 3), replace=False)
            drawn[column.name] = {"allowed_values": levels.tolist()}
        elif kind == "monotonic" and not column.is_levelled:
            drawn[column.name] = {"monotonic": str(random.choice(["increase", "decrease"]))}
        elif kind == "value_range" and column.kind in ("number", "integer"):
            low, high = sorted(random.uniform(column.minimum, column.maximum, 2).round(2).tolist())
            drawn[column.name] = {"value_range": [low, high]}
        elif kind == "allowed_values" and column.kind == "integer":
            values = random.integers(int(column.minimum or 0), int(column.maximum or 0) + 1, 3)
            drawn[column.name] = {"allowed_values": values.tolist()}
    return drawn


def keeps(column: Column, constraint: dict[str, Any], before: Any, after: Any) -> bool:
    if constraint.get("immutable"):
        return False
    if "allowed_values" in constraint:
        return after in constraint["allowed_values"]
    if constraint.get("monotonic") == "increase" and not after > before:
        return False
    if constraint.get("monotonic") == "decrease" and not after < before:
        return False
    if column.kind == "category":
        return after in column.categories
    if column.kind == "boolean":
        return isinstance(after, bool)
    if column.kind == "integer" and not isinstance(after, int):
        return False
    ends = [column.json_value(column.minimum), column.json_value(column.maximum)]
    low, high = constraint.get("value_range", ends)
    return bool(low <= after <= high)


@pytest.mark.parametrize(("base", "task"), [("xrfm", "binary"), ("xgboost", "multiclass")])
def test_every_candidate_keeps_every_constraint_and_flips_and_is_minimal(
    models: dict[tuple[str, str], Model], base: str, task: str
) -> None:
    model = models[base, task]
    random = np.random.default_rng(7)
    rows = mixed_table(BATCHES * ROWS // 2, seed=11 if base == "xrfm" else 12).table
    candidates = 0
    for first in range(0, len(rows), ROWS):
        batch = rows.take(np.arange(first, first + ROWS))
        desired = int(random.integers(len(model.classes)))
        constraints = random_constraints(random, model.schema.features)
        found = search(
            model, batch, desired_class=desired, constraints=constraints, n_walks=30, max_steps=8, limit=2
        )
        cells = {name: json_values(batch[name]) for name in batch.names}
        edited: dict[str, list[Any]] = {name: [] for name in batch.names}
        flips: list[bool] = []
        for result in found:
            record = {name: values[result.query_index] for name, values in cells.items()}
            for candidate in result.scenarios:
                candidates += 1
                assert candidate.n_changes == len(candidate.changes)
                for name, (before, after) in candidate.changes.items():
                    assert before == record[name] or before == pytest.approx(record[name])
                    assert after != before
                    column = model.schema.feature(name)
                    assert keeps(column, constraints.get(name, {}), before, after), (name, constraints)
                news = {name: after for name, (_, after) in candidate.changes.items()}
                # The edit itself flips; with any one of its changes taken back it does not.
                for kept in (news, *({k: v for k, v in news.items() if k != one} for one in news)):
                    for name, value in (record | kept).items():
                        edited[name].append(value)
                    flips.append(kept is news)
        if flips:
            reached = model.predicted_classes(model.predict(Table.from_columns(edited))) == desired
            assert reached.tolist() == flips
    assert candidates > 300
