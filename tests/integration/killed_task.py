"""Tasks in processes of their own, one of them killed at a chosen request."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from tests.integration.row_server import RowServer, honest

_FORKS = multiprocessing.get_context("forkserver")
# Airflow is imported once, for all tasks that are to be killed.
_FORKS.set_forkserver_preload(["airflow_provider_cleartrace.operators.inference"])


def _take_over(environment: Mapping[str, str]) -> None:
    os.environ.update(environment)


def _run(environment: Mapping[str, str], task: Callable[..., Any], *arguments: Any, **options: Any) -> None:
    _take_over(environment)
    task(*arguments, **options)


def processes(workers: int) -> ProcessPoolExecutor:
    """Processes for whole tasks: Airflow 2.11 runs none outside of a main thread."""
    return ProcessPoolExecutor(
        workers, mp_context=_FORKS, initializer=_take_over, initargs=(dict(os.environ),)
    )


def killed_at(
    request: int, server: RowServer, task: Callable[..., Any], *arguments: Any, **options: Any
) -> None:
    """Run ``task`` and kill its process when the server has its request of this number, from 1."""
    server.requests.clear()
    process = _FORKS.Process(target=_run, args=(dict(os.environ), task, *arguments), kwargs=options)

    def kill(_: str, __: Any, answer: Any) -> Any:
        # Several are answered at once: none may see just as many of them.
        if len(server.requests) >= request:
            process.kill()
        return answer

    server.fault = kill
    process.start()
    process.join()
    server.fault = honest
    assert process.exitcode == -signal.SIGKILL, "it was killed, and did not end by itself"


def killed_after(
    seconds: float | None, server: RowServer, task: Callable[..., Any], *arguments: Any, **options: Any
) -> float | None:
    """Run ``task`` and kill its process so long after its first request for rows, or never.

    Returns:
        The seconds after which it had ended well by itself; None if it was killed.
    """
    process = _FORKS.Process(target=_run, args=(dict(os.environ), task, *arguments), kwargs=options)
    begun = threading.Event()

    def begin(_: str, __: Any, answer: Any) -> Any:
        begun.set()
        return answer

    server.fault = begin
    process.start()
    while process.is_alive() and not begun.wait(0.1):
        pass
    start = time.monotonic()
    process.join(seconds)
    lived = time.monotonic() - start
    process.kill()
    process.join()
    server.fault = honest
    assert process.exitcode in {0, -signal.SIGKILL}
    return lived if process.exitcode == 0 else None
