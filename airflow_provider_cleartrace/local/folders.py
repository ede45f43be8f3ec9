"""Where a server keeps its files, and the lock and secret of its data directory."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_SECRET_BYTES = 32


class DataDirInUse(RuntimeError):
    """Another server works on this data directory."""


@dataclass(frozen=True, slots=True)
class Folders:
    """The layout of a data directory.

    ``jobs/<folder>`` holds a job's request and its attempts, ``artefacts/<name>`` what a job published (a
    folder appears there by rename, complete or not at all), ``uploads/<owner>`` received files, ``incoming``
    half-received ones.
    """

    root: Path

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.root / "state.db"

    @property
    def jobs(self) -> Path:
        """One folder a job that has not ended."""
        return self.root / "jobs"

    @property
    def artefacts(self) -> Path:
        """One folder a published result."""
        return self.root / "artefacts"

    @property
    def uploads(self) -> Path:
        """Received files, by owner."""
        return self.root / "uploads"

    @property
    def incoming(self) -> Path:
        """Files while they are being received."""
        return self.root / "incoming"

    def prepare(self) -> None:
        """Create what is missing, for this user alone; drop what a killed server left half-received."""
        shutil.rmtree(self.incoming, ignore_errors=True)
        for folder in (self.root, self.jobs, self.artefacts, self.uploads, self.incoming):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def lock(self) -> IO[bytes]:
        """Take the directory for this process; the lock ends with the file object or the process.

        Raises:
            DataDirInUse: another process holds it.
        """
        handle = (self.root / "server.lock").open("ab")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.close()
            raise DataDirInUse(
                f"another cleartrace-local server works on {self.root}; stop it, or name another --data-dir"
            ) from None
        return handle

    def secret(self) -> bytes:
        """Give the server's own secret, made at the first start: it signs upload URLs."""
        path = self.root / "secret"
        with contextlib.suppress(FileNotFoundError):
            return path.read_bytes()
        draft = self.root / f"secret-{uuid.uuid4().hex}"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(_SECRET_BYTES))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        return path.read_bytes()

    def new_job(self) -> Path:
        """Make an empty job folder."""
        folder = self.jobs / uuid.uuid4().hex
        folder.mkdir(mode=0o700)
        return folder

    def drop_jobs_but(self, names: Iterable[str]) -> None:
        """Delete the job folders that the database no longer names."""
        _drop_all_but(self.jobs, names)

    def drop_artefacts_but(self, names: Iterable[str]) -> None:
        """Delete the artefacts that the database no longer names."""
        _drop_all_but(self.artefacts, names)


def _drop_all_but(parent: Path, names: Iterable[str]) -> None:
    kept = set(names)
    for folder in parent.iterdir():
        if folder.name not in kept:
            shutil.rmtree(folder, ignore_errors=True)
