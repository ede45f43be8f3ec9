"""What a thousand deferred jobs cost: our trigger beside the patterns of others, in one run.

Every job is polled every ten seconds by one trigger, in a plain event loop or, with ``--triggerer``, in a
real Airflow triggerer with a database of its own. (b) is what the trigger of dbt Cloud's provider does.
Exits with 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import resource
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from benchmarks.waiting.contestants import CONTESTANTS
from benchmarks.waiting.figures import Figures
from benchmarks.waiting.memory import kilobytes_per_trigger
from benchmarks.waiting.plain_loop import measure_in_plain_loop
from benchmarks.waiting.real_triggerer import airflow_home, measure_in_triggerer
from benchmarks.waiting.status_server import status_server

OURS, PEER = "ours", "per-call"
QUICK_JOBS, FULL_JOBS = [1_000], [100, 1_000, 5_000]
FEWEST_FOR_CPU = 1_000
"""Below, a process that does nothing but tick weighs more than the polls."""

MOST_FOR_CLIENTS = 1_000
"""A client for each trigger takes minutes and gigabytes beyond."""

MOST_KILOBYTES = 5.0

OPEN_FILES = 20_000

Measure = Callable[[str, str, int], Figures]


@dataclass(frozen=True)
class Target:
    """A bound on one figure, as it is or as a share of (b)'s."""

    name: str
    bound: float
    value: Callable[[Figures, Figures], float]

    def judge(self, ours: Figures, peer: Figures) -> str | None:
        """The complaint, if there is one."""
        value = self.value(ours, peer)
        held = value <= self.bound
        print(f"  {self.name:<52} {value:9.2f}  {'within' if held else 'MISSED'} {self.bound:g}")
        return None if held else self.name


def targets(scheme: str, jobs: int) -> Iterator[Target]:
    """The targets that hold for one combination."""
    if jobs >= FEWEST_FOR_CPU:
        share = 0.8 if scheme == "http" else 0.5
        yield Target(
            "CPU for 1,000 polls, share of (b)'s", share, lambda ours, peer: ours.cpu_ms / peer.cpu_ms
        )
    if jobs >= FULL_JOBS[-1]:
        yield Target(
            "time until all are polled, share of (b)'s",
            0.4,
            lambda ours, peer: ours.seconds_to_all / peer.seconds_to_all,
        )
    yield Target("sockets", 20, lambda ours, _: ours.sockets)
    yield Target("stall of the event loop, p99, ms", 50, lambda ours, _: ours.stall_p99_ms)


HEAD = (
    f"{'':<28}{'CPU ms/1,000':>13}{'of (b)':>8}{'all polled':>12}{'of (b)':>8}{'sockets':>9}{'opened':>8}"
    f"{'KB each':>9}{'stall p99':>11}{'at start':>11}"
)


def line(title: str, figures: Figures, peer: Figures) -> str:
    polled = f"{figures.seconds_to_all:.1f} s" if math.isfinite(figures.seconds_to_all) else "never"
    return (
        f"{title:<28}{figures.cpu_ms:13.0f}{figures.cpu_ms / peer.cpu_ms:8.2f}{polled:>12}"
        f"{figures.seconds_to_all / peer.seconds_to_all:8.2f}{figures.sockets:9}{figures.accepted:8}"
        f"{figures.kilobytes:9.1f}{figures.stall_p99_ms:8.1f} ms{figures.start_p99_ms:8.1f} ms"
    )


def compare(measure: Measure, names: list[str], scheme: str, jobs: int) -> list[str]:
    """Measure everyone, print the table and the targets; gives what was missed."""
    print(f"\n{jobs:,} jobs over {scheme}\n{HEAD}", flush=True)
    measured: dict[str, Figures] = {}
    for name in [PEER, *(name for name in names if name != PEER)]:
        measured[name] = measure(name, scheme, jobs)
        print(line(CONTESTANTS[name].title, measured[name], measured[PEER]), flush=True)
    complaints = [target.judge(measured[OURS], measured[PEER]) for target in targets(scheme, jobs)]
    return [f"{jobs:,} jobs over {scheme}: {complaint}" for complaint in complaints if complaint]


def weigh(chosen: list[str]) -> list[str]:
    """Measure and print the memory of waiting triggers; gives what was missed."""
    print(f"Python's memory for one more waiting trigger (target {MOST_KILOBYTES:g} KB)")
    with status_server() as server:
        sizes = {name: kilobytes_per_trigger(server, name) for name in contestants(chosen, FULL_JOBS[-1])}
    for name, size in sizes.items():
        print(f"{CONTESTANTS[name].title:<28}{size:8.1f} KB", flush=True)
    return [] if sizes[OURS] <= MOST_KILOBYTES else [f"{sizes[OURS]:.1f} KB for a waiting trigger"]


@contextlib.contextmanager
def measuring(*, in_triggerer: bool) -> Iterator[Measure]:
    """How one contestant is measured, for the time of the block."""
    with status_server() as server:
        if not in_triggerer:
            yield partial(measure_in_plain_loop, server)
            return
        with airflow_home() as environment:
            yield partial(measure_in_triggerer, environment, server)


def contestants(chosen: list[str], jobs: int) -> list[str]:
    names = {*chosen, OURS, PEER}
    if jobs > MOST_FOR_CLIENTS and "per-trigger" not in chosen:
        names.discard("per-trigger")
    return [name for name in CONTESTANTS if name in names]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--triggerer", action="store_true", help="in a real Airflow triggerer")
    parser.add_argument("--full", action="store_true", help="everyone, with 100, 1,000 and 5,000 jobs")
    parser.add_argument("--jobs", type=int, action="append", help="how many jobs (again for more)")
    parser.add_argument("--scheme", choices=["http", "https"], action="append", help="by default both")
    parser.add_argument("--with", dest="names", choices=CONTESTANTS, action="append", help="one more")
    return parser.parse_args()


def main() -> int:
    """Measure, print, judge."""
    asked = arguments()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, OPEN_FILES), hard))
    sizes = asked.jobs or (FULL_JOBS if asked.full else QUICK_JOBS)
    chosen = asked.names or (list(CONTESTANTS) if asked.full else [])
    missed = [] if asked.triggerer else weigh(chosen)
    with measuring(in_triggerer=asked.triggerer) as measure:
        for scheme in asked.scheme or ["http", "https"]:
            for jobs in sizes:
                names = contestants(chosen, jobs)
                missed += compare(measure, names, scheme, jobs)
    for complaint in missed:
        print(f"MISSED  {complaint}")
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
