"""The button "ClearTrace model" of a task: the page of the model it works on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperatorLink, XCom

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context, TaskInstanceKey


class ClearTraceModelLink(BaseOperatorLink):
    """Leads to the page of a task's model, from the moment the model is known.

    The task stores the address itself, under the key that Airflow 3 reads links from. So the button works
    while the task is deferred, and also when the worker is killed before Airflow could have asked for it.
    """

    name = "ClearTrace model"
    xcom_key = "cleartrace_model_link"

    @classmethod
    def persist(cls, context: Context, url: str) -> None:
        """Store where the link of the running task leads."""
        context["ti"].xcom_push(key=cls.xcom_key, value=url)

    def get_link(self, operator: Any, *, ti_key: TaskInstanceKey) -> str:
        """The address that the task stored; empty while it has stored none."""
        return XCom.get_value(key=self.xcom_key, ti_key=ti_key) or ""
