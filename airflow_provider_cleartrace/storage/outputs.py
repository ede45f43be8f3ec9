"""One output of a task: what was there before, parts that survive a crash, a publication that is whole.

Parts are written into a hidden folder beside the output, whose name holds the fingerprint of everything that
decides what the output is; a later try of the same work finds the finished parts there. When the last part is
done, the output takes its place: a local file by renaming, a local folder by changing places with the one
that was there, an object by a copy, a folder on S3 by copies with the ``_SUCCESS`` manifest last.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_cleartrace.storage.errors import StorageError
from airflow_provider_cleartrace.storage.exchange import exchange
from airflow_provider_cleartrace.storage.locations import Location
from airflow_provider_cleartrace.storage.manifests import PART, SUCCESS, FileEntry, Manifest
from airflow_provider_cleartrace.storage.parts import Part, PartWriter, Staging, append_file
from airflow_provider_cleartrace.storage.publishing import publish_bytes

if TYPE_CHECKING:
    import pyarrow as pa

IfExists = Literal["replace", "fail", "skip"]
IF_EXISTS = ("replace", "fail", "skip")

REJECTS = "_rejects.jsonl"
"""The rejected rows of a folder; those of a file ``NAME`` lie in ``NAME.rejects.jsonl`` beside it."""

_STARTED = ".started"
"""Says in the hidden folder whose it is."""


@dataclass(frozen=True)
class Output:
    """Where a result goes, and how.

    Args:
        target: A file with a known extension, or a folder (its URI ends in a slash).
        file_format: ``parquet``, ``jsonl`` or ``csv``.
        if_exists: What an earlier output means: ``replace`` it, ``fail``, or ``skip`` the work if its
            manifest has the same fingerprint (and replace it otherwise).
        fingerprint: Hex digest of everything that decides what the output holds.
        made_by: What the manifest says of its maker; ``task`` in it names the task instance.
    """

    target: Location
    file_format: str
    if_exists: IfExists
    fingerprint: str
    made_by: Mapping[str, Any] = field(default_factory=dict)

    @property
    def _mark(self) -> str:
        return self.fingerprint[:12]

    @property
    def staging(self) -> Staging:
        """Where the parts lie until they are published."""
        folder = self.target.sibling(f".{self.target.name}.{self._mark}.tmp")
        return Staging(folder, self._mark, self.file_format)

    @property
    def manifest_place(self) -> Location:
        """Where the manifest of the published output lies."""
        if self.target.named_as_folder:
            return self.target.child(SUCCESS)
        return self.target.sibling(f".{self.target.name}.manifest.json")

    @property
    def rejects_place(self) -> Location:
        """Where the rejected rows of the published output lie."""
        if self.target.named_as_folder:
            return self.target.child(REJECTS)
        return self.target.sibling(f"{self.target.name}.rejects.jsonl")

    def finished(self) -> Manifest | None:
        """Look at what is there before any work is done; returns the manifest of an output to be kept.

        Raises:
            StorageError: there is an output and ``if_exists`` is ``fail``; the folder holds files that no
                task of this provider wrote; the target is of the other kind (file, folder); or another map
                index of this run writes, or has written, to the same place.
        """
        exists = self._exists()
        there = Manifest.read(self.manifest_place) if exists else None
        manifest = None
        if there is not None:
            self._refuse_sibling(there.made_by, there.fingerprint)
            if there.fingerprint == self.fingerprint and self._holds(there):
                manifest = there
        if self.if_exists == "skip" and manifest is not None:
            return manifest
        if self.if_exists == "fail" and exists:
            # What an earlier try of this very task published is its own.
            if manifest is not None and manifest.made_by.get("task") == self.made_by.get("task"):
                return manifest
            if there is not None or not self._was_publishing():
                raise StorageError(f"{self.target.uri}: there is an output already, and if_exists is 'fail'")
        return self._interrupted_publication()

    def _exists(self) -> bool:
        target = self.target
        if not target.named_as_folder:
            if target.is_local and target.is_folder():
                raise StorageError(f"{target.uri}: a folder; end it with a slash to write a folder of parts")
            return target.is_file()
        if target.is_local and target.is_file():
            raise StorageError(f"{target.uri}: a file; leave out the slash to write one file")
        names = target.names()
        strange = [name for name in names if not PART.fullmatch(name) and name not in {SUCCESS, REJECTS}]
        if strange:
            raise StorageError(
                f"{target.uri}: the folder holds files that are no parts of an output,"
                f" such as {strange[0]!r}: name a folder of its own"
            )
        return bool(names)

    def _holds(self, manifest: Manifest) -> bool:
        """Whether the files of a manifest are there with the sizes it tells."""
        place = self.target.child if self.target.named_as_folder else self.target.sibling
        return first_missing(manifest.files, place) is None

    def _interrupted_publication(self) -> Manifest | None:
        """Finish what a try was about to do when it was killed: all is there but the last renaming."""
        if not (self.target.named_as_folder and self.target.is_local):
            return None
        manifest = Manifest.read(self.staging.folder.child(SUCCESS))
        if manifest is None or manifest.fingerprint != self.fingerprint:
            return None
        if first_missing(manifest.files, self.staging.folder.child) is not None:
            return None
        self._publish_local_folder(manifest)
        self._tidy()
        return manifest

    def _was_publishing(self) -> bool:
        """Whether a try of this very task was killed on the way to its manifest, which comes last."""
        started = _read_json(self.staging.folder.child(_STARTED))
        return started.get("fingerprint") == self.fingerprint and self._is_ours(self.staging.folder)

    def claim(self) -> None:
        """Make sure that the place takes files, and that no other map index takes it, before any work.

        Each task says first that it is there, and then looks for others: of two at the same moment one at
        least finds the other.

        Raises:
            StorageError: it does not, or another does; the message says why.
        """
        try:
            with self.staging.folder.child(_STARTED).create() as stream:
                stream.write(
                    json.dumps({"fingerprint": self.fingerprint, "made_by": dict(self.made_by)}).encode()
                )
        except StorageError as error:
            reason = str(error).rpartition(": ")[2]
            raise StorageError(f"{self.target.uri}: cannot be written: {reason}") from None
        try:
            for name in self._left_beside():
                started = _read_json(self.target.sibling(name).child(_STARTED))
                self._refuse_sibling(started.get("made_by", {}), started.get("fingerprint"))
        except StorageError:
            self.staging.discard_if_nothing_done()
            raise

    def _refuse_sibling(self, made_by: Mapping[str, Any], fingerprint: str | None) -> None:
        """Refuse to share a place with other work of this run's other map indexes."""
        *task, index = self.made_by.get("task") or [None]
        *their_task, their_index = made_by.get("task") or [None]
        if task and task == their_task and index != their_index and fingerprint != self.fingerprint:
            raise StorageError(
                f"{self.target.uri}: the map indexes {their_index} and {index} of this run write to the same"
                " place: put {{ ti.map_index }} into output_uri, or delete the output if the mapping changed"
            )

    def publish(self, parts: Sequence[Part], empty: pa.RecordBatch) -> Manifest:
        """Put the output into its place; what it replaces is gone afterwards.

        Args:
            parts: All parts, in order.
            empty: A batch without rows, which is written where there is no row at all.

        Raises:
            StorageError: a file that was finished is gone or cut short; what was there before is untouched.
        """
        counts: Counter[str] = Counter()
        for part in parts:
            counts.update(part.counts)
        files = [part.file for part in parts if part.file is not None] or [self._without_rows(parts, empty)]
        if (lost := first_missing(files, self.staging.folder.child)) is not None:
            raise StorageError(
                f"{self.target.uri}: {self.staging.folder.child(lost).uri} was finished, and is gone or has"
                " another size now: the output is not published; run the task again to write it anew"
            )
        rejected = [part.index for part in parts if part.has_rejects]
        if rejected:
            with self.staging.folder.child(REJECTS).create() as stream:
                for index in rejected:
                    append_file(stream, self.staging.rejects(index))
        if not self.target.named_as_folder:
            whole = self.staging.merge(files)
            entry = dataclasses.replace(whole, name=self.target.name)
            manifest = Manifest(self.fingerprint, (entry,), dict(counts), self.made_by)
            self._publish_file(self.staging.folder.child(whole.name), manifest, bool(rejected))
        else:
            manifest = Manifest(self.fingerprint, tuple(files), dict(counts), self.made_by)
            if self.target.is_local:
                self._publish_local_folder(manifest, bool(rejected))
            else:
                self._publish_s3_folder(manifest, bool(rejected))
        self._tidy()
        return manifest

    def _without_rows(self, parts: Sequence[Part], empty: pa.RecordBatch) -> FileEntry:
        writer = PartWriter(self.staging, len(parts))
        writer.write(empty)
        file = writer.finish().file
        if file is None:
            raise AssertionError("unreachable: something was written")
        return file

    def _publish_file(self, whole: Location, manifest: Manifest, rejects: bool) -> None:
        # A manifest never speaks of another file than the one that is there.
        self.manifest_place.delete()
        if rejects:
            self.staging.folder.child(REJECTS).move(self.rejects_place)
        else:
            self.rejects_place.delete()
        whole.move(self.target)
        publish_bytes(self.manifest_place, manifest.to_bytes())

    def _publish_local_folder(self, manifest: Manifest, rejects: bool = True) -> None:
        staged = self.staging.folder
        publish_bytes(staged.child(SUCCESS), manifest.to_bytes())
        kept = {SUCCESS, *(entry.name for entry in manifest.files), *([REJECTS] if rejects else [])}
        for name in set(staged.names()) - kept:
            staged.child(name).delete()
        aside = self.target.sibling(f".{self.target.name}.{self._mark}.old")
        aside.delete_folder()
        with self.target.errors_named():
            if not self.target.is_folder():
                Path(staged.path).rename(self.target.path)
            elif not exchange(staged.path, self.target.path):
                Path(self.target.path).rename(aside.path)
                Path(staged.path).rename(self.target.path)

    def _publish_s3_folder(self, manifest: Manifest, rejects: bool) -> None:
        self.manifest_place.delete()
        for name in self.target.names():
            self.target.child(name).delete()
        for name in [*(entry.name for entry in manifest.files), *([REJECTS] if rejects else [])]:
            self.staging.folder.child(name).move(self.target.child(name))
        publish_bytes(self.manifest_place, manifest.to_bytes())

    def _tidy(self) -> None:
        """Delete what this and earlier tries of this task left beside the output; another may still run."""
        for name in self._left_beside():
            folder = self.target.sibling(name)
            if name.split(".")[-2] == self._mark or self._is_ours(folder):
                folder.delete_folder()

    def _is_ours(self, staged: Location) -> bool:
        """Whether a hidden folder is the work of this dag, task, run and map index."""
        task = self.made_by.get("task")
        started = _read_json(staged.child(_STARTED)) or _read_json(staged.child(SUCCESS))
        return task is not None and started.get("made_by", {}).get("task") == task

    def _left_beside(self) -> list[str]:
        """The hidden folders of this output."""
        ours = re.compile(rf"\.{re.escape(self.target.name)}\.[0-9a-f]{{12}}\.(tmp|old)")
        return [name for name in self.target.sibling_names() if ours.fullmatch(name)]


def first_missing(files: Sequence[FileEntry], place: Callable[[str], Location]) -> str | None:
    """The first of some files that is not at its place with the size that was told."""
    for entry in files:
        try:
            whole = place(entry.name).size() == entry.bytes
        except StorageError:
            whole = False
        if not whole:
            return entry.name
    return None


def _read_json(location: Location) -> Mapping[str, Any]:
    """What a small file says; nothing where it is not there, or was cut short."""
    try:
        told = json.loads(location.read_bytes())
    except (StorageError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}
