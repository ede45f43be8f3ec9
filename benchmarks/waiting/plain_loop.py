"""Contestants in an event loop of their own process, without Airflow's triggerer around them."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # no stubs are published with it
from airflow.triggers.base import BaseTrigger

from benchmarks.waiting.contestants import CONTESTANTS, StallMeter
from benchmarks.waiting.figures import LOOK_AROUND, Figures, measure
from benchmarks.waiting.status_server import StatusServer

PATIENCE = 300.0


async def run(trigger: BaseTrigger) -> None:
    """What a triggerer does with a trigger."""
    async for _ in trigger.run():
        pass


async def wait_for(contestant: str, jobs: int, stalls: str) -> None:
    """Warm up with one trigger, tell the parent by making the file, and at its word wait for all jobs."""
    warm = asyncio.create_task(run(CONTESTANTS[contestant]("warm-up")))
    await asyncio.sleep(2)
    Path(stalls).touch()  # noqa: ASYNC240  (nothing is measured yet)
    await asyncio.to_thread(sys.stdin.readline)
    tasks = [asyncio.create_task(run(StallMeter(stalls))), warm]
    tasks += [asyncio.create_task(run(CONTESTANTS[contestant](f"m-{job}"))) for job in range(jobs)]
    await asyncio.gather(*tasks)


def measure_in_plain_loop(server: StatusServer, contestant: str, scheme: str, jobs: int) -> Figures:
    """Start a process for one contestant, and watch it."""
    with tempfile.TemporaryDirectory() as home:
        stalls = Path(home) / "stalls"
        command = (sys.executable, "-m", __name__, contestant, str(jobs), str(stalls))
        with subprocess.Popen(
            command,
            env=environment_of(server, scheme, home),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        ) as child:
            try:
                while not stalls.exists():
                    if child.poll() is not None:
                        raise RuntimeError(f"{contestant} did not start")
                    time.sleep(LOOK_AROUND)
                process = psutil.Process(child.pid)
                bare = process.memory_info().rss
                server.reset()
                begun = time.time()
                child.stdin.write("go\n")
                child.stdin.flush()
                return measure(process, server, jobs, stalls, begun=begun, bare=bare, patience=PATIENCE)
            finally:
                child.kill()


def environment_of(server: StatusServer, scheme: str, home: str) -> dict[str, str]:
    """An environment with an Airflow home and the connection."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    return clean | {"AIRFLOW_HOME": home, "AIRFLOW_CONN_CLEARTRACE_DEFAULT": connection(server, scheme)}


def connection(server: StatusServer, scheme: str) -> str:
    """The value of ``AIRFLOW_CONN_CLEARTRACE_DEFAULT``."""
    extra = {"verify": server.certificate} if scheme == "https" else {}
    return json.dumps(
        {"conn_type": "cleartrace", "host": server.url(scheme), "password": "canary-key", "extra": extra}
    )


if __name__ == "__main__":
    asyncio.run(wait_for(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
