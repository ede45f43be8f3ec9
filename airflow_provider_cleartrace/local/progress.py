"""How far a running job is: a small file, written by the worker and read by whoever asks for the status."""

from __future__ import annotations

import json
import time
from pathlib import Path

_NAME = "progress.json"
_SECONDS_BETWEEN_WRITES = 0.2
"""Nobody polls faster; a job that reports every step must not spend its time on files."""


class ProgressFile:
    """The progress of one attempt, in the attempt's folder."""

    def __init__(self, attempt_folder: Path) -> None:
        self._path = attempt_folder / _NAME
        self._next_write = 0.0

    def write(self, share: float, message: str) -> None:
        """Say how far the job is: ``share`` in [0, 1], and a phrase without data for people."""
        if time.monotonic() < self._next_write:
            return
        self._next_write = time.monotonic() + _SECONDS_BETWEEN_WRITES
        draft = self._path.with_suffix(".draft")
        draft.write_text(json.dumps([min(1.0, max(0.0, share)), message]), encoding="utf-8")
        draft.replace(self._path)

    def read(self) -> tuple[float, str | None]:
        """Read share and phrase; (0, None) before the first report."""
        try:
            share, message = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return 0.0, None
        return float(share), str(message)
