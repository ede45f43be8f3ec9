"""What thousands of waits share in a triggerer: sockets, one look at the connection, and a clean end."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_cleartrace.client.async_driver import LONG_SLEEP, MAX_CONNECTIONS, WAKE_TOGETHER
from airflow_provider_cleartrace.client.exchange import pause
from airflow_provider_cleartrace.client.settings import Settings
from airflow_provider_cleartrace.client.transport import AsyncTransport
from airflow_provider_cleartrace.hooks.cleartrace import ClearTraceHook
from airflow_provider_cleartrace.triggers import job
from airflow_provider_cleartrace.triggers.job import ClearTraceJobTrigger

CONN_ID = "pooled"


@dataclass
class StatusService:
    """Answers polls on the loop of the triggers: a job completes at its ``looks``-th poll."""

    looks: int
    polls: dict[str, int] = field(default_factory=dict)
    sockets: int = 0
    most_sockets: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.sockets += 1
        self.most_sockets = max(self.most_sockets, self.sockets)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                model_id = head.split(b"/")[3].decode()
                self.polls[model_id] = self.polls.get(model_id, 0) + 1
                word = "completed" if self.polls[model_id] >= self.looks else "running"
                body = json.dumps({"model_id": model_id, "job": "fit", "status": word}).encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
                await asyncio.sleep(0)  # other sockets get their turn while this one is busy
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.sockets -= 1
            writer.close()

    @asynccontextmanager
    async def running(self, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        host = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        monkeypatch.setenv(
            f"AIRFLOW_CONN_{CONN_ID.upper()}",
            json.dumps({"conn_type": "cleartrace", "host": host, "password": "pooled-key"}),
        )
        async with server:
            yield


def trigger(model_id: str) -> ClearTraceJobTrigger:
    return ClearTraceJobTrigger(
        model_id, "fit", CONN_ID, started=0.0, poll_interval=0.01, max_poll_interval=0.02
    )


async def events(waiting: ClearTraceJobTrigger) -> list[Any]:
    return [event async for event in waiting.run()]


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  (the service runs on this loop)
        await asyncio.sleep(0.01)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture(params=["aiohttp", "httpx"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The HTTP library of the pool; httpx carries the polls where aiohttp is not installed."""
    if request.param == "httpx":
        monkeypatch.setitem(sys.modules, "aiohttp", None)
    return str(request.param)


@pytest.mark.usefixtures("library")
def test_two_hundred_waits_share_twenty_sockets_and_one_look_at_the_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service, lookups = StatusService(looks=3), []
    read = ClearTraceHook.aget_settings

    async def counted(hook: ClearTraceHook) -> Settings:
        lookups.append(hook.cleartrace_conn_id)
        return await read(hook)

    monkeypatch.setattr(ClearTraceHook, "aget_settings", counted)

    async def wait_for_all() -> list[list[Any]]:
        async with service.running(monkeypatch):
            return await asyncio.gather(*(events(trigger(f"m-{number}")) for number in range(200)))

    fired = asyncio.run(wait_for_all())

    assert [[event.payload["ending"] for event in of_one] for of_one in fired] == [["completed"]] * 200
    assert service.most_sockets <= MAX_CONNECTIONS
    assert lookups == [CONN_ID]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux's list of open files")
@pytest.mark.usefixtures("library")
def test_two_hundred_lives_of_triggers_leave_no_file_open(monkeypatch: pytest.MonkeyPatch) -> None:
    service = StatusService(looks=sys.maxsize)

    async def lives() -> list[int]:
        counts = []
        async with service.running(monkeypatch):
            for generation in range(5):
                names = [f"m-{generation}-{number}" for number in range(40)]
                tasks = [asyncio.create_task(events(trigger(name))) for name in names]
                await until(lambda names=names: all(name in service.polls for name in names))
                for task in tasks:
                    task.cancel()
                ended = await asyncio.gather(*tasks, return_exceptions=True)
                assert {type(end) for end in ended} == {asyncio.CancelledError}
                await until(lambda: not service.sockets)
                counts.append(open_files())
        return counts

    counts = asyncio.run(lives())

    assert counts == counts[:1] * 5


async def hangs(_: ClearTraceHook) -> Settings:
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


async def fails(_: ClearTraceHook) -> Settings:
    raise RuntimeError("the secrets backend is away, canary")


@pytest.mark.parametrize("lookup", [hangs, fails])
def test_a_connection_that_cannot_be_had_does_not_outlast_the_deadline(
    lookup: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ClearTraceHook, "aget_settings", lookup)
    monkeypatch.setattr(job, "LAST_LOOK", 0.2)
    begun = time.time()
    late = ClearTraceJobTrigger("m", "fit", CONN_ID, started=begun, deadline=begun, poll_interval=0.01)

    (event,) = asyncio.run(events(late))

    assert event.payload["ending"] == "timeout"
    assert "canary" not in json.dumps(event.payload)


def test_a_connection_that_is_never_given_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ClearTraceHook, "aget_settings", hangs)
    monkeypatch.setattr(job, "LOOKUP_PATIENCE", 0.2)

    (event,) = asyncio.run(events(trigger("m")))

    assert event.payload["ending"] == "refused"
    assert event.payload["reason"] == f"the connection {CONN_ID!r} cannot be read: TimeoutError"


def test_a_poll_goes_through_aiohttp_where_it_is_installed(
    library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    agents: list[bytes] = []

    class Listening(StatusService):
        async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            agents.append(head.lower())
            reader.feed_data(head)
            await super().serve(reader, writer)

    async def wait() -> None:
        async with Listening(looks=1).running(monkeypatch):
            await events(trigger("m"))

    asyncio.run(wait())

    assert b"user-agent: python" in agents[0]
    assert (b"aiohttp" in agents[0]) == (library == "aiohttp")


def test_long_sleeps_end_together_and_never_early(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [0.5, LONG_SLEEP, 2.03, 7.77, 30.0]
    slept: list[float] = []

    async def record(seconds: float) -> None:
        slept.append(seconds)
        ends.append(asyncio.get_running_loop().time() + seconds)

    ends: list[float] = []

    async def sleep_all() -> None:
        driver = AsyncTransport(Settings("http://cleartrace.test", None))
        with monkeypatch.context() as patched:
            patched.setattr("airflow_provider_cleartrace.client.async_driver.asyncio.sleep", record)
            for seconds in asked:
                await driver.run(pause(seconds))
        await driver.aclose()

    asyncio.run(sleep_all())

    assert slept[0] == asked[0]
    assert all(want <= got <= want + WAKE_TOGETHER for want, got in zip(asked, slept, strict=True))
    distances = [abs(end / WAKE_TOGETHER - round(end / WAKE_TOGETHER)) for end in ends[1:]]
    assert max(distances) < 0.05
