"""The plugin that Airflow finds by its entry point: a tab on DAG runs and task instances, from 3.1 on."""

from __future__ import annotations

import functools
import logging
from typing import Any

from airflow.providers.common.compat.sdk import AirflowPlugin

from airflow_provider_cleartrace.links.tab import HAS_TABS, TASK_ROUTE

log = logging.getLogger(__name__)

PREFIX = "/cleartrace"
"""Where Airflow's API server mounts the pages."""

RUN = f"{PREFIX[1:]}/dags/{{DAG_ID}}/runs/{{RUN_ID}}"
"""Relative, so that it follows the path that Airflow is served below; its UI fills in the braces."""

ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16' fill='none' "
    "stroke='%230b8a76' stroke-width='2' stroke-linecap='round'%3E"
    "%3Cpath d='M2 4h12M2 8h8M2 12h4'/%3E%3C/svg%3E"
)

TABS = [
    {
        "name": "ClearTrace",
        "icon": ICON,
        "destination": "dag_run",
        "href": RUN,
        "url_route": "cleartrace-run",
    },
    {
        "name": "ClearTrace",
        "icon": ICON,
        "destination": "task_instance",
        "href": f"{RUN}/tasks/{{TASK_ID}}/{{MAP_INDEX}}",
        "url_route": TASK_ROUTE,
    },
]
"""Airflow leaves out a view whose ``url_route`` another has as well."""


class ClearTracePlugin(AirflowPlugin):
    """Shows the reports and models of a run where the run is looked at."""

    name = "cleartrace"
    external_views: list[Any] = TABS if HAS_TABS else []

    @functools.cached_property
    def fastapi_apps(self) -> list[Any]:  # type: ignore[override]  # Airflow reads it of the instance
        """The pages. Every process of Airflow loads its plugins; only the API server asks for this."""
        if not HAS_TABS:
            return []
        try:
            from airflow_provider_cleartrace.plugin.app import create_app  # noqa: PLC0415  (loads FastAPI)
        except ImportError:
            # Airflow's security is no public interface: a change of it must cost the tab, not the server.
            log.exception("the ClearTrace tab stays empty: this version of Airflow is not known to it")
            return []
        return [{"name": "ClearTrace", "url_prefix": PREFIX, "app": create_app()}]
