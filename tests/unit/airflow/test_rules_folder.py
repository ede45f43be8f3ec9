"""A folder of explained rows takes its place whole, and leaves the work of other tasks alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_provider_cleartrace.operators.rules_folder import PAYLOADS, RulesFolder
from airflow_provider_cleartrace.storage.errors import StorageError
from airflow_provider_cleartrace.storage.locations import locate
from airflow_provider_cleartrace.storage.manifests import FileEntry


def folder_of(place: Path, fingerprint: str) -> RulesFolder:
    return RulesFolder(
        locate(f"{place}/"), "replace", fingerprint * 64, {"task": ["d", "t", fingerprint, -1]}
    )


def staged(folder: RulesFolder, content: bytes) -> list[FileEntry]:
    folder.prepare()
    with folder.staged.child(PAYLOADS).create() as stream:
        stream.write(content)
    return [FileEntry(PAYLOADS, 1, len(content), "0" * 64)]


def test_a_publication_leaves_what_another_task_has_staged(tmp_path: Path) -> None:
    one, other = folder_of(tmp_path / "out", "a"), folder_of(tmp_path / "out", "b")
    files, others = staged(one, b"one"), staged(other, b"other")

    one.publish(files, {})
    assert (tmp_path / "out" / PAYLOADS).read_bytes() == b"one"
    other.publish(others, {})
    assert (tmp_path / "out" / PAYLOADS).read_bytes() == b"other"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_staged_file_that_is_gone_or_cut_short_replaces_nothing(tmp_path: Path, damage: object) -> None:
    before = folder_of(tmp_path / "out", "a")
    before.publish(staged(before, b"before"), {})
    after = folder_of(tmp_path / "out", "b")
    files = staged(after, b"after")
    damage(Path(after.staged.path) / PAYLOADS)  # type: ignore[operator]

    with pytest.raises(StorageError, match=PAYLOADS):
        after.publish(files, {})
    assert (tmp_path / "out" / PAYLOADS).read_bytes() == b"before"
