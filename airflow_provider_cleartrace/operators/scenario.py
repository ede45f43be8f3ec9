"""A task that searches what would have to change for rows to get another answer."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_cleartrace.api.errors import ServerError, ValidationError
from airflow_provider_cleartrace.api.models import ScenarioResult, SchemaResult
from airflow_provider_cleartrace.client import AsyncClearTrace
from airflow_provider_cleartrace.operators.arguments import check_count
from airflow_provider_cleartrace.operators.rows.answers import Answers, floats, texts
from airflow_provider_cleartrace.operators.rows.operator import RowsOperator

if TYPE_CHECKING:
    import pyarrow as pa

SCENARIO_BATCH_ROWS = 50
"""Rows searched in one request: a search takes some hundredths of a second a row."""


class ClearTraceScenarioOperator(RowsOperator):
    """Searches, for each row of a file or folder, the smallest edits that move it to the wanted class.

    Writes one entry a scenario, fewest changes first: the row's identity, ``scenario`` (its rank from 0),
    ``n_changes``, ``changes`` (JSON ``{feature: {"from": ..., "to": ...}}``), ``prediction`` after them,
    ``baseline_prediction``, ``already_at_desired_class``. A row without a scenario has one entry with the
    ``reason``. The manifest counts ``rows``, ``rows_solved`` and ``rows_already_there``.

    Args:
        desired_class: Index of the class to reach.
        n_walks: Random walks for each row.
        max_steps: Most steps of one walk.
        epsilon: Step size, in standard deviations of a column.
        random_state: Seed; None for a fresh one.
        constraints: Per feature any of ``immutable``, ``monotonic``, ``value_range``, ``allowed_values``.
        **kwargs: As in :class:`~.RowsOperator`.
    """

    template_fields: Sequence[str] = (*RowsOperator.template_fields, "constraints")

    def __init__(
        self,
        *,
        desired_class: int = 1,
        n_walks: int = 500,
        max_steps: int = 30,
        epsilon: float = 0.2,
        random_state: int | None = 42,
        constraints: Mapping[str, Mapping[str, Any]] | None = None,
        batch_rows: int | None = SCENARIO_BATCH_ROWS,
        **kwargs: Any,
    ) -> None:
        super().__init__(batch_rows=batch_rows, **kwargs)
        check_count("desired_class", desired_class, least=0)
        check_count("n_walks", n_walks, least=1)
        check_count("max_steps", max_steps, least=1)
        if random_state is not None:
            check_count("random_state", random_state, least=0)
        if not isinstance(epsilon, int | float) or not 0 < epsilon < math.inf:
            raise ValidationError(f"epsilon must be a number above 0, not {epsilon!r}")
        self.desired_class = desired_class
        self.n_walks = n_walks
        self.max_steps = max_steps
        self.epsilon = epsilon
        self.random_state = random_state
        self.constraints = constraints

    def prepare(self, schema: SchemaResult) -> None:
        """Hold the constraints against the model's features."""
        constraints: Any = {} if self.constraints is None else self.constraints
        if not isinstance(constraints, Mapping):
            raise ValidationError("constraints must be a mapping of a feature to what may change of it")
        for feature, allowed in constraints.items():
            if feature not in schema.feature_names:
                raise ValidationError(f"constraints: {feature!r} is no feature of the model")
            if not isinstance(allowed, Mapping):
                raise ValidationError(
                    f"constraints: {feature!r} needs a mapping, such as {{'immutable': True}}"
                )

    def asked_for(self) -> dict[str, Any]:
        """Everything that shapes a search; with a seed it also depends on a row's place in its request."""
        return {"operation": "scenario", "batch_rows": self.batch_rows} | self._options()

    def _options(self) -> dict[str, Any]:
        return {
            "desired_class": self.desired_class,
            "n_walks": self.n_walks,
            "max_steps": self.max_steps,
            "epsilon": self.epsilon,
            "random_state": self.random_state,
            "constraints": self.constraints,
        }

    def nothing(self, schema: SchemaResult, rows: pa.RecordBatch) -> Answers:
        """The columns of no scenarios."""
        return _scenarios(ScenarioResult(results=[]))

    async def ask(self, client: AsyncClearTrace, schema: SchemaResult, rows: pa.RecordBatch) -> Answers:
        """Search one batch."""
        found = await client.scenario(rows, **self._options())
        if sorted(item.query_index for item in found) != list(range(rows.num_rows)):
            raise ServerError(f"scenario: {rows.num_rows} rows were sent, and the answer is not about each")
        in_order = sorted(found.results, key=lambda item: item.query_index)
        return _scenarios(ScenarioResult(results=in_order))


def _scenarios(found: ScenarioResult) -> Answers:
    import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)

    entries = [
        (item, rank, candidate) for item in found for rank, candidate in enumerate(item.scenarios or [None])
    ]
    changes = [
        json.dumps(candidate.model_dump(by_alias=True)["changes"]) if candidate else None
        for _, _, candidate in entries
    ]
    return Answers(
        about=[item.query_index for item, _, _ in entries],
        counts={
            "rows_solved": sum(len(item) > 0 for item in found),
            "rows_already_there": sum(item.already_at_desired_class for item in found),
        },
        columns={
            "scenario": pa.array([rank if candidate else None for _, rank, candidate in entries], pa.int64()),
            "n_changes": pa.array([c.n_changes if c else None for _, _, c in entries], pa.int64()),
            "changes": texts(changes),
            "prediction": pa.array([c.prediction if c else None for _, _, c in entries], pa.float64()),
            "baseline_prediction": floats([item.baseline_prediction for item, _, _ in entries]),
            "already_at_desired_class": pa.array(
                [item.already_at_desired_class for item, _, _ in entries], pa.bool_()
            ),
            "reason": texts([None if c else item.reason for item, _, c in entries]),
        },
    )
