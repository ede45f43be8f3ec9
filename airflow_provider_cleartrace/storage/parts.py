"""The finished parts of an unfinished output, each with a record: what a later try need not do again."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from airflow_provider_cleartrace.storage.errors import StorageError
from airflow_provider_cleartrace.storage.locations import Location
from airflow_provider_cleartrace.storage.manifests import SUCCESS, FileEntry
from airflow_provider_cleartrace.storage.publishing import publish_bytes

_RECORD = re.compile(r"\.part-\d{5}\.json")


@dataclass(frozen=True)
class Part:
    """A finished part.

    Attributes:
        index: Its place among the parts.
        files: Its files, by what they are to the output; none of what it has no rows of.
        counts: Its rows, and what else is counted.
    """

    index: int
    files: Mapping[str, FileEntry]
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Parts:
    """The hidden folder of a draft, in which a part is there from the moment that its record is.

    Args:
        folder: The folder; its name holds the fingerprint of the work, so that nothing else is found in it.
        check: Raises where the place of the output is not ours any more.
    """

    folder: Location
    check: Callable[[], None]

    def done(self, index: int) -> Part | None:
        """A part that an earlier try finished, if its files are there as they were written."""
        try:
            document = json.loads(self._record(index).read_bytes())
            files = {role: FileEntry(**entry) for role, entry in document["files"].items()}
            if any(self.folder.child(file.name).size() != file.bytes for file in files.values()):
                return None
            return Part(index, files, document["counts"])
        except (StorageError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def finish(self, part: Part) -> Part:
        """Record that a part is there.

        Raises:
            OutputInUseError: another task has taken the output over.
        """
        self.check()
        publish_bytes(self._record(part.index), json.dumps(dataclasses.asdict(part)).encode())
        return part

    def discard_if_none(self) -> None:
        """Leave no trace of a draft without a finished part."""
        with contextlib.suppress(StorageError):
            if not any(name == SUCCESS or _RECORD.fullmatch(name) for name in self.folder.names()):
                self.folder.delete_folder()

    def _record(self, index: int) -> Location:
        return self.folder.child(f".part-{index:05d}.json")
