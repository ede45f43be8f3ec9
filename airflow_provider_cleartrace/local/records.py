"""What the store keeps: its tables, and a record for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from airflow_provider_cleartrace.api.operations import FIT, FIT_DISTILL

PENDING: Final = "pending"
RUNNING: Final = "running"
COMPLETED: Final = "completed"
FAILED: Final = "failed"

CANCELLED: Final = "cancelled"
"""The error text of a job that was cancelled."""

TRAINING_KINDS: Final = tuple(operation.job for operation in (FIT, FIT_DISTILL) if operation.job)
"""Jobs that make a model's predictor; the other kinds analyse one."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS models (
    owner TEXT NOT NULL, model_id TEXT NOT NULL, created REAL NOT NULL,
    trained_by INTEGER REFERENCES jobs (job_id),
    PRIMARY KEY (owner, model_id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS uploads (
    owner TEXT NOT NULL, model_id TEXT NOT NULL, file_format TEXT NOT NULL,
    received_format TEXT, size INTEGER, sha256 TEXT,
    PRIMARY KEY (owner, model_id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS jobs (
    job_id INTEGER PRIMARY KEY AUTOINCREMENT,
    owner TEXT NOT NULL, model_id TEXT NOT NULL, kind TEXT NOT NULL, fingerprint TEXT NOT NULL,
    folder TEXT NOT NULL, based_on INTEGER, status TEXT NOT NULL, attempt INTEGER NOT NULL DEFAULT 0,
    error TEXT, artefact TEXT, submitted REAL NOT NULL, started REAL, ended REAL
);
CREATE TABLE IF NOT EXISTS turns (owner TEXT PRIMARY KEY, turn INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS jobs_of_model ON jobs (owner, model_id, job_id);
CREATE INDEX IF NOT EXISTS jobs_to_do ON jobs (status, job_id);
"""


@dataclass(frozen=True, slots=True)
class Job:
    """One row of the queue.

    ``based_on`` is the training job whose model an analysis reads; ``attempt`` counts the starts, and fences
    off what an earlier one left running; ``artefact`` names the published folder.
    """

    job_id: int
    owner: str
    model_id: str
    kind: str
    fingerprint: str
    folder: str
    based_on: int | None
    status: str
    attempt: int
    error: str | None
    artefact: str | None

    @property
    def is_over(self) -> bool:
        """Whether the job has ended, one way or the other."""
        return self.status in (COMPLETED, FAILED)

    @property
    def artefact_name(self) -> str:
        """The folder this attempt publishes to."""
        return f"{self.job_id}-{self.attempt}"


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """A model id, when it came to be and last changed (Unix seconds), and its model where one is trained."""

    model_id: str
    created: float
    updated: float
    artefact: str | None


@dataclass(frozen=True, slots=True)
class JobTotals:
    """How many jobs of one kind are in one state, and how long those that ended ran, in seconds."""

    kind: str
    status: str
    jobs: int
    seconds: float


@dataclass(frozen=True, slots=True)
class UploadRecord:
    """An upload that was announced (``file_format``) and, once the bytes are here, received."""

    file_format: str
    received_format: str | None
    size: int | None
    sha256: str | None
