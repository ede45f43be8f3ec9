"""What is measured of a process that waits, and how."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # no stubs are published with it

from benchmarks.waiting.contestants import POLL_INTERVAL
from benchmarks.waiting.status_server import StatusServer

LOOK_AROUND = 0.2


@dataclass(frozen=True)
class Figures:
    """``cpu_ms``: for 1,000 polls, once all have polled. ``kilobytes``: resident, for each trigger.

    ``stall_p99_ms`` is of the same time as the CPU, ``start_p99_ms`` of the time until all have polled, in
    which a triggerer is busy with making the triggers.
    """

    cpu_ms: float
    seconds_to_all: float
    sockets: int
    accepted: int
    kilobytes: float
    start_p99_ms: float
    stall_p99_ms: float
    waiting: int


def measure(
    process: psutil.Process,
    server: StatusServer,
    jobs: int,
    stalls: Path,
    *,
    begun: float,
    bare: int,
    patience: float,
) -> Figures:
    """Watch a process until all of its jobs have been polled, and then for two rounds of polls.

    Args:
        process: Whose CPU and memory count.
        server: Which it polls.
        jobs: How many jobs it waits for.
        stalls: The file of its :class:`~.StallMeter`.
        begun: Epoch seconds of its start.
        bare: Its resident bytes before the first trigger.
        patience: Seconds after which the jobs polled so far have to do.
    """
    while (counts := server.counts())["first_seen"] < jobs and time.time() - begun < patience:
        time.sleep(LOOK_AROUND)
    to_all = counts["last_first"] - begun if counts["first_seen"] >= jobs else float("inf")
    time.sleep(POLL_INTERVAL / 2)  # the burst of the start is over
    starting = len(_lateness(stalls))
    polls, used = server.counts()["polls"], _cpu(process)
    time.sleep(2 * POLL_INTERVAL)
    counts = server.counts()
    used = _cpu(process) - used
    resident = process.memory_info().rss
    late = _lateness(stalls)
    return Figures(
        cpu_ms=1e6 * used / max(1, counts["polls"] - polls),
        seconds_to_all=to_all,
        sockets=counts["most_sockets"],
        accepted=counts["accepted"],
        kilobytes=(resident - bare) / 1000 / jobs,
        start_p99_ms=statistics.quantiles(late[:starting], n=100)[-1],
        stall_p99_ms=statistics.quantiles(late[starting:], n=100)[-1],
        waiting=counts["first_seen"],
    )


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _lateness(stalls: Path) -> list[float]:
    return [float(line) for line in stalls.read_text().splitlines()]
