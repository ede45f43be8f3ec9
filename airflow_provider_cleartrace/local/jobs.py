"""Runs the queue: starts a process for each job, watches its time, publishes what it finished."""

from __future__ import annotations

import logging
import multiprocessing
import shutil
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection, forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from airflow_provider_cleartrace.local.datasets import SizeLimits
from airflow_provider_cleartrace.local.destinations import Destinations
from airflow_provider_cleartrace.local.folders import Folders
from airflow_provider_cleartrace.local.logs import place_of
from airflow_provider_cleartrace.local.records import Job
from airflow_provider_cleartrace.local.settings import Settings
from airflow_provider_cleartrace.local.store import Store
from airflow_provider_cleartrace.local.worker import Outcome, WorkOrder, run

_PRELOADED = [
    "airflow_provider_cleartrace.local.worker",
    "airflow_provider_cleartrace.local.engine.segmentation",
    "airflow_provider_cleartrace.local.engine.narrative",
    "optuna",
    "pyarrow.csv",
    "pyarrow.parquet",
    "sklearn.cluster",
]
"""Imported once in the fork server, so that a job starts in milliseconds."""

_LOOK_SECONDS = 1.0
"""How often deadlines are looked at; starts, ends and cancellations wake the runner at once."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Running:
    job: Job
    order: WorkOrder
    process: ForkServerProcess
    deadline: float
    killed_for: str | None = None


class JobRunner:
    """One thread that turns waiting jobs into processes, and ended processes into published results."""

    def __init__(self, store: Store, folders: Folders, settings: Settings) -> None:
        self._store = store
        self._folders = folders
        self._settings = settings
        self._limits = SizeLimits(settings.max_rows, settings.max_columns)
        self._destinations = Destinations.parse(settings.allow_predict_host)
        self._running: dict[int, _Running] = {}
        self._context = multiprocessing.get_context("forkserver")
        self._wakes, self._waker = socket.socketpair()
        for end in (self._wakes, self._waker):
            end.setblocking(False)
        self._drain_until: float | None = None
        self._thread = threading.Thread(target=self._run, name="job-runner", daemon=True)

    def start(self) -> None:
        """Take up what an earlier server left, then serve the queue."""
        interrupted = self._store.requeue_interrupted()
        self._folders.drop_jobs_but(self._store.open_folders())
        self._folders.drop_artefacts_but(self._store.live_artefacts())
        if interrupted:
            _log.info("interrupted jobs wait again", extra={"jobs": interrupted})
        self._context.set_forkserver_preload(_PRELOADED)
        forkserver.ensure_running()
        self._thread.start()

    def drain(self) -> None:
        """Start no more jobs, and let those that run finish within the time for it."""
        if self._drain_until is None:
            self._drain_until = time.monotonic() + self._settings.drain_seconds
            self.wake()

    def give_up(self) -> None:
        """Wait for running jobs no longer."""
        self._drain_until = time.monotonic()
        self.wake()

    def stop(self) -> None:
        """Drain, then end the workers. Interrupted jobs stay recorded as running, and start anew."""
        self.drain()
        self._thread.join()

    def wake(self) -> None:
        """Let the runner look at the queue now."""
        with suppress(BlockingIOError):
            self._waker.send(b"!")

    def _run(self) -> None:
        while not self._is_drained():
            try:
                self._look()
            except Exception as error:  # the queue must go on; what went wrong is logged by its place
                _log.error("the job runner stumbled", extra={"where": place_of(error)})
                time.sleep(_LOOK_SECONDS)
            sentinels = [running.process.sentinel for running in self._running.values()]
            connection.wait([self._wakes, *sentinels], timeout=_LOOK_SECONDS)
            with suppress(BlockingIOError):
                self._wakes.recv(4096)
        if self._running:
            _log.info(
                "jobs were interrupted; the next server starts them anew", extra={"jobs": len(self._running)}
            )
        for running in self._running.values():
            running.process.kill()
        for running in self._running.values():
            running.process.join()

    def _is_drained(self) -> bool:
        if self._drain_until is None:
            return False
        return not self._running or time.monotonic() >= self._drain_until

    def _look(self) -> None:
        for running in list(self._running.values()):
            if running.process.exitcode is not None:
                del self._running[running.job.job_id]
                try:
                    self._finish(running)
                except Exception as error:
                    self._store.fail(running.job, f"the result could not be kept ({type(error).__name__})")
                    raise
            elif not self._store.is_current(running.job):
                running.process.kill()
            elif time.monotonic() > running.deadline:
                running.killed_for = (
                    f"the job ran longer than {self._settings.job_seconds} s (--job-seconds) and was stopped"
                )
                running.process.kill()
        while (
            self._drain_until is None
            and len(self._running) < self._settings.workers
            and (job := self._store.claim())
        ):
            try:
                self._start(job)
            except Exception as error:
                self._store.fail(
                    job, f"the job could not be started ({type(error).__name__}); submit it again"
                )
                raise

    def _start(self, job: Job) -> None:
        order = WorkOrder(
            kind=job.kind,
            job_folder=self._folders.jobs / job.folder,
            attempt=job.attempt,
            limits=self._limits,
            memory_bytes=self._settings.job_memory_bytes,
            model=self._published(None if job.based_on is None else self._store.job(job.based_on)),
            segments=self._published(self._segments_for(job)),
            destinations=self._destinations,
            seconds=self._settings.job_seconds,
            language_model=self._settings.language_model,
        )
        process = self._context.Process(target=run, args=(order,), name=f"job-{job.job_id}", daemon=True)
        process.start()
        deadline = time.monotonic() + self._settings.job_seconds
        self._running[job.job_id] = _Running(job, order, process, deadline)
        _log.info("job started", extra=_fields(job))

    def _segments_for(self, job: Job) -> Job | None:
        if job.based_on is None:
            return None
        return self._store.latest_completed(job.owner, job.model_id, "segment", based_on=job.based_on)

    def _published(self, job: Job | None) -> Path | None:
        return None if job is None or job.artefact is None else self._folders.artefacts / job.artefact

    def _finish(self, running: _Running) -> None:
        job, order = running.job, running.order
        running.process.join()
        outcome = Outcome.read(order.attempt_folder)
        error = outcome.error if outcome else running.killed_for or _death(running.process.exitcode)
        if error is None:
            published = self._folders.artefacts / job.artefact_name
            order.artefact.rename(published)
            if not self._store.complete(job):
                shutil.rmtree(published, ignore_errors=True)
        else:
            self._store.fail(job, error)
        shutil.rmtree(order.job_folder, ignore_errors=True)
        self._folders.drop_artefacts_but(self._store.live_artefacts())
        ended = self._store.job(job.job_id)
        _log.info("job ended", extra={**_fields(job), "status": ended.status})


def _death(exitcode: int | None) -> str:
    reason = f"signal {-exitcode}" if exitcode is not None and exitcode < 0 else f"exit code {exitcode}"
    return f"the worker process died ({reason}), perhaps for lack of memory; submit the job again"


def _fields(job: Job) -> dict[str, object]:
    return {"job": job.kind, "job_id": job.job_id, "model_id": job.model_id, "attempt": job.attempt}
