"""A long task tells now and then how far it is."""

from __future__ import annotations

from typing import Any

from airflow_provider_cleartrace.operators.progress import Progress


class Log:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, text: str, *values: Any) -> None:
        self.lines.append(text % values)


def test_at_most_every_thirty_seconds_with_rate_and_time_left() -> None:
    log, now = Log(), [0.0]
    progress = Progress(log, lambda rows: rows / 1000, clock=lambda: now[0])
    for second in range(101):
        now[0] = float(second)
        progress.done(second * 5)
    assert log.lines == [
        "150 rows done, 5 a second, about 170 s left",
        "300 rows done, 5 a second, about 140 s left",
        "450 rows done, 5 a second, about 110 s left",
    ]


def test_without_a_known_end_no_time_left_is_made_up() -> None:
    log, now = Log(), [0.0]
    progress = Progress(log, lambda _: None, clock=lambda: now[0])
    now[0] = 40.0
    progress.done(400)
    assert log.lines == ["400 rows done, 10 a second"]
