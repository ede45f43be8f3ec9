"""One task at a time writes an output; on S3 the same is shown in ``tests/integration/test_s3.py``."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_cleartrace.storage import claims
from airflow_provider_cleartrace.storage.claims import Claim, Claimant, OutputInUseError
from airflow_provider_cleartrace.storage.errors import StorageError
from airflow_provider_cleartrace.storage.locations import locate

ONE, OTHER = ("dag", "task", "run-1", -1), ("dag", "task", "run-2", -1)


def claim(tmp_path: Path, task: tuple[Any, ...] = ONE, attempt: int = 1) -> Claim:
    return Claim(locate(f"{tmp_path}/out/"), locate(f"{tmp_path}/claims"), Claimant(task, attempt))


def files(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "claims").iterdir())


def show_no_life(tmp_path: Path) -> None:
    """The last sign of life is longer ago than a lease."""
    (last,) = files(tmp_path)
    os.utime(last, (0, 0))


def test_a_second_task_is_refused_by_the_name_of_the_first(tmp_path: Path) -> None:
    named = r"out/: being written by task 'task' of DAG 'dag', run 'run-1', try 1: it showed life \d+ s ago"
    with claim(tmp_path) as first:
        with pytest.raises(OutputInUseError, match=named), claim(tmp_path, OTHER):
            raise AssertionError("not reached")
        first.check()
    with claim(tmp_path, OTHER) as second:
        second.check()
    assert files(tmp_path) == []


def test_another_map_index_is_told_how_to_part_them(tmp_path: Path) -> None:
    mapped = ("dag", "task", "run-1", 3)
    with (
        claim(tmp_path, ("dag", "task", "run-1", 2)),
        pytest.raises(OutputInUseError, match=r"map indexes 2 and 3 of this run .* put \{\{ ti.map_index"),
        claim(tmp_path, mapped),
    ):
        raise AssertionError("not reached")


def test_of_many_at_one_moment_one_alone_has_the_place(tmp_path: Path) -> None:
    count = 8
    together, ended = threading.Barrier(count), threading.Barrier(count)

    def contend(number: int) -> bool:
        together.wait(30)
        try:
            with claim(tmp_path, ("dag", "task", f"run-{number}", -1)) as mine:
                ended.wait(30)
                mine.check()
                return True
        except OutputInUseError:
            ended.wait(30)
            return False

    with ThreadPoolExecutor(count) as pool:
        assert sum(pool.map(contend, range(count))) == 1


def test_a_later_try_takes_over_at_once_and_the_earlier_one_is_told(tmp_path: Path) -> None:
    with claim(tmp_path, attempt=1) as earlier:
        with claim(tmp_path, attempt=2) as later:
            with pytest.raises(OutputInUseError, match=r"taken over by .* try 2; this task"):
                earlier.check()
            with pytest.raises(OutputInUseError, match=r"being written by .* try 2"), claim(tmp_path):
                raise AssertionError("not reached")
            later.check()
        with pytest.raises(OutputInUseError):
            earlier.check()
    assert files(tmp_path) == []


def test_an_earlier_try_does_not_believe_to_hold_what_the_later_has_left(tmp_path: Path) -> None:
    with claim(tmp_path, attempt=1) as earlier:
        with claim(tmp_path, attempt=2):
            pass
        with pytest.raises(OutputInUseError, match="taken over by another task"):
            earlier.check()


def test_a_claimant_without_a_sign_of_life_is_taken_over(tmp_path: Path) -> None:
    with claim(tmp_path) as dead:
        show_no_life(tmp_path)
        with claim(tmp_path, OTHER) as heir:
            heir.check()
            with pytest.raises(OutputInUseError, match=r"taken over by .* 'run-2'"):
                dead.check()


def test_a_claimant_shows_life_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = threading.Event()
    original = claims.publish_bytes

    def publish(*arguments: Any) -> None:
        original(*arguments)
        shown.set()

    monkeypatch.setattr(claims, "publish_bytes", publish)
    monkeypatch.setattr(claims, "RENEWED_EVERY", 0.01)
    with claim(tmp_path) as alive:
        show_no_life(tmp_path)
        shown.clear()
        assert shown.wait(30)
        assert locate(files(tmp_path)[-1]).age() < claims.LEASE
        alive.check()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "claims").write_text("a file where a folder is needed")
    with pytest.raises(StorageError, match=r"out/: cannot be written: (File exists|Not a directory)"):
        claim(tmp_path).__enter__()
