"""The folder of explained rows: written aside, and put into its place when it is whole."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_provider_cleartrace.storage.errors import StorageError
from airflow_provider_cleartrace.storage.exchange import exchange
from airflow_provider_cleartrace.storage.locations import Location
from airflow_provider_cleartrace.storage.manifests import SUCCESS, FileEntry, Manifest
from airflow_provider_cleartrace.storage.outputs import IfExists, first_missing
from airflow_provider_cleartrace.storage.publishing import publish_bytes

PAYLOADS, RULES, MANIFEST, PLOTS = "payloads.jsonl", "rules.parquet", "manifest.json", "plots"

_OURS = re.compile(
    rf"{re.escape(PAYLOADS)}|{re.escape(RULES)}|{re.escape(MANIFEST)}|{SUCCESS}|{PLOTS}/row-\d+\.svg"
)


@dataclass(frozen=True)
class RulesFolder:
    """Where explained rows go, and what an earlier output there means.

    Args:
        target: The place, named as a folder.
        if_exists: ``replace`` an earlier output, ``fail``, or ``skip`` the work if its manifest has the same
            fingerprint (and replace it otherwise).
        fingerprint: Hex digest of everything that decides what the files hold.
        made_by: What ``_SUCCESS`` says of the maker; ``task`` in it names the task instance.
    """

    target: Location
    if_exists: IfExists
    fingerprint: str
    made_by: Mapping[str, Any]

    def __post_init__(self) -> None:
        if not self.target.named_as_folder:
            raise StorageError(f"{self.target.uri}: the output is a folder: end it with a slash")

    @property
    def staged(self) -> Location:
        """Where the files lie until they are published."""
        return self.target.sibling(f".{self.target.name}.{self.fingerprint[:12]}.tmp")

    def finished(self) -> dict[str, Any] | None:
        """Look at what is there before any work is done; returns the figures of an output to be kept.

        Raises:
            StorageError: there is an output and ``if_exists`` is ``fail``, files that are not of one, or the
                output of another map index of this run.
        """
        exists = self._exists()
        self._refuse_other_map_index()
        published = self._whole(self.target) if exists else None
        if self.if_exists == "skip" and published is not None:
            return self._figures()
        if self.if_exists == "fail" and exists:
            # What an earlier try of this very task published is its own.
            if published is not None and published.made_by.get("task") == self.made_by["task"]:
                return self._figures()
            raise StorageError(f"{self.target.uri}: there is an output already, and if_exists is 'fail'")
        if (interrupted := self._whole(self.staged)) is not None:
            self._take_place(interrupted)
            return self._figures()
        return None

    def _exists(self) -> bool:
        if self.target.is_local and self.target.is_file():
            raise StorageError(f"{self.target.uri}: a file; the output needs a folder of its own")
        names = self.target.names()
        if strange := [name for name in names if not _OURS.fullmatch(name)]:
            raise StorageError(
                f"{self.target.uri}: the folder holds files that are no calibrated explanations,"
                f" such as {strange[0]!r}: name a folder of its own"
            )
        return bool(names)

    def _refuse_other_map_index(self) -> None:
        there = Manifest.read(self.target.child(SUCCESS))
        if there is None or there.fingerprint == self.fingerprint:
            return
        *task, index = self.made_by["task"]
        *their_task, their_index = there.made_by.get("task") or [None]
        if task == their_task and index != their_index:
            raise StorageError(
                f"{self.target.uri}: the map indexes {their_index} and {index} of this run write to the same"
                " place: put {{ ti.map_index }} into output_uri, or delete the output if the mapping changed"
            )

    def _whole(self, folder: Location) -> Manifest | None:
        """The manifest of what lies in a folder, if it is made of the same and all files are there."""
        manifest = Manifest.read(folder.child(SUCCESS))
        if manifest is None or manifest.fingerprint != self.fingerprint:
            return None
        return None if first_missing(manifest.files, folder.child) else manifest

    def _figures(self) -> dict[str, Any]:
        figures: dict[str, Any] = json.loads(self.target.child(MANIFEST).read_bytes())
        return figures

    def prepare(self) -> None:
        """Make sure that the place takes files, before anything is asked for.

        Raises:
            StorageError: it does not; the message says why.
        """
        probe = self.staged.child(".started")
        try:
            self.staged.delete_folder()
            with probe.create() as stream:
                stream.write(b"started")
            probe.delete()
        except StorageError as error:
            reason = str(error).rpartition(": ")[2]
            raise StorageError(f"{self.target.uri}: cannot be written: {reason}") from None

    def publish(self, files: Sequence[FileEntry], counts: Mapping[str, int]) -> None:
        """Put the staged files into their place; what they replace is gone afterwards.

        Raises:
            StorageError: a staged file is gone or cut short; what was there before is untouched.
        """
        if missing := first_missing(files, self.staged.child):
            raise StorageError(f"{self.target.uri}: {missing} was changed while the task ran; run it again")
        manifest = Manifest(self.fingerprint, tuple(files), counts, self.made_by)
        publish_bytes(self.staged.child(SUCCESS), manifest.to_bytes())
        self._take_place(manifest)

    def _take_place(self, manifest: Manifest) -> None:
        if self.target.is_local:
            aside = self._aside
            aside.delete_folder()
            with self.target.errors_named():
                if not self.target.is_folder():
                    Path(self.staged.path).rename(self.target.path)
                elif not exchange(self.staged.path, self.target.path):
                    Path(self.target.path).rename(aside.path)
                    Path(self.staged.path).rename(self.target.path)
        else:
            self.target.child(SUCCESS).delete()
            kept = {entry.name for entry in manifest.files}
            for name in set(self.target.names()) - kept:
                self.target.child(name).delete()
            for name in sorted(kept):
                self.staged.child(name).move(self.target.child(name))
            publish_bytes(self.target.child(SUCCESS), manifest.to_bytes())
        self._tidy()

    def _tidy(self) -> None:
        """Delete what this task left beside the output; what others have there may still be at work."""
        for left in (self.staged, self._aside):
            left.delete_folder()

    @property
    def _aside(self) -> Location:
        """Where a local folder lies while it is replaced on a file system that cannot swap two."""
        return self.target.sibling(f".{self.target.name}.{self.fingerprint[:12]}.old")
