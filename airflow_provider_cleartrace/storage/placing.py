"""How a whole draft takes its place: the one step that differs between files, folders and S3."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from airflow_provider_cleartrace.storage.errors import StorageError
from airflow_provider_cleartrace.storage.exchange import exchange
from airflow_provider_cleartrace.storage.locations import Location
from airflow_provider_cleartrace.storage.manifests import (
    REJECTS,
    SUCCESS,
    FileEntry,
    Manifest,
    manifest_place,
    rejects_place,
)
from airflow_provider_cleartrace.storage.publishing import publish_bytes


def place(staged: Location, target: Location, manifest: Manifest, check: Callable[[], None]) -> None:
    """Put a draft into its place; begun and cut short, it can be done again.

    Args:
        staged: The folder of the draft, with every file of the manifest by its name.
        target: A file, or a folder.
        manifest: What is published.
        check: Raises where the place is not ours any more.
    """
    if not target.named_as_folder:
        _move_file(staged, target, manifest)
    elif target.is_local:
        _swap_folders(staged, target, manifest)
    else:
        _copy_objects(staged, target, manifest, check)


def _move_file(staged: Location, target: Location, manifest: Manifest) -> None:
    # A manifest never speaks of another file than the one that is there.
    manifest_place(target).delete()
    if not _has_rejects(manifest):
        rejects_place(target).delete()
    elif staged.child(REJECTS).is_file():
        staged.child(REJECTS).move(rejects_place(target))
    if staged.child(target.name).is_file():
        staged.child(target.name).move(target)
    publish_bytes(manifest_place(target), manifest.to_bytes())


def _swap_folders(staged: Location, target: Location, manifest: Manifest) -> None:
    for name in set(staged.names()) - {SUCCESS, *_published(manifest)}:
        staged.child(name).delete()
    aside = staged.sibling("replaced")
    aside.delete_folder()
    with target.errors_named():
        if not target.is_folder():
            Path(staged.path).rename(target.path)
        elif not exchange(staged.path, target.path):
            Path(target.path).rename(aside.path)
            Path(staged.path).rename(target.path)


def _copy_objects(staged: Location, target: Location, manifest: Manifest, check: Callable[[], None]) -> None:
    published = _published(manifest)
    manifest_place(target).delete()
    for name in set(target.names()) - set(published):
        target.child(name).delete()
    for name in published:
        check()
        staged.child(name).move(target.child(name))
    check()
    publish_bytes(manifest_place(target), manifest.to_bytes())


def _published(manifest: Manifest) -> list[str]:
    return [*(entry.name for entry in manifest.files), *([REJECTS] if _has_rejects(manifest) else [])]


def _has_rejects(manifest: Manifest) -> bool:
    return manifest.counts.get("rows_rejected", 0) > 0


def is_at(target: Location, manifest: Manifest) -> bool:
    """Whether the files of a manifest are at their place with the sizes it tells."""
    place = target.child if target.named_as_folder else target.sibling
    return all(_has_size(place(entry.name), entry.bytes) for entry in manifest.files)


def can_be_placed(staged: Location, target: Location, manifest: Manifest) -> bool:
    """Whether a draft is whole; the file of a publication that was cut short may be in its place already."""
    is_whole = first_missing(manifest.files, staged) is None
    return is_whole or (not target.named_as_folder and is_at(target, manifest))


def first_missing(files: Sequence[FileEntry], staged: Location) -> str | None:
    """The first of some files that is not in a folder with the size that was told."""
    return next((each.name for each in files if not _has_size(staged.child(each.name), each.bytes)), None)


def _has_size(location: Location, size: int) -> bool:
    try:
        return location.size() == size
    except StorageError:
        return False
