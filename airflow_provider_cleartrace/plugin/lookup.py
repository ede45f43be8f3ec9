"""Finds in Airflow's database what the tasks of a run handed on; nothing else is looked up there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from airflow.models.dagrun import DagRun
from airflow.models.xcom import XComModel
from sqlalchemy import Text, cast, func, select

from airflow_provider_cleartrace.operators.manifest import MAX_BYTES
from airflow_provider_cleartrace.plugin.manifests import Told, read

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

RETURN_VALUE = "return_value"

RUNS = 12
"""Runs that a history goes back: as many columns as can be read side by side."""

MOST = 2000
"""Return values that are looked at, the newest first: bounds what a run of many mapped tasks costs."""


def find_run(session: Session, dag_id: str, run_id: str) -> DagRun | None:
    """The run, if there is one."""
    return session.scalar(select(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id))


def runs_until(session: Session, run: DagRun) -> list[DagRun]:
    """A run and those of its DAG before it, the newest first."""
    earlier = (
        select(DagRun)
        .where(DagRun.dag_id == run.dag_id, DagRun.run_after <= run.run_after)
        .order_by(DagRun.run_after.desc(), DagRun.id.desc())
        .limit(RUNS)
    )
    return list(session.scalars(earlier))


def manifests(session: Session, dag_id: str, run_ids: Sequence[str]) -> list[Told]:
    """What the tasks of some runs handed on, in the order of time.

    The value is read as the database has it: a custom XCom backend that keeps only references there is not
    asked, and nothing is deserialized into objects.
    """
    value = cast(XComModel.value, Text)
    found = session.execute(
        select(XComModel.run_id, XComModel.task_id, XComModel.map_index, XComModel.timestamp, XComModel.value)
        .where(
            XComModel.dag_id == dag_id,
            XComModel.run_id.in_(run_ids),
            XComModel.key == RETURN_VALUE,
            # The database may have it as a text within a text, with every quote escaped.
            func.length(value) <= 2 * MAX_BYTES,
        )
        .order_by(XComModel.timestamp.desc())
        .limit(MOST)
    )
    return [told for row in reversed(found.all()) if (told := read(*row))]
