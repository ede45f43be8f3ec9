"""kill -9 under load, a few times; `python benchmarks/kill_server.py` does it for longer."""

from __future__ import annotations

from pathlib import Path

from benchmarks.kill_server import kill_under_load

KILLS = 6


def test_kills_under_load_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    report = kill_under_load(tmp_path / "data", kills=KILLS, seed=3)
    assert report.problems == [], report
    assert report.kills == KILLS
    assert report.jobs > KILLS
    assert report.uploads > 0
    assert report.predictions > 0
