"""Structured log lines: one JSON object a line, of named fields that hold no data, keys or signed URLs."""

from __future__ import annotations

import json
import logging
import sys
import time
import traceback
from pathlib import Path

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {
    "message",
    "asctime",
    "taskName",
    "color_message",
}


class JsonLines(logging.Formatter):
    """Writes time, level, logger, event, and whatever ``extra`` the event came with."""

    def format(self, record: logging.LogRecord) -> str:
        """Give one line. An exception is told by type and place: its message may hold data."""
        line: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{record.msecs:03.0f}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        line |= {name: value for name, value in record.__dict__.items() if name not in _STANDARD}
        if record.exc_info and record.exc_info[1]:
            line["where"] = place_of(record.exc_info[1])
        return json.dumps(line, default=str)


def place_of(error: BaseException) -> str:
    """Tell an exception's type and the innermost places it passed, without its message."""
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    places = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames))
    return f"{type(error).__name__} at {places}" if places else type(error).__name__


def write_to_stderr(level: int = logging.INFO) -> None:
    """Send log lines to stderr in this form: ours from ``level`` on, of the libraries only warnings.

    What libraries say at INFO holds whole URLs, and so signatures and tokens.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger(__package__).setLevel(level)
