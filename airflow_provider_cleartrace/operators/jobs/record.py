"""What a task remembers of its submit, from one try to the next."""

from __future__ import annotations

import enum
from typing import Any

from airflow_provider_cleartrace.task_state import TaskState

STATE_KEY = "cleartrace_submission"
"""The entry of the task state store in which the submit is remembered."""


class Stage(enum.StrEnum):
    """How far a try has come with the submit of a job."""

    UPLOADING = "uploading"
    SUBMITTING = "submitting"
    SUBMITTED = "submitted"


class SubmissionRecord:
    """How far the tries of one request have come; of another request nothing is remembered.

    Args:
        context: Of the running task.
        request: Digest of what is asked for.
        series: Number of the series of tries; None where the request outlasts a clear.
    """

    def __init__(self, context: Any, request: str, series: int | None) -> None:
        self._state = TaskState(context, STATE_KEY)
        self._about = {"request": request, "series": series}

    def note(self, model_id: str, stage: Stage) -> None:
        """Remember how far the job of a model has come."""
        self._state.set({"model_id": model_id, **self._about, "stage": stage})

    def stage(self, model_id: str) -> Stage | None:
        """How far an earlier try came with this very request; None where that is not known."""
        remembered = self._state.get()
        stage = remembered.pop("stage", None)
        is_ours = remembered == {"model_id": model_id, **self._about}
        return Stage(stage) if is_ours and stage in list(Stage) else None


def forget_submission(context: Any) -> None:
    """Remove the record of a submit whose result is safe."""
    TaskState(context, STATE_KEY).delete()
