"""The one table of what a task does about a job: by what the service shows, and what the tries before did."""

from __future__ import annotations

import enum
from collections.abc import Mapping

from airflow_provider_cleartrace.api.models import StatusResult
from airflow_provider_cleartrace.client.polling import COMPLETED, FAILED, PENDING


class Step(enum.Enum):
    """What a task has to do for its job."""

    SUBMIT = enum.auto()
    WAIT = enum.auto()
    WAIT_IN_DOUBT = enum.auto()
    """The service says "pending" and not of what: it may be of the upload alone."""
    TAKE = enum.auto()
    REFUSE = enum.auto()
    """A submit may or may not have reached the service: another one might be paid for twice."""


class Holder(enum.Enum):
    """Whose work can lie under the model id."""

    REQUEST = enum.auto()
    """That of this request alone: the id is derived from it, or nothing was there before it."""
    AUTHOR = enum.auto()
    """A training of anybody's, under an id that the author chose."""
    MODEL = enum.auto()
    """A segmentation or narrative of anybody's: these have no id but their model's."""


class Past(enum.IntEnum):
    """How far the tries before are known to have come: the columns of the table."""

    UNTOUCHED = 0
    """Nothing can have been submitted."""
    UNKNOWN = 1
    """There were tries, and nobody remembers what they did."""
    BEGUN = 2
    """A submit was sent, and its answer never came."""
    SUBMITTED = 3


class Shown(enum.Enum):
    """What the service shows under the model id."""

    NOTHING = enum.auto()
    """No such job; or one that failed, which stands in nobody's way."""
    PENDING = enum.auto()
    """Something waits, perhaps no more than an upload for its job."""
    UNDER_WAY = enum.auto()
    NUMBERED = enum.auto()
    """A completed job, of a service that numbers its jobs and answers a repeated submit with the first."""
    COMPLETED = enum.auto()

    @classmethod
    def by(cls, known: StatusResult | None) -> Shown:
        """What a look has shown; None where the service knows no such job."""
        if known is None or known.status == FAILED:
            return cls.NOTHING
        if known.status == COMPLETED:
            return cls.COMPLETED if known.job_id is None else cls.NUMBERED
        return cls.PENDING if known.status == PENDING and known.job is None else cls.UNDER_WAY


_S, _W, _D, _T, _R = Step.SUBMIT, Step.WAIT, Step.WAIT_IN_DOUBT, Step.TAKE, Step.REFUSE

_STEPS: Mapping[tuple[Holder, Shown], tuple[Step, Step, Step, Step]] = {
    #                                   untouched, unknown, begun, submitted
    (Holder.REQUEST, Shown.NOTHING): (_S, _S, _S, _S),
    (Holder.REQUEST, Shown.PENDING): (_S, _D, _D, _W),
    (Holder.REQUEST, Shown.UNDER_WAY): (_W, _W, _W, _W),
    (Holder.REQUEST, Shown.NUMBERED): (_T, _T, _T, _T),
    (Holder.REQUEST, Shown.COMPLETED): (_T, _T, _T, _T),
    (Holder.AUTHOR, Shown.NOTHING): (_S, _S, _S, _S),
    (Holder.AUTHOR, Shown.PENDING): (_S, _D, _D, _W),
    (Holder.AUTHOR, Shown.UNDER_WAY): (_W, _W, _W, _W),
    (Holder.AUTHOR, Shown.NUMBERED): (_S, _S, _S, _T),
    (Holder.AUTHOR, Shown.COMPLETED): (_S, _S, _R, _T),
    (Holder.MODEL, Shown.NOTHING): (_S, _S, _S, _S),
    (Holder.MODEL, Shown.PENDING): (_S, _S, _W, _W),
    (Holder.MODEL, Shown.UNDER_WAY): (_S, _S, _W, _W),
    (Holder.MODEL, Shown.NUMBERED): (_S, _S, _S, _T),
    (Holder.MODEL, Shown.COMPLETED): (_S, _S, _R, _T),
}


def step_for(holder: Holder, known: StatusResult | None, past: Past) -> Step:
    """What is to be done about the job that the service knows under the model id."""
    return _STEPS[holder, Shown.by(known)][past]
