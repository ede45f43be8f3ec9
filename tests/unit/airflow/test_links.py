"""Every task leads to its model's page, from class attributes that Airflow finds."""

from __future__ import annotations

import importlib
import inspect
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import XCom

from airflow_provider_cleartrace.links.model import ClearTraceModelLink
from airflow_provider_cleartrace.links.report import ClearTraceReportLink
from airflow_provider_cleartrace.provider_info import PROVIDER_INFO

TASKS = [
    value
    for kind in ("operators", "sensors")
    for entry in PROVIDER_INFO[kind]
    for module in entry["python-modules"]
    for name, value in vars(importlib.import_module(module)).items()
    if inspect.isclass(value) and value.__module__ == module and name.endswith(("Operator", "Sensor"))
]


@pytest.mark.parametrize("task", TASKS, ids=[task.__name__ for task in TASKS])
def test_every_task_has_the_link(task: Any) -> None:
    names = [link.name for link in task.operator_extra_links]
    assert names[0] == "ClearTrace model"
    assert names[1:] == (["ClearTrace report"] if task.__name__ == "ClearTraceReportOperator" else [])


def test_airflow_is_told_of_the_links() -> None:
    told = [path.rpartition(".") for path in PROVIDER_INFO["extra-links"]]
    classes = [getattr(importlib.import_module(module), name) for module, _, name in told]
    assert classes == [ClearTraceModelLink, ClearTraceReportLink]


@pytest.mark.parametrize("of", [ClearTraceModelLink, ClearTraceReportLink])
@pytest.mark.parametrize(("stored", "link"), [("https://h/#m", "https://h/#m"), (None, "")])
def test_the_link_is_what_the_task_stored(
    monkeypatch: pytest.MonkeyPatch, stored: str | None, link: str, of: Any
) -> None:
    asked = []
    monkeypatch.setattr(XCom, "get_value", lambda **what: asked.append(what) or stored)
    key = SimpleNamespace(dag_id="d", task_id="t", run_id="r", map_index=-1)
    assert of().get_link(None, ti_key=key) == link
    assert asked == [{"key": of.xcom_key, "ti_key": key}]
