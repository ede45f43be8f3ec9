"""The durable record of models, uploads and jobs: one SQLite database, changed in short transactions."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

from airflow_provider_cleartrace.local.records import (
    CANCELLED,
    COMPLETED,
    FAILED,
    PENDING,
    RUNNING,
    SCHEMA,
    TRAINING_KINDS,
    Job,
    JobTotals,
    ModelRecord,
    UploadRecord,
)
from airflow_provider_cleartrace.local.refusals import NotFound, NotReady, QueueFull, Taken

_BUSY_SECONDS = 30.0

_JOB_COLUMNS = ", ".join(field.name for field in fields(Job))
_UPLOAD_COLUMNS = ", ".join(field.name for field in fields(UploadRecord))


class Store:
    """Reads and changes the database; safe to use from any thread (a connection each)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        self._connection.executescript(SCHEMA)

    @property
    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")  # an acknowledged submit survives a power cut
            self._local.connection = connection
        return connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")

    # -- uploads -----------------------------------------------------------------------------------------

    def announce_upload(self, owner: str, model_id: str, file_format: str) -> None:
        """Note that an upload URL was given out; the model id exists from now on."""
        with self._transaction() as connection:
            _ensure_model(connection, owner, model_id)
            connection.execute(
                "INSERT INTO uploads (owner, model_id, file_format) VALUES (?, ?, ?) "
                "ON CONFLICT DO UPDATE SET file_format = excluded.file_format",
                (owner, model_id, file_format),
            )

    def receive_upload(self, owner: str, model_id: str, file_format: str, size: int, sha256: str) -> None:
        """Note the file that arrived last for this model id."""
        with self._transaction() as connection:
            connection.execute(
                "UPDATE uploads SET received_format = ?, size = ?, sha256 = ? "
                "WHERE owner = ? AND model_id = ?",
                (file_format, size, sha256, owner, model_id),
            )

    def upload(self, owner: str, model_id: str) -> UploadRecord | None:
        """Find what was announced and received for a model id."""
        row = self._connection.execute(
            f"SELECT {_UPLOAD_COLUMNS} FROM uploads WHERE owner = ? AND model_id = ?",  # noqa: S608  (constant names)
            (owner, model_id),
        ).fetchone()
        return UploadRecord(*row) if row else None

    # -- models ------------------------------------------------------------------------------------------

    def model_exists(self, owner: str, model_id: str) -> bool:
        """Tell whether this owner has anything under this id."""
        return _model(self._connection, owner, model_id) is not None

    def models(self, owner: str, limit: int) -> tuple[list[ModelRecord], int]:
        """List an owner's models, those first whose last job changed last; and count all there are."""
        connection = self._connection
        rows = connection.execute(
            "SELECT models.model_id, created, coalesce(last.ended, last.started, last.submitted, created) "
            "AS updated, trained.artefact FROM models "
            "LEFT JOIN jobs AS last ON last.job_id = (SELECT max(job_id) FROM jobs "
            "WHERE jobs.owner = models.owner AND jobs.model_id = models.model_id) "
            "LEFT JOIN jobs AS trained ON trained.job_id = trained_by "
            "WHERE models.owner = ? ORDER BY updated DESC, models.model_id LIMIT ?",
            (owner, limit),
        ).fetchall()
        (total,) = connection.execute("SELECT count(*) FROM models WHERE owner = ?", (owner,)).fetchone()
        return [ModelRecord(*row) for row in rows], total

    def training(self, owner: str, model_id: str) -> Job:
        """Find the training job whose model the id stands for.

        Raises:
            NotFound: this owner has no such model.
            NotReady: it is not trained; the text holds the status.
        """
        row = _model(self._connection, owner, model_id)
        if row is None:
            raise unknown_model(model_id)
        if row[0] is None:
            raise NotReady(self._why_untrained(owner, model_id))
        return self.job(row[0])

    def _why_untrained(self, owner: str, model_id: str) -> str:
        last = self.latest(owner, model_id, TRAINING_KINDS)
        if last is None:
            return f"model {model_id!r} is not trained: no fit was submitted yet (status {PENDING})"
        reason = f": {last.error}" if last.error else ""
        return f"model {model_id!r} is not trained: its {last.kind} job is {last.status}{reason}"

    # -- jobs --------------------------------------------------------------------------------------------

    def job(self, job_id: int) -> Job:
        """Read a job that exists."""
        return Job(*self._connection.execute(_SELECT_JOB + "WHERE job_id = ?", (job_id,)).fetchone())

    def latest(self, owner: str, model_id: str, kinds: Sequence[str] | None = None) -> Job | None:
        """Find the job of a model (of some kinds) that was submitted last."""
        return _latest(self._connection, owner, model_id, kinds)

    def latest_completed(self, owner: str, model_id: str, kind: str, *, based_on: int) -> Job | None:
        """Find the last analysis of one kind that a trained model has."""
        row = self._connection.execute(
            _SELECT_JOB + "WHERE owner = ? AND model_id = ? AND kind = ? AND based_on = ? AND status = ? "
            "ORDER BY job_id DESC LIMIT 1",
            (owner, model_id, kind, based_on, COMPLETED),
        ).fetchone()
        return Job(*row) if row else None

    def submit(
        self,
        owner: str,
        model_id: str,
        kind: str,
        *,
        fingerprint: str,
        folder: str,
        queue_length: int,
        queue_share: int,
    ) -> Job:
        """Queue a job, or find the same one where it was submitted before.

        The same is one of the same kind and fingerprint, the model's last of this sort, and not failed. Then
        ``job.folder != folder`` tells the caller that the new folder is not needed. ``queue_length`` jobs may
        wait, ``queue_share`` of one owner.

        Raises:
            NotFound, NotReady: an analysis of a model that is not there or not trained.
            Taken: other work of this sort has not ended yet.
            QueueFull: too many jobs wait.
        """
        trains = kind in TRAINING_KINDS
        with self._transaction() as connection:
            based_on = None if trains else self.training(owner, model_id).job_id
            last = _latest(connection, owner, model_id, TRAINING_KINDS if trains else (kind,))
            if last is not None and last.status != FAILED:
                same_work = (last.kind, last.fingerprint, last.based_on) == (kind, fingerprint, based_on)
                if same_work:
                    return last
                if not last.is_over:
                    raise Taken(
                        f"model {model_id!r} has another {last.kind} job that is {last.status}; "
                        "wait for it, cancel it, or use another model id"
                    )
            waiting, own = connection.execute(
                "SELECT count(*), coalesce(sum(owner = ?), 0) FROM jobs WHERE status = ?", (owner, PENDING)
            ).fetchone()
            if waiting >= queue_length:
                raise QueueFull(f"{waiting} jobs wait already; try again later")
            if own >= queue_share:
                raise QueueFull(f"{own} jobs of this key wait already; try again later")
            _ensure_model(connection, owner, model_id)
            cursor = connection.execute(
                "INSERT INTO jobs (owner, model_id, kind, fingerprint, folder, based_on, status, submitted) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (owner, model_id, kind, fingerprint, folder, based_on, PENDING, time.time()),
            )
            row = connection.execute(_SELECT_JOB + "WHERE job_id = ?", (cursor.lastrowid,)).fetchone()
        return Job(*row)

    def claim(self) -> Job | None:
        """Take the job that is next: it is running from now on, under its next attempt number.

        Owners take turns, so that one with many jobs does not keep the others waiting; of an owner's jobs
        the oldest is next.
        """
        with self._transaction() as connection:
            row = connection.execute(
                _SELECT_JOB
                + "LEFT JOIN turns USING (owner) WHERE status = ? ORDER BY coalesce(turn, 0), job_id LIMIT 1",
                (PENDING,),
            ).fetchone()
            if row is None:
                return None
            job_id, owner = Job(*row).job_id, Job(*row).owner
            connection.execute(
                "INSERT INTO turns SELECT ?, 1 + coalesce(max(turn), 0) FROM turns WHERE true "
                "ON CONFLICT DO UPDATE SET turn = excluded.turn",
                (owner,),
            )
            connection.execute(
                "UPDATE jobs SET status = ?, attempt = attempt + 1, started = ? WHERE job_id = ?",
                (RUNNING, time.time(), job_id),
            )
            row = connection.execute(_SELECT_JOB + "WHERE job_id = ?", (job_id,)).fetchone()
        return Job(*row)

    def is_current(self, job: Job) -> bool:
        """Tell whether this attempt is still the one that may publish."""
        row = self._connection.execute(
            "SELECT 1 FROM jobs WHERE job_id = ? AND attempt = ? AND status = ?",
            (job.job_id, job.attempt, RUNNING),
        ).fetchone()
        return row is not None

    def complete(self, job: Job) -> bool:
        """Publish an attempt's artefact. False: the attempt was fenced off, its files are to be dropped.

        A trained model replaces the earlier one under its id in the same step.
        """
        with self._transaction() as connection:
            trained_by = _model(connection, job.owner, job.model_id)
            if job.kind not in TRAINING_KINDS and trained_by != (job.based_on,):
                _end(
                    connection,
                    job,
                    FAILED,
                    error="the model was trained anew meanwhile; submit the job again",
                )
                return False
            if not _end(connection, job, COMPLETED, artefact=job.artefact_name):
                return False
            if job.kind in TRAINING_KINDS:
                connection.execute(
                    "UPDATE models SET trained_by = ? WHERE owner = ? AND model_id = ?",
                    (job.job_id, job.owner, job.model_id),
                )
        return True

    def fail(self, job: Job, error: str) -> None:
        """End an attempt as failed; nothing happens where it was fenced off."""
        with self._transaction() as connection:
            _end(connection, job, FAILED, error=error)

    def cancel(self, job: Job) -> None:
        """End a job that waits or runs, whatever its attempt; its process is fenced off from now on."""
        with self._transaction() as connection:
            connection.execute(
                "UPDATE jobs SET status = ?, error = ?, ended = ? WHERE job_id = ? AND status IN (?, ?)",
                (FAILED, CANCELLED, time.time(), job.job_id, PENDING, RUNNING),
            )

    def requeue_interrupted(self) -> int:
        """Let the jobs that ran when a server ended wait again, in their old order."""
        with self._transaction() as connection:
            return connection.execute(
                "UPDATE jobs SET status = ? WHERE status = ?", (PENDING, RUNNING)
            ).rowcount

    def job_totals(self) -> list[JobTotals]:
        """Count the jobs of all owners."""
        rows = self._connection.execute(
            "SELECT kind, status, count(*), coalesce(sum(max(0, ended - started)), 0.0) FROM jobs "
            "GROUP BY kind, status"
        )
        return [JobTotals(*row) for row in rows]

    def open_folders(self) -> list[str]:
        """Name the job folders that are still needed."""
        rows = self._connection.execute("SELECT folder FROM jobs WHERE status IN (?, ?)", (PENDING, RUNNING))
        return [folder for (folder,) in rows]

    def live_artefacts(self) -> list[str]:
        """Name the artefacts that can still be asked for: trained models and the analyses of them."""
        rows = self._connection.execute(
            "SELECT jobs.artefact FROM jobs JOIN models USING (owner, model_id) "
            "WHERE jobs.artefact IS NOT NULL AND models.trained_by IN (jobs.job_id, jobs.based_on)"
        )
        return [artefact for (artefact,) in rows]


_SELECT_JOB = f"SELECT {_JOB_COLUMNS} FROM jobs "  # noqa: S608  (constant names)


def unknown_model(model_id: str) -> NotFound:
    """Build the refusal for a model id that this key does not have."""
    return NotFound(f"there is no model {model_id!r} for this key")


def _model(connection: sqlite3.Connection, owner: str, model_id: str) -> tuple[int | None] | None:
    row: tuple[int | None] | None = connection.execute(
        "SELECT trained_by FROM models WHERE owner = ? AND model_id = ?", (owner, model_id)
    ).fetchone()
    return row


def _ensure_model(connection: sqlite3.Connection, owner: str, model_id: str) -> None:
    connection.execute(
        "INSERT INTO models (owner, model_id, created) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        (owner, model_id, time.time()),
    )


def _latest(
    connection: sqlite3.Connection, owner: str, model_id: str, kinds: Sequence[str] | None
) -> Job | None:
    chosen = f"AND kind IN ({', '.join('?' * len(kinds))}) " if kinds else ""
    row = connection.execute(
        f"{_SELECT_JOB} WHERE owner = ? AND model_id = ? {chosen} ORDER BY job_id DESC LIMIT 1",
        (owner, model_id, *(kinds or ())),
    ).fetchone()
    return Job(*row) if row else None


def _end(
    connection: sqlite3.Connection,
    job: Job,
    status: str,
    *,
    error: str | None = None,
    artefact: str | None = None,
) -> bool:
    cursor = connection.execute(
        "UPDATE jobs SET status = ?, error = ?, artefact = ?, ended = ? "
        "WHERE job_id = ? AND attempt = ? AND status = ?",
        (status, error, artefact, time.time(), job.job_id, job.attempt, RUNNING),
    )
    return cursor.rowcount == 1
