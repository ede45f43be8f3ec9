"""A watcher on a real server: it fires once for each job that completes, whatever happens in between."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import threading
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from airflow_provider_cleartrace.client import ClearTrace
from airflow_provider_cleartrace.triggers import ready
from airflow_provider_cleartrace.triggers.ready import ClearTraceModelReadyTrigger
from tests.integration.fault_proxy import Exchange, Rule, answered, fault_proxy, passed_on
from tests.integration.local_server import LocalServer

Step = Callable[[], object]

RNG = np.random.default_rng(7)
ROWS = pd.DataFrame({"a": RNG.normal(size=60), "b": RNG.normal(size=60)}).assign(y=lambda t: t.a - 2 * t.b)


HANG_LIMIT = 60.0
"""Seconds after which a look that hangs is taken to hold up the others."""


def nothing() -> None:
    """Let the watcher look again while nothing has happened."""


class Store:
    """Airflow's state store of one asset (3.3), as far as a trigger uses it."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    async def aget(self, key: str, default: Any = None) -> Any:
        return json.loads(self.kept[key]) if key in self.kept else default

    async def aset(self, key: str, value: Any) -> None:
        self.kept[key] = json.dumps(value)


class NoStore:
    """What Airflow gives a trigger that several assets watch with: an accessor that cannot choose."""

    async def aget(self, key: str, default: Any = None) -> Any:
        raise ValueError("Task has 2 concrete inlets and outlets")

    async def aset(self, key: str, value: Any) -> None:
        raise ValueError("Task has 2 concrete inlets and outlets")


class ShakyStore(Store):
    """A store that cannot be reached at every first attempt."""

    def __init__(self) -> None:
        super().__init__()
        self._up = itertools.cycle([False, True])

    async def aget(self, key: str, default: Any = None) -> Any:
        if not next(self._up):
            raise RuntimeError("API server away, canary")
        return await super().aget(key, default)

    async def aset(self, key: str, value: Any) -> None:
        if not next(self._up):
            raise RuntimeError("API server away, canary")
        await super().aset(key, value)


@pytest.fixture(autouse=True)
def _hand_over_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ready, "HANDED_OVER", 0.0)


@pytest.fixture
def model_id() -> str:
    return f"watched-{uuid.uuid4().hex[:8]}"


def client(server: LocalServer) -> ClearTrace:
    return ClearTrace(server.base_url, server.api_key, poll_interval=0.05)


def fit(server: LocalServer, model_id: str, seed: int = 0) -> None:
    with client(server) as trained:
        trained.fit(ROWS, target="y", model_id=model_id, mode="fast", n_hyperopt_steps=1, random_state=seed)


def watch(model_id: str, store: Any = None, **arguments: Any) -> ClearTraceModelReadyTrigger:
    _, stored = ClearTraceModelReadyTrigger(model_id, poll_interval=0.05, **arguments).serialize()
    trigger = ClearTraceModelReadyTrigger(**json.loads(json.dumps(stored)))
    trigger.asset_state_store = store
    return trigger


def fired(trigger: ClearTraceModelReadyTrigger, *steps: Step) -> list[tuple[int, dict[str, Any]]]:
    """What a trigger fires: it looks, the first step is done, it looks again, and so on.

    Each event comes with the number of steps that were done before it.
    """
    done = 0

    async def looks() -> AsyncIterator[Any]:
        nonlocal done
        async with contextlib.aclosing(trigger.open_shared_stream(trigger.serialize()[1])) as stream:
            async for look in stream:
                yield look
                if done == len(steps):
                    return
                await asyncio.to_thread(steps[done])
                done += 1

    async def events() -> list[tuple[int, dict[str, Any]]]:
        return [
            (done, json.loads(json.dumps(event.payload)))
            async for event in trigger.filter_shared_stream(looks())
        ]

    return asyncio.run(events())


def times(events: list[tuple[int, dict[str, Any]]]) -> list[int]:
    return [done for done, _ in events]


def test_each_training_of_an_id_fires_once(connection: LocalServer, model_id: str) -> None:
    events = fired(
        watch(model_id),
        lambda: fit(connection, model_id),
        nothing,
        lambda: fit(connection, model_id, seed=1),
        nothing,
    )

    assert times(events) == [1, 3]
    (_, first), (_, second) = events
    assert first.pop("job_id") != second.pop("job_id")
    assert (
        first
        == second
        == {
            "model_id": model_id,
            "job": "fit",
            "status": "completed",
            "link": f"{connection.base_url}/#{model_id}",
        }
    )
    assert connection.api_key not in json.dumps(events)


def test_watching_alone_gives_the_same_events(connection: LocalServer, model_id: str) -> None:
    async def first_event() -> Any:
        async for event in watch(model_id, include_existing=True).run():
            return event.payload

    fit(connection, model_id)
    assert asyncio.run(first_event())["model_id"] == model_id


def test_segments_of_a_model_are_told_from_its_training(connection: LocalServer, model_id: str) -> None:
    def segment() -> None:
        with client(connection) as trained:
            trained.load(model_id).segment(min_clusters=2, max_clusters=3, n_search_steps=2)

    steps = (lambda: fit(connection, model_id), nothing, segment, nothing)
    of_segments = fired(watch(model_id, job="segment"), *steps)
    assert [(done, event["job"]) for done, event in of_segments] == [(3, "segment")]

    of_fits = fired(watch(model_id), *(lambda: fit(connection, model_id, seed=2), segment, nothing))
    assert [(done, event["job"]) for done, event in of_fits] == [(1, "fit")]


def test_a_pattern_fires_for_every_model_that_matches_and_is_new(
    connection: LocalServer, model_id: str
) -> None:
    fit(connection, f"{model_id}-old")
    events = fired(
        watch(f"{model_id}-*"),
        lambda: fit(connection, f"{model_id}-a"),
        lambda: fit(connection, f"other-{model_id}-a"),
        lambda: fit(connection, f"{model_id}-b"),
        lambda: fit(connection, f"{model_id}-old", seed=1),
        nothing,
    )

    assert [(done, event["model_id"].removeprefix(model_id)) for done, event in events] == [
        (1, "-a"),
        (3, "-b"),
        (4, "-old"),
    ]


class TestAfterARestart:
    def test_what_was_reported_is_not_repeated_and_what_was_missed_is_reported(
        self, connection: LocalServer, model_id: str
    ) -> None:
        store = Store()
        assert times(fired(watch(model_id, store), lambda: fit(connection, model_id), nothing)) == [1]

        assert fired(watch(model_id, store), nothing) == []
        fit(connection, model_id, seed=1)
        assert times(fired(watch(model_id, store), nothing)) == [0]
        assert fired(watch(model_id, store), nothing) == []

    def test_a_store_that_is_out_of_reach_is_asked_again(
        self, connection: LocalServer, model_id: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        store = ShakyStore()
        fit(connection, model_id)
        trigger = watch(model_id, store, include_existing=True)
        assert times(fired(trigger, nothing, nothing)) == [0]

        assert fired(watch(model_id, store, include_existing=True), nothing) == []
        assert "canary" not in caplog.text

    def test_watchers_of_one_asset_keep_apart_what_they_reported(
        self, connection: LocalServer, model_id: str
    ) -> None:
        store = Store()
        fit(connection, model_id)
        for watched in (model_id, f"{model_id}*"):
            assert times(fired(watch(watched, store, include_existing=True), nothing)) == [0]

    def test_an_event_that_airflow_may_not_have_yet_is_not_remembered(
        self, connection: LocalServer, model_id: str
    ) -> None:
        store = Store()
        fit(connection, model_id)

        async def crash_at_the_event() -> None:
            watching = watch(model_id, store, include_existing=True).run()
            await anext(watching)
            await watching.aclose()

        asyncio.run(crash_at_the_event())
        assert times(fired(watch(model_id, store, include_existing=True), nothing)) == [0]

    @pytest.mark.parametrize("store", [None, NoStore()])
    def test_without_memory_what_is_complete_is_repeated_only_on_request(
        self, connection: LocalServer, model_id: str, store: Any
    ) -> None:
        fit(connection, model_id)
        assert fired(watch(model_id, store), nothing) == []
        assert times(fired(watch(model_id, store, include_existing=True), nothing)) == [0]


class TestAServiceWithoutAList:
    @pytest.fixture
    def unlisted(self, connection: LocalServer, monkeypatch: pytest.MonkeyPatch) -> LocalServer:
        extra = {"paths": {"list_models": "/v1/no-such-route"}}
        fields = {"host": connection.base_url, "password": connection.api_key, "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_UNLISTED", json.dumps({"conn_type": "cleartrace"} | fields))
        return connection

    def test_lets_one_id_be_watched(self, unlisted: LocalServer, model_id: str) -> None:
        trigger = watch(model_id, cleartrace_conn_id="unlisted")
        assert times(fired(trigger, nothing, lambda: fit(unlisted, model_id), nothing)) == [2]

    def test_is_told_apart_when_a_pattern_is_watched(
        self, unlisted: LocalServer, model_id: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        trigger = watch(f"{model_id}*", cleartrace_conn_id="unlisted")
        assert fired(trigger, lambda: fit(unlisted, model_id), nothing, nothing) == []
        (told,) = (record.getMessage() for record in caplog.records if record.levelno == logging.ERROR)
        assert f"no model can match '{model_id}*'" in told
        assert "list_models: HTTP 404" in told


def test_a_model_that_cannot_be_looked_at_holds_up_no_other(
    connection: LocalServer, monkeypatch: pytest.MonkeyPatch, model_id: str
) -> None:
    bad, good = f"{model_id}-bad", f"{model_id}-good"
    fired_meanwhile, waited = threading.Event(), []

    def hang(exchange: Exchange) -> None:
        if bad not in exchange.target:
            passed_on(exchange)
            return
        waited.append(fired_meanwhile.wait(HANG_LIMIT))
        answered(500)(exchange)

    with fault_proxy(connection.base_url, connection.api_key, "key") as proxy:
        fields = {"host": proxy.url, "password": "key"}
        monkeypatch.setenv("AIRFLOW_CONN_SHAKY", json.dumps({"conn_type": "cleartrace"} | fields))
        proxy.rules.append(Rule("GET /v1/models/{model_id}/status", hang, last=float("inf")))
        fit(connection, good)
        with client(connection) as trained:
            trained.load(good).segment(min_clusters=2, max_clusters=3, n_search_steps=2)
        fit(
            connection, good, seed=1
        )  # the list shows the last job alone: for the segments each model is asked
        fit(connection, bad)

        async def first_two_looks() -> Any:
            trigger = watch(f"{model_id}-*", job="segment", cleartrace_conn_id="shaky", include_existing=True)
            async with contextlib.aclosing(trigger.run()) as events:
                event = await anext(events)
                fired_meanwhile.set()
                await asyncio.to_thread(fit, connection, good, 2)
                with client(connection) as trained:
                    await asyncio.to_thread(
                        trained.load(good).segment, min_clusters=2, max_clusters=4, n_search_steps=2
                    )
                return event.payload, (await anext(events)).payload

        first, second = asyncio.run(first_two_looks())

    assert (first["model_id"], second["model_id"]) == (good, good)
    assert first["job_id"] != second["job_id"]
    assert waited[0]


class Mender(logging.Handler):
    """Puts something right as soon as a watcher complains."""

    def __init__(self, mend: Step) -> None:
        super().__init__(logging.WARNING)
        self._mend = threading.Thread(target=mend)
        self.complaints: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.complaints.append(record.getMessage())
        if len(self.complaints) == 1:
            self._mend.start()

    def __enter__(self) -> Mender:
        logging.getLogger("airflow_provider_cleartrace.triggers").addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("airflow_provider_cleartrace.triggers").removeHandler(self)
        self._mend.join()


class TestWhatIsBorne:
    def test_a_server_that_is_away_for_a_while(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model_id: str
    ) -> None:
        with LocalServer(tmp_path / "data") as server, Mender(server.start) as mender:
            fields = {"host": server.base_url, "password": server.api_key}
            monkeypatch.setenv("AIRFLOW_CONN_AWAY", json.dumps({"conn_type": "cleartrace"} | fields))
            fit(server, model_id)
            steps = (server.kill, lambda: fit(server, model_id, seed=1), nothing)
            events = fired(watch(model_id, cleartrace_conn_id="away"), *steps)

        assert times(events) == [2]
        assert "models of connection away cannot be looked at" in mender.complaints[0]

    def test_a_connection_that_is_made_later_and_a_key_that_is_wrong_at_first(
        self, connection: LocalServer, monkeypatch: pytest.MonkeyPatch, model_id: str
    ) -> None:
        def made(key: str) -> None:
            fields = {"host": connection.base_url, "password": key}
            monkeypatch.setenv("AIRFLOW_CONN_LATE", json.dumps({"conn_type": "cleartrace"} | fields))

        fit(connection, model_id)
        for start in (nothing, lambda: made("canary-wrong-key")):
            monkeypatch.delenv("AIRFLOW_CONN_LATE", raising=False)
            start()
            with Mender(lambda: made(connection.api_key)) as mender:
                trigger = watch(model_id, cleartrace_conn_id="late", include_existing=True)
                assert times(fired(trigger, nothing)) == [0]
            assert mender.complaints
            assert "canary" not in "".join(mender.complaints)
