"""The plugin as each Airflow sees it: tabs from 3.1 on, nothing before."""

from __future__ import annotations

from importlib.metadata import entry_points

import pytest
from airflow import __version__
from packaging.version import Version

from airflow_provider_cleartrace.plugin.tabs import HAS_TABS, ClearTracePlugin

TAKES_TABS = Version(Version(__version__).base_version) >= Version("3.1")


def test_airflow_finds_it_by_its_entry_point() -> None:
    (found,) = entry_points(group="airflow.plugins", name="cleartrace")
    assert found.load() is ClearTracePlugin


def test_only_an_airflow_that_takes_tabs_is_offered_any() -> None:
    assert HAS_TABS == TAKES_TABS
    plugin = ClearTracePlugin()
    assert len(plugin.external_views) == (2 if TAKES_TABS else 0)
    assert len(plugin.fastapi_apps) == (1 if TAKES_TABS else 0)


def test_airflow_loads_it_without_complaint() -> None:
    from airflow import plugins_manager

    if hasattr(plugins_manager, "ensure_plugins_loaded"):
        plugins_manager.ensure_plugins_loaded()
    told = {plugin["name"]: plugin for plugin in plugins_manager.get_plugin_info()}
    assert "airflow-provider-cleartrace" in str(told["cleartrace"]["source"])


@pytest.mark.skipif(not TAKES_TABS, reason="this Airflow is offered no pages")
def test_an_airflow_of_another_make_loses_the_tab_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.delitem(sys.modules, "airflow_provider_cleartrace.plugin.app", raising=False)
    monkeypatch.setitem(sys.modules, "airflow.api_fastapi.core_api.security", None)
    assert ClearTracePlugin().fastapi_apps == []
