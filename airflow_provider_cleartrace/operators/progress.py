"""How far a long task is: rows done, rate and time left, now and then."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

INTERVAL = 30.0
"""Fewest seconds between two lines."""


@dataclass
class Progress:
    """Logs at most every :data:`INTERVAL` seconds.

    Args:
        log: Where to.
        share_done: The share of the input that is done, in [0, 1], where it is known.
        clock: Seconds that never go back.
    """

    log: Any
    share_done: Callable[[int], float | None]
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._started = self._logged = self.clock()

    def done(self, rows: int) -> None:
        """Tell that so many rows are done by now."""
        now = self.clock()
        if now - self._logged < INTERVAL:
            return
        self._logged = now
        elapsed = now - self._started
        share = self.share_done(rows)
        left = f", about {elapsed * (1 - share) / share:.0f} s left" if share else ""
        self.log.info("%d rows done, %.0f a second%s", rows, rows / elapsed, left)
