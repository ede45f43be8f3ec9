"""The output of a task on its way: claimed by one task, drafted out of sight, published whole or not at all.

While a task works on an output ``NAME``, the hidden folder ``.NAME.tmp`` lies beside it: in ``claims`` who
does, and in a folder named by the work's fingerprint what is finished, for a later try to go on with. Before
a draft takes its place its manifest is written into it: then any try can complete the publication.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from airflow_provider_cleartrace.storage.claims import Claim, Claimant, OutputInUseError, shared_place
from airflow_provider_cleartrace.storage.errors import StorageError
from airflow_provider_cleartrace.storage.locations import Location
from airflow_provider_cleartrace.storage.manifests import SUCCESS, FileEntry, Manifest, manifest_place
from airflow_provider_cleartrace.storage.parts import Parts
from airflow_provider_cleartrace.storage.placing import can_be_placed, first_missing, is_at, place
from airflow_provider_cleartrace.storage.publishing import publish_bytes

IfExists = Literal["replace", "fail", "skip"]
IF_EXISTS = ("replace", "fail", "skip")

_CLAIMS = "claims"


@dataclass(frozen=True)
class Publication:
    """Where a result goes, and what an earlier one there means.

    Args:
        target: A file, or a folder (its URI ends in a slash).
        names: What the files of such a folder may be called; a folder with others in it is somebody else's.
        if_exists: What an earlier output means: ``replace`` it, ``fail``, or ``skip`` the work if its
            manifest has the same fingerprint (and replace it otherwise).
        fingerprint: Hex digest of everything that decides what the output holds.
        claimant: The try of the task that writes it.
        made_by: What the manifest says of its maker besides the task.
    """

    target: Location
    names: re.Pattern[str]
    if_exists: IfExists
    fingerprint: str
    claimant: Claimant
    made_by: Mapping[str, Any] = field(default_factory=dict)

    @property
    def hidden(self) -> Location:
        """The folder of everything that is not published yet."""
        return self.target.sibling(f".{self.target.name}.tmp")

    @property
    def mark(self) -> str:
        """The beginning of the fingerprint, for the names of files."""
        return self.fingerprint[:12]

    @property
    def staged(self) -> Location:
        """Where the draft lies."""
        return self.hidden.child(self.mark)

    def finished(self) -> Manifest | None:
        """Look at what is there before any work is done; returns the manifest of an output to be kept.

        Raises:
            StorageError: there is an output and ``if_exists`` is ``fail``; the folder holds files that no
                task of this kind wrote; the target is of the other kind (file, folder); or another map index
                of this run has written to the same place.
        """
        exists = self._exists()
        there = Manifest.read(manifest_place(self.target)) if exists else None
        if there is None:
            same = None
        else:
            self._refuse_sibling(there)
            is_whole = there.fingerprint == self.fingerprint and is_at(self.target, there)
            same = there if is_whole else None
        if self.if_exists == "skip":
            return same
        if self.if_exists == "fail" and exists:
            # What an earlier try of this very task published is its own.
            if same is not None and self._is_own(same):
                return same
            decided = None if there is not None else self.decided()
            if decided is None or not self._is_own(decided):
                raise StorageError(f"{self.target.uri}: there is an output already, and if_exists is 'fail'")
        return None

    def _exists(self) -> bool:
        target = self.target
        if not target.named_as_folder:
            if target.is_local and target.is_folder():
                raise StorageError(f"{target.uri}: a folder; end it with a slash to write a folder")
            return target.is_file()
        if target.is_local and Path(target.path).is_symlink():
            raise StorageError(f"{target.uri}: a link, which would be replaced: name the folder it leads to")
        if target.is_local and target.is_file():
            raise StorageError(f"{target.uri}: a file; leave out the slash to write one file")
        names = target.names()
        if strange := [name for name in names if not self.names.fullmatch(name)]:
            raise StorageError(
                f"{target.uri}: the folder holds files that are no parts of an output,"
                f" such as {strange[0]!r}: name a folder of its own"
            )
        return bool(names)

    def _refuse_sibling(self, there: Manifest) -> None:
        task = there.made_by.get("task")
        if there.fingerprint != self.fingerprint and self.claimant.is_sibling(task):
            raise OutputInUseError(f"{self.target.uri}: {shared_place(task, self.claimant)}")

    def _is_own(self, manifest: Manifest) -> bool:
        return manifest.made_by.get("task") == list(self.claimant.task)

    def decided(self) -> Manifest | None:
        """The manifest of a draft that was whole when a try was killed on the way to its place."""
        manifest = Manifest.read(self.staged.child(SUCCESS))
        return manifest if manifest is not None and manifest.fingerprint == self.fingerprint else None

    @contextlib.contextmanager
    def claimed(self) -> Iterator[Draft]:
        """The place, for this task alone; parts that are finished stay if the block fails, all else goes.

        Raises:
            OutputInUseError: another task writes there; nothing of its work is touched.
            StorageError: the place cannot be written.
        """
        try:
            with Claim(self.target, self.hidden.child(_CLAIMS), self.claimant) as claim:
                draft = Draft(self, claim)
                try:
                    yield draft
                except BaseException as error:
                    if claim.is_held():
                        draft.parts.discard_if_none()
                    elif isinstance(error, StorageError):
                        claim.check()  # what it missed has gone with the place
                    raise
        finally:
            self.staged.remove_if_empty()  # a try that was given up had it made again
            self.hidden.child(_CLAIMS).remove_if_empty()
            self.hidden.remove_if_empty()


@dataclass(frozen=True)
class Draft:
    """An output that nobody sees yet, in the hands of the task that has claimed its place."""

    publication: Publication
    claim: Claim

    @property
    def parts(self) -> Parts:
        """What is finished of it."""
        return Parts(self.publication.staged, self.claim.check)

    def finished(self) -> Manifest | None:
        """What needs no work: an output to be kept, or a publication cut short, which is completed here."""
        publication = self.publication
        if (kept := publication.finished()) is not None:
            return kept
        decided = publication.decided()
        if decided is None or not can_be_placed(publication.staged, publication.target, decided):
            return None
        self._take_place(decided)
        return decided

    def check_files(self, files: Sequence[FileEntry]) -> None:
        """Make sure that files of the draft are there as they were written.

        Raises:
            StorageError: one is gone or cut short.
        """
        if (lost := first_missing(files, self.parts.folder)) is not None:
            raise StorageError(
                f"{self.publication.target.uri}: {self.parts.folder.child(lost).uri} was finished, and is"
                " gone or has another size now: nothing is published; run the task again to write it anew"
            )

    def publish(self, files: Sequence[FileEntry], counts: Mapping[str, int]) -> Manifest:
        """Put the files of the draft into their place; what they replace is gone afterwards.

        Args:
            files: What lies in the draft, by the names that it is published under.
            counts: Rows, for the manifest; if ``rows_rejected`` is not 0, they lie there as :data:`REJECTS`.

        Raises:
            StorageError: a file is gone or cut short; what was there before is untouched.
            OutputInUseError: another task has taken the place over.
        """
        publication = self.publication
        self.check_files(files)
        made_by = {"task": list(publication.claimant.task), **publication.made_by}
        manifest = Manifest(publication.fingerprint, tuple(files), dict(counts), made_by)
        self.claim.check()
        publish_bytes(publication.staged.child(SUCCESS), manifest.to_bytes())
        self._take_place(manifest)
        return manifest

    def _take_place(self, manifest: Manifest) -> None:
        publication = self.publication
        place(publication.staged, publication.target, manifest, self.claim.check)
        # Whoever else left something here is not at work: the claim is ours.
        for name in {path.partition("/")[0] for path in publication.hidden.names()} - {_CLAIMS}:
            publication.hidden.child(name).delete_folder()
