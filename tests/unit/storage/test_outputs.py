"""An output is published whole or not at all, and what a try has finished is there for the next."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from airflow_provider_cleartrace.storage.claims import Claimant, OutputInUseError
from airflow_provider_cleartrace.storage.errors import StorageError
from airflow_provider_cleartrace.storage.locations import locate
from airflow_provider_cleartrace.storage.manifests import SUCCESS
from airflow_provider_cleartrace.storage.outputs import NAMES, TableDraft
from airflow_provider_cleartrace.storage.parts import Part
from airflow_provider_cleartrace.storage.publication import IfExists, Publication

OLD, NEW = "a" * 64, "b" * 64
TASK = ("dag", "task", "run-1", -1)
OTHER_RUN = ("dag", "task", "run-2", -1)
EMPTY = pa.record_batch({"value": pa.array([], pa.string())})


class Killed(BaseException):
    """The process ends here."""


def output(
    place: str, fingerprint: str = NEW, *, task: tuple[Any, ...] = TASK, if_exists: IfExists = "replace"
) -> Publication:
    return Publication(locate(place), NAMES, if_exists, fingerprint, Claimant(task, 1))


def work(draft: TableDraft, *values: str) -> list[Part]:
    """Finish one part a value."""
    parts = []
    for index, value in enumerate(values):
        writer = draft.writer(index)
        writer.write(pa.record_batch({"value": [value]}))
        parts.append(writer.finish())
    return parts


def made(on: Publication, *values: str) -> None:
    with on.claimed() as draft:
        table = TableDraft(draft, "csv")
        table.publish(work(table, *values), EMPTY)


def killed(*_: Any, **__: Any) -> Any:
    raise Killed


def below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def staged(on: Publication) -> Path:
    return Path(on.staged.path)


@pytest.mark.parametrize("name", ["out/", "out.csv"])
@pytest.mark.parametrize("lose", [Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_finished_part_that_is_lost_leaves_the_old_output_as_it_was(
    tmp_path: Path, name: str, lose: Callable[[Path], Any]
) -> None:
    place = f"{tmp_path}/result/{name}"
    made(output(place, OLD), "old")
    old = below(tmp_path / "result")
    new = output(place)
    with new.claimed() as draft:
        table = TableDraft(draft, "csv")
        parts = work(table, "one", "two")
        lose(staged(new) / f"part-00001-{NEW[:12]}.csv")
        with pytest.raises(StorageError, match=f"part-00001-{NEW[:12]}.csv was finished, and is gone"):
            table.publish(parts, EMPTY)

    kept = below(tmp_path / "result")
    assert {name: kept[name] for name in old} == old


class TestAPublicationThatWasCutShort:
    """The process is killed at one of the steps; the next try goes on from there without any work."""

    STEPS = (("out/", "exchange"), ("out.csv", "manifest_place"), ("out.csv", "publish_bytes"))

    @pytest.fixture(params=STEPS, ids=lambda step: f"{step[0]} at {step[1]}")
    def cut_short(
        self, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> Publication:
        name, step = request.param
        made(output(f"{tmp_path}/{name}", OLD), "old")
        new = output(f"{tmp_path}/{name}")
        monkeypatch.setattr(f"airflow_provider_cleartrace.storage.placing.{step}", killed)
        with pytest.raises(Killed):
            made(new, "one", "two")
        monkeypatch.undo()
        return new

    def test_is_completed_by_the_next_try(self, cut_short: Publication, tmp_path: Path) -> None:
        with cut_short.claimed() as draft:
            told = draft.finished()
        assert told is not None
        written = [content for name, content in below(tmp_path).items() if name.endswith(".csv")]
        assert b"".join(written).count(b"one") == b"".join(written).count(b"two") == 1
        assert not list(tmp_path.glob(".*.tmp"))
        assert cut_short.finished() is None
        again = Publication(cut_short.target, NAMES, "skip", NEW, cut_short.claimant)
        assert again.finished() == told

    def test_is_not_completed_with_a_file_that_is_lost(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made(output(f"{tmp_path}/out/", OLD), "old")
        new = output(f"{tmp_path}/out/")
        monkeypatch.setattr("airflow_provider_cleartrace.storage.placing.exchange", killed)
        with pytest.raises(Killed):
            made(new, "one", "two")
        monkeypatch.undo()
        (staged(new) / f"part-00000-{NEW[:12]}.csv").unlink()
        with new.claimed() as draft:
            assert draft.finished() is None
        assert sorted(below(tmp_path / "out")) == [SUCCESS, f"part-00000-{OLD[:12]}.csv"]


def test_a_failed_try_leaves_its_finished_parts_and_nothing_else(tmp_path: Path) -> None:
    def fail() -> None:
        with output(f"{tmp_path}/out/").claimed() as draft:
            table = TableDraft(draft, "csv")
            work(table, "one")
            unfinished = table.writer(1)
            unfinished.write(pa.record_batch({"value": ["two"]}))
            unfinished.abandon()
            raise RuntimeError("the model is gone")

    with pytest.raises(RuntimeError, match="gone"):
        fail()
    hidden = tmp_path / ".out.tmp" / NEW[:12]
    assert sorted(below(tmp_path)) == sorted(
        f".out.tmp/{NEW[:12]}/{name}" for name in (".part-00000.json", f"part-00000-{NEW[:12]}.csv")
    )
    with output(f"{tmp_path}/out/").claimed() as draft:
        found = draft.parts.done(0)
        assert found is not None
        (hidden / f"part-00000-{NEW[:12]}.csv").write_bytes(b"")
        assert draft.parts.done(0) is None, "it is not as it was written"


def test_what_tries_and_runs_that_have_ended_left_is_deleted_by_the_next_success(tmp_path: Path) -> None:
    def fail(on: Publication) -> None:
        with on.claimed() as draft:
            work(TableDraft(draft, "csv"), "before the model changed")
            raise RuntimeError("ended")

    for left in (output(f"{tmp_path}/out/", OLD), output(f"{tmp_path}/out/", "c" * 64, task=OTHER_RUN)):
        with pytest.raises(RuntimeError, match="ended"):
            fail(left)
    made(output(f"{tmp_path}/out/"), "after")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


class TestIfExistsIsFail:
    @pytest.fixture
    def cut_short(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
        """A file whose task was killed before it could write the manifest."""
        place = f"{tmp_path}/out.csv"
        first = output(place, if_exists="fail")
        assert first.finished() is None
        monkeypatch.setattr("airflow_provider_cleartrace.storage.placing.publish_bytes", killed)
        with pytest.raises(Killed):
            made(first, "mine")
        monkeypatch.undo()
        assert (tmp_path / "out.csv").exists()
        return place

    def test_the_next_try_completes_its_own_publication(self, cut_short: str) -> None:
        again = output(cut_short, if_exists="fail")
        assert again.finished() is None
        with again.claimed() as draft:
            assert draft.finished() is not None
        kept = again.finished()
        assert kept is not None
        assert kept.fingerprint == NEW

    @pytest.mark.parametrize(("fingerprint", "task"), [(NEW, OTHER_RUN), (OLD, TASK)], ids=["run", "work"])
    def test_what_another_left_is_refused(
        self, cut_short: str, fingerprint: str, task: tuple[Any, ...]
    ) -> None:
        with pytest.raises(StorageError, match="there is an output already"):
            output(cut_short, fingerprint, task=task, if_exists="fail").finished()

    def test_what_another_run_published_after_the_first_look_is_refused(self, tmp_path: Path) -> None:
        late = output(f"{tmp_path}/out.csv", task=OTHER_RUN, if_exists="fail")
        assert late.finished() is None
        made(output(f"{tmp_path}/out.csv", OLD), "first")
        with late.claimed() as draft, pytest.raises(StorageError, match="there is an output already"):
            draft.finished()


def test_a_publication_that_lost_its_place_changes_nothing(tmp_path: Path) -> None:
    first, second = (
        Publication(locate(f"{tmp_path}/out/"), NAMES, "replace", NEW, Claimant(TASK, attempt))
        for attempt in (1, 2)
    )
    with first.claimed() as draft:
        table = TableDraft(draft, "csv")
        parts = work(table, "first")
        with second.claimed() as taken:
            with pytest.raises(OutputInUseError, match=r"taken over by task 'task' .* try 2"):
                table.publish(parts, EMPTY)
            assert taken.parts.done(0) is not None, "finished parts go over to the next try"
        assert not (tmp_path / "out").exists()
