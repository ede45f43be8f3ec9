"""Python's memory for one more waiting trigger: the difference between N and 2N of them, all asleep."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import tempfile
import tracemalloc

from benchmarks.waiting.contestants import CONTESTANTS
from benchmarks.waiting.figures import LOOK_AROUND
from benchmarks.waiting.plain_loop import environment_of, run
from benchmarks.waiting.status_server import StatusServer

JOBS = 500
QUIET = 1.0


async def difference(contestant: str, server: StatusServer) -> float:
    tracemalloc.start()
    sizes, tasks = [], []
    for first in (0, JOBS):
        tasks += [
            asyncio.create_task(run(CONTESTANTS[contestant](f"m-{job}")))
            for job in range(first, first + JOBS)
        ]
        while (await asyncio.to_thread(server.counts))["first_seen"] < first + JOBS:  # noqa: ASYNC110
            await asyncio.sleep(LOOK_AROUND)
        await asyncio.sleep(QUIET)
        gc.collect()
        sizes.append(tracemalloc.get_traced_memory()[0])
    return (sizes[1] - sizes[0]) / JOBS


def kilobytes_per_trigger(server: StatusServer, contestant: str) -> float:
    """Measure one contestant in a process of its own."""
    server.reset()
    with tempfile.TemporaryDirectory() as home:
        child = subprocess.run(
            (sys.executable, "-m", __name__, contestant, server.control),
            env=environment_of(server, "http", home),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    return float(child.stdout.splitlines()[-1]) / 1000


async def main() -> None:
    """Print the figure and leave at once, the triggers still waiting."""
    print(await difference(sys.argv[1], StatusServer("", "", sys.argv[2], "")), flush=True)
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main())
