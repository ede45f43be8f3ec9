"""The button "ClearTrace report" of a task: the report that it wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperatorLink, XCom

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context, TaskInstanceKey


class ClearTraceReportLink(BaseOperatorLink):
    """Leads to a report once it is there: to the task's tab in Airflow's UI, or the file.

    The task stores the address itself.
    """

    name = "ClearTrace report"
    xcom_key = "cleartrace_report_link"

    @classmethod
    def persist(cls, context: Context, url: str) -> None:
        """Store where the link of the running task leads."""
        context["ti"].xcom_push(key=cls.xcom_key, value=url)

    def get_link(self, operator: Any, *, ti_key: TaskInstanceKey) -> str:
        """The address that the task stored; empty while it has stored none."""
        return XCom.get_value(key=self.xcom_key, ti_key=ti_key) or ""
