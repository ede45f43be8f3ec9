"""What the server counts about itself, in Prometheus's text format: numbers without data, ids or keys."""

from __future__ import annotations

import os
import resource
import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from airflow_provider_cleartrace.local.records import PENDING, JobTotals

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_STATEMENT = Path("/proc/self/statm")
_RESIDENT_FIELD = 1

Labels = Mapping[str, str | int]


class RequestCounts:
    """Counts requests by operation and status, with the time they took; safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, int]] = Counter()
        self._seconds: defaultdict[str, float] = defaultdict(float)

    def add(self, operation: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        with self._lock:
            self._counts[operation, status] += 1
            self._seconds[operation] += seconds

    def lines(self) -> list[str]:
        """Write the counts."""
        with self._lock:
            counts, seconds = dict(self._counts), dict(self._seconds)
        return [
            *_metric(
                "cleartrace_requests_total",
                "counter",
                "Requests by operation and HTTP status",
                (
                    ({"operation": operation, "status": status}, n)
                    for (operation, status), n in counts.items()
                ),
            ),
            *_metric(
                "cleartrace_request_seconds_total",
                "counter",
                "Time spent on requests",
                (({"operation": operation}, spent) for operation, spent in seconds.items()),
            ),
        ]


def exposition(requests: RequestCounts, jobs: Iterable[JobTotals]) -> str:
    """Write everything as one page."""
    totals = list(jobs)
    seconds: defaultdict[str, float] = defaultdict(float)
    for total in totals:
        seconds[total.kind] += total.seconds
    lines = [
        *requests.lines(),
        *_metric(
            "cleartrace_jobs",
            "gauge",
            "Jobs that the data directory records",
            (({"kind": total.kind, "state": total.status}, total.jobs) for total in totals),
        ),
        *_metric(
            "cleartrace_job_seconds_total",
            "counter",
            "Time that ended jobs ran",
            (({"kind": kind}, spent) for kind, spent in seconds.items()),
        ),
        *_metric(
            "cleartrace_queue_length",
            "gauge",
            "Jobs that wait",
            [({}, sum(total.jobs for total in totals if total.status == PENDING))],
        ),
        *_metric(
            "process_resident_memory_bytes",
            "gauge",
            "Memory of the server without its jobs",
            [({}, _memory())],
        ),
        *_metric(
            "process_cpu_seconds_total", "counter", "CPU time of the server without its jobs", [({}, _cpu())]
        ),
    ]
    return "\n".join(lines) + "\n"


def _metric(name: str, kind: str, text: str, samples: Iterable[tuple[Labels, float]]) -> list[str]:
    lines = [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
    for labels, value in samples:
        shown = ",".join(f'{key}="{label}"' for key, label in labels.items())
        lines.append(f"{name}{{{shown}}} {value:.17g}" if shown else f"{name} {value:.17g}")
    return lines


def _memory() -> int:
    pages = int(_STATEMENT.read_text(encoding="ascii").split()[_RESIDENT_FIELD])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
