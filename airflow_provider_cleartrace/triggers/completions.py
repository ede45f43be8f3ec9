"""Which completed jobs are news to a watcher: each is reported once, also across restarts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from airflow_provider_cleartrace.api.models import StatusResult
from airflow_provider_cleartrace.client.polling import COMPLETED

REMEMBERED = 300
"""Models whose last completion is kept in mind: at most 45 KB, of the 64 KB that Airflow's store takes."""

_NOTHING = ""
"""The mark of a model that was looked at and has no completed job."""


class Completions:
    """Tells a completed job that was not seen before from one that was.

    A job is known by its ``job_id`` where the service tells one. Where it does not, a completed job is new
    when the job was seen unfinished in between.

    Args:
        marks: The last completion of each model, as :attr:`marks` of an earlier watch; None on a first watch.
        include_existing: Whether what is complete when a first watch begins is news.
    """

    def __init__(self, marks: Mapping[str, str] | None = None, *, include_existing: bool = False) -> None:
        self.marks = dict(marks or {})
        self._begun = marks is not None or include_existing
        self._existing: frozenset[str] = frozenset()

    def begin(self, model_ids: Iterable[str]) -> None:
        """Take note of the models that a first watch finds; later calls change nothing."""
        if not self._begun:
            self._begun, self._existing = True, frozenset(model_ids)

    def is_news(self, status: StatusResult) -> bool:
        """Whether a look shows a completion that no earlier look showed."""
        before = self.marks.pop(status.model_id, None)
        if status.status == COMPLETED:
            mark = status.job_id or COMPLETED
            is_new = mark != before and (before is not None or status.model_id not in self._existing)
        else:
            # The number of a job tells it from the next one; without numbers only the gap between two does.
            mark, is_new = (before or _NOTHING) if status.job_id else _NOTHING, False
        self.marks[status.model_id] = mark
        if len(self.marks) > REMEMBERED:
            del self.marks[next(iter(self.marks))]
        return is_new
