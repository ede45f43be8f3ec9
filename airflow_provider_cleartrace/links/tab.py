"""The ClearTrace tab of a task instance in Airflow's own UI, and its address there."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from airflow.providers.common.compat.sdk import AirflowPlugin

HAS_TABS = hasattr(AirflowPlugin, "external_views")
"""Whether this Airflow's UI takes tabs: not before 3.1."""

TASK_ROUTE = "cleartrace-task"
"""What the tab of a task instance is called in addresses."""


def tab_of(ti: Any) -> str:
    """The address of a task instance's tab.

    It is relative: Airflow's UI names its own root as the base of all links, also below a path of a proxy,
    and a worker need not know where the UI is.
    """
    names = ("dags", ti.dag_id, "runs", ti.run_id, "tasks", ti.task_id)
    mapped = ("mapped", ti.map_index) if ti.map_index is not None and ti.map_index >= 0 else ()
    return "/".join(quote(str(part), safe="") for part in (*names, *mapped, "plugin", TASK_ROUTE))
