"""An output is published whole or not at all, and no task touches what another still writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from airflow_provider_cleartrace.storage.errors import StorageError
from airflow_provider_cleartrace.storage.locations import locate
from airflow_provider_cleartrace.storage.manifests import SUCCESS
from airflow_provider_cleartrace.storage.outputs import IfExists, Output
from airflow_provider_cleartrace.storage.parts import Part, PartWriter

OLD, NEW = "a" * 64, "b" * 64
TASK = ["dag", "task", "run-1", -1]
EMPTY = pa.record_batch({"value": pa.array([], pa.string())})


class Killed(BaseException):
    """The process ends here."""


def output(
    place: str, fingerprint: str = NEW, *, task: list[Any] = TASK, if_exists: IfExists = "replace"
) -> Output:
    return Output(locate(place), "csv", if_exists, fingerprint, {"task": task})


def work(on: Output, *values: str) -> list[Part]:
    """Claim the place and finish one part a value."""
    on.claim()
    parts = []
    for index, value in enumerate(values):
        writer = PartWriter(on.staging, index)
        writer.write(pa.record_batch({"value": [value]}))
        parts.append(writer.finish())
    return parts


def made(on: Output, *values: str) -> None:
    on.publish(work(on, *values), EMPTY)


def below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def staged(on: Output) -> Path:
    return Path(on.staging.folder.path)


@pytest.mark.parametrize("name", ["out/", "out.csv"])
@pytest.mark.parametrize("lose", [Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_finished_part_that_is_lost_leaves_the_old_output_as_it_was(
    tmp_path: Path, name: str, lose: Callable[[Path], Any]
) -> None:
    place = f"{tmp_path}/result/{name}"
    made(output(place, OLD), "old")
    old = below(tmp_path / "result")
    new = output(place)
    parts = work(new, "one", "two")
    lose(staged(new) / f"part-00001-{NEW[:12]}.csv")

    with pytest.raises(StorageError, match=f"part-00001-{NEW[:12]}.csv was finished, and is gone"):
        new.publish(parts, EMPTY)

    kept = below(tmp_path / "result")
    assert {name: kept[name] for name in old} == old


def test_a_cut_short_publication_is_not_completed_with_a_part_that_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = f"{tmp_path}/out/"
    made(output(place, OLD), "old")
    new = output(place)
    parts = work(new, "one", "two")

    def killed(*_: Any) -> bool:
        raise Killed

    monkeypatch.setattr("airflow_provider_cleartrace.storage.outputs.exchange", killed)
    with pytest.raises(Killed):
        new.publish(parts, EMPTY)
    monkeypatch.undo()
    assert (staged(new) / SUCCESS).exists()
    (staged(new) / f"part-00000-{NEW[:12]}.csv").unlink()

    assert new.finished() is None
    assert sorted(below(tmp_path / "out")) == [SUCCESS, f"part-00000-{OLD[:12]}.csv"]


@pytest.mark.parametrize("name", ["out/", "out.csv"])
def test_what_another_run_still_writes_beside_an_output_stays(tmp_path: Path, name: str) -> None:
    other = output(f"{tmp_path}/{name}", OLD, task=["dag", "task", "run-0", -1])
    parts = work(other, "slow")
    made(output(f"{tmp_path}/{name}"), "fast")

    other.publish(parts, EMPTY)
    files = below(tmp_path).items()
    assert [content for name, content in files if name.endswith(".csv")] == [b'"value"\n"slow"\n']
    assert not list(tmp_path.glob(".*.tmp"))


def test_what_an_earlier_try_of_the_task_left_with_other_work_is_deleted(tmp_path: Path) -> None:
    work(output(f"{tmp_path}/out/", OLD), "before the model changed")
    made(output(f"{tmp_path}/out/"), "after")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


class TestIfExistsIsFail:
    @pytest.fixture
    def cut_short(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
        """A file whose task was killed before it could write the manifest."""
        place = f"{tmp_path}/out.csv"
        first = output(place, if_exists="fail")
        assert first.finished() is None
        parts = work(first, "mine")

        def killed(*_: Any) -> None:
            raise Killed

        monkeypatch.setattr("airflow_provider_cleartrace.storage.outputs.publish_bytes", killed)
        with pytest.raises(Killed):
            first.publish(parts, EMPTY)
        monkeypatch.undo()
        assert (tmp_path / "out.csv").exists()
        return place

    def test_the_next_try_completes_its_own_publication(self, cut_short: str) -> None:
        again = output(cut_short, if_exists="fail")
        assert again.finished() is None
        made(again, "mine")
        kept = again.finished()
        assert kept is not None
        assert kept.fingerprint == NEW

    @pytest.mark.parametrize(
        ("fingerprint", "task"), [(NEW, ["dag", "task", "run-2", -1]), (OLD, TASK)], ids=["run", "work"]
    )
    def test_what_another_left_is_refused(self, cut_short: str, fingerprint: str, task: list[Any]) -> None:
        with pytest.raises(StorageError, match="there is an output already"):
            output(cut_short, fingerprint, task=task, if_exists="fail").finished()
