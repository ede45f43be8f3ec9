"""The watcher's trigger as Airflow stores, compares and rebuilds it."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from airflow.triggers import base

from airflow_provider_cleartrace.api.errors import ValidationError
from airflow_provider_cleartrace.provider_info import PROVIDER_INFO
from airflow_provider_cleartrace.triggers.ready import ClearTraceModelReadyTrigger

AIRFLOW_3 = hasattr(base, "BaseEventTrigger")


@pytest.mark.parametrize(
    "arguments",
    [
        {"model_id": "loans"},
        {"model_id": "loans-*", "job": "segment", "cleartrace_conn_id": "other", "poll_interval": 5},
        {"model_id": "loans", "include_existing": True},
    ],
)
def test_it_is_rebuilt_from_what_airflow_stores(arguments: dict[str, Any]) -> None:
    path, stored = ClearTraceModelReadyTrigger(**arguments).serialize()

    module, _, name = path.rpartition(".")
    assert getattr(sys.modules[module], name) is ClearTraceModelReadyTrigger
    assert stored.items() >= arguments.items()
    assert ClearTraceModelReadyTrigger(**json.loads(json.dumps(stored))).serialize() == (path, stored)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model_id": ""}, "neither a model id nor a pattern"),
        ({"model_id": "../loans"}, "neither a model id nor a pattern"),
        ({"model_id": "m", "job": "explain"}, "known: fit, fit_distill, segment, narrative"),
        ({"model_id": "m", "poll_interval": 0}, "poll_interval must be positive"),
    ],
)
def test_what_cannot_be_watched_is_refused_when_the_dag_is_parsed(
    arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        ClearTraceModelReadyTrigger(**arguments)


def test_watchers_share_looks_when_connection_and_pace_agree() -> None:
    def key(**arguments: Any) -> Any:
        return ClearTraceModelReadyTrigger(**arguments).shared_stream_key()

    assert key(model_id="a", job="fit") == key(model_id="b-*", job="segment", include_existing=True)
    assert key(model_id="a") != key(model_id="a", cleartrace_conn_id="other")
    assert key(model_id="a") != key(model_id="a", poll_interval=5)


def test_airflow_is_told_of_it() -> None:
    modules = {name for entry in PROVIDER_INFO["triggers"] for name in entry["python-modules"]}
    assert ClearTraceModelReadyTrigger.__module__ in modules


@pytest.mark.skipif(not AIRFLOW_3, reason="event triggers came with Airflow 3.0")
class TestOnAirflow3:
    def test_an_asset_can_be_watched_with_it(self) -> None:
        from airflow.sdk import Asset, AssetWatcher

        trigger = ClearTraceModelReadyTrigger("loans")
        (watcher,) = Asset("loans", watchers=[AssetWatcher(name="ready", trigger=trigger)]).watchers
        assert watcher.trigger is trigger

    def test_its_hash_follows_its_arguments_alone(self) -> None:
        def hashed(**arguments: Any) -> int:
            return base.BaseEventTrigger.hash(*ClearTraceModelReadyTrigger(**arguments).serialize())

        stored = json.loads(json.dumps(ClearTraceModelReadyTrigger("loans").serialize()))
        assert hashed(model_id="loans") == base.BaseEventTrigger.hash(*stored)
        assert len({hashed(model_id="loans"), hashed(model_id="a"), hashed(model_id="a", job="segment")}) == 3
