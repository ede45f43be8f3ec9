"""Explained rows as files: payloads, tables and plots, written in parts and published as one folder."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_cleartrace.operators.rules.writer import FORMATS, PLOTS, RulesWriter
from airflow_provider_cleartrace.storage.locations import Location
from airflow_provider_cleartrace.storage.manifests import SUCCESS, FileEntry, Manifest
from airflow_provider_cleartrace.storage.merging import merge
from airflow_provider_cleartrace.storage.parts import Part, Parts
from airflow_provider_cleartrace.storage.publishing import published
from airflow_provider_cleartrace.storage.writing import CountedBytes

if TYPE_CHECKING:
    from airflow_provider_cleartrace.storage.publication import Draft

MANIFEST = "manifest.json"

NAMES = re.compile(
    "|".join([*map(re.escape, FORMATS), re.escape(MANIFEST), SUCCESS, rf"{PLOTS}/row-\d+\.svg"])
)
"""The files of a folder of explained rows."""


@dataclass(frozen=True)
class RulesDraft:
    """The draft of explained rows.

    Args:
        draft: Where it lies.
        plots: Numbers of the rows to plot, counted from 0.
    """

    draft: Draft
    plots: Collection[int] = ()

    @property
    def parts(self) -> Parts:
        """The parts that are finished."""
        return self.draft.parts

    def writer(self, index: int, first_row: int) -> RulesWriter:
        """For the rows of one part, which begins with the row of this number."""
        return RulesWriter(self.parts, index, first_row, set(self.plots))

    def publish(self, parts: Sequence[Part], figures: Mapping[str, Any]) -> Manifest:
        """Put the folder into its place; what it replaces is gone afterwards.

        Args:
            parts: All parts, in order.
            figures: What lies beside the rows as :data:`MANIFEST`.

        Raises:
            StorageError: a file that was finished is gone or cut short; what was there before is untouched.
        """
        self.draft.check_files([file for part in parts for file in part.files.values()])
        counts: Counter[str] = Counter()
        for part in parts:
            counts.update(part.counts)
        files = [
            merge(self.parts.folder, [part.files[name] for part in parts], name, file_format)
            for name, file_format in FORMATS.items()
        ]
        files += [part.files[name] for part in parts for name in plots_of(part)]
        files.append(self._write_figures(figures))
        rows = counts["rows"]
        return self.draft.publish(files, {"rows_in": rows, "rows_rejected": 0, "rows_out": rows})

    def _write_figures(self, figures: Mapping[str, Any]) -> FileEntry:
        with published(self.parts.folder.child(MANIFEST)) as stream:
            sink = CountedBytes(stream)
            sink.write(json.dumps(figures, sort_keys=True, indent=1, ensure_ascii=False).encode() + b"\n")
        return FileEntry(MANIFEST, 1, sink.size, sink.sha256)


def figures_at(target: Location) -> dict[str, Any]:
    """The figures of a folder that was published."""
    figures: dict[str, Any] = json.loads(target.child(MANIFEST).read_bytes())
    return figures


def plots_of(part: Part) -> list[str]:
    """The names of a part's plots, in the order of their rows."""
    return [name for name in part.files if name.startswith(f"{PLOTS}/")]
