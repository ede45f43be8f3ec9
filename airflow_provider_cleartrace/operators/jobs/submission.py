"""Submitting once: which job a task instance waits for, and whether it has to be submitted first."""

from __future__ import annotations

import enum
import itertools
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_cleartrace.api.errors import OuterProductError, SubmitInDoubtError, ValidationError
from airflow_provider_cleartrace.api.models import JobResult, StatusResult
from airflow_provider_cleartrace.api.operations import ARTEFACTS
from airflow_provider_cleartrace.client import ClearTrace
from airflow_provider_cleartrace.client.jobs import cancel_soon
from airflow_provider_cleartrace.client.polling import COMPLETED, FAILED, PENDING
from airflow_provider_cleartrace.client.retry import provably_without_effect
from airflow_provider_cleartrace.client.submitting import job_known
from airflow_provider_cleartrace.operators.identity import Series, derived_model_id, digest_of
from airflow_provider_cleartrace.operators.jobs.gate import GatedClient
from airflow_provider_cleartrace.operators.jobs.record import Stage, SubmissionRecord
from airflow_provider_cleartrace.operators.jobs.steps import Holder, Past, Step, step_for

log = logging.getLogger(__name__)

CANCELLED = "it was cancelled"


_REMEMBERED = {
    Stage.UPLOADING: Past.UNTOUCHED,
    Stage.SUBMITTING: Past.BEGUN,
    Stage.SUBMITTED: Past.SUBMITTED,
}


class OnExisting(enum.StrEnum):
    """What becomes of a job that an earlier series of tries made."""

    REUSE = "reuse"
    RESTART = "restart"
    FAIL = "fail"

    @classmethod
    def read(cls, value: str) -> OnExisting:
        """The author's choice, as it was rendered."""
        try:
            return cls(value)
        except ValueError:
            raise ValidationError(f"on_existing must be one of {', '.join(cls)}, not {value!r}") from None


@dataclass(frozen=True, slots=True)
class JobRequest:
    """What a task asks for, known before anything is paid for.

    Args:
        job: Which job.
        fingerprint: Everything that shapes its result (JSON, no secrets).
        model_id: The model, where the author named it; None derives the id from the fingerprint.
        receipt: What goes into the manifest besides the result (flat JSON).
    """

    job: str
    fingerprint: Mapping[str, Any]
    model_id: str | None = None
    receipt: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Found:
    """The model whose job the task waits for, and what is to be done first."""

    model_id: str
    step: Step


class Submission:
    """Finds the job that belongs to a request of a task instance, or submits it.

    A derived model id belongs to its request alone, so that the service's word on it decides. A model that
    the author named may hold the work of others, as may its segmentation and narrative, which have no id:
    there the task's own record decides, where Airflow keeps one (3.3+), and the service's word where not.

    Args:
        client: A client of the service.
        context: Of the running task.
        request: What the task asks for.
        on_existing: What becomes of a job from before a clear.
        retries: Of the task.
    """

    def __init__(
        self, client: ClearTrace, context: Any, request: JobRequest, on_existing: OnExisting, retries: int
    ) -> None:
        self._client = client
        self._context = context
        self._request = request
        self._on_existing = on_existing
        self._series = Series.of(context, retries)
        self._is_analysis = request.job in ARTEFACTS
        self._is_derived = request.model_id is None
        self._spans_clears = self._is_derived and on_existing is OnExisting.REUSE
        self._record = SubmissionRecord(
            context,
            digest_of({"job": request.job, "fingerprint": request.fingerprint}),
            None if self._spans_clears else self._series.number,
        )

    def find(self) -> Found:
        """The job of this request, wherever an earlier try has left it.

        Raises:
            AirflowFailException: there is one from before and ``on_existing`` is ``"fail"``; or it is in
                doubt whether there is one. A retry would take it for its own, or pay twice, so there is none.
        """
        model_id, known = self._own()
        stage = self._record.stage(model_id)
        step = step_for(self._holder(), known, self._past(stage))
        if step is Step.REFUSE:
            raise self._refusal(model_id, "the submit of an earlier try had no answer")
        if self._on_existing is not OnExisting.REUSE:
            for earlier_id, earlier in self._earlier(model_id, known, stage, step):
                self._supersede(earlier_id, earlier)
                step = Step.SUBMIT
        if step is not Step.SUBMIT and known is not None:
            log.info("%s of model %s is %s: not submitted", self._request.job, model_id, known.status)
        return Found(model_id, step)

    def submit(
        self,
        model_id: str,
        *,
        bring: Callable[[str], None],
        submit: Callable[[ClearTrace, str], JobResult],
        before_submit: Callable[[str], None],
    ) -> Step:
        """Upload and submit, and remember how far it has come; a server may have had the result already.

        Args:
            model_id: The model.
            bring: Uploads what the job works on.
            submit: Starts the job with the client that it is given.
            before_submit: Called right before the job is asked for, and may raise.

        Raises:
            AirflowFailException: it is in doubt whether the job was started, and no retry would know better.
        """

        def sends() -> None:
            before_submit(model_id)
            self._record.note(model_id, Stage.SUBMITTING)

        self._record.note(model_id, Stage.UPLOADING)
        bring(model_id)
        try:
            submitted = submit(GatedClient(self._client, sends), model_id)
        except SubmitInDoubtError as doubt:
            if self._retry_knows(model_id):
                raise
            raise self._refusal(model_id, f"its submit had no answer ({doubt.reason})") from doubt
        except OuterProductError as error:
            if provably_without_effect(error) or not error.transient:
                self._record.note(model_id, Stage.UPLOADING)
            raise
        self._record.note(model_id, Stage.SUBMITTED)
        log.info("submitted %s of model %s", self._request.job, model_id)
        return Step.TAKE if submitted.status == COMPLETED else Step.WAIT

    def _own(self) -> tuple[str, StatusResult | None]:
        """The model of this request, and what the service knows of its job."""
        if self._request.model_id is not None:
            return self._request.model_id, self._look(self._request.model_id)
        return self._derived(0 if self._spans_clears else self._series.number)

    def _derived(self, series: int) -> tuple[str, StatusResult | None]:
        """The derived id of a series: that of the first generation which has not failed."""
        for generation in itertools.count():
            model_id = derived_model_id(
                self._context, fingerprint=self._request.fingerprint, generation=generation, series=series
            )
            known = self._look(model_id)
            if known is None or known.status != FAILED:
                return model_id, known
        raise AssertionError("unreachable: generations do not end")

    def _look(self, model_id: str) -> StatusResult | None:
        """What the service knows of the job; None where it knows none."""
        return self._client.run(job_known(self._client.session, model_id, self._request.job))

    def _holder(self) -> Holder:
        """Whose work can lie under the model id."""
        # With "fail", the first try has made sure that nothing was there.
        made_sure = self._on_existing is OnExisting.FAIL and not self._series.first_try
        if self._is_derived or made_sure:
            return Holder.REQUEST
        return Holder.MODEL if self._is_analysis else Holder.AUTHOR

    def _past(self, stage: Stage | None) -> Past:
        """How far the tries before this one are known to have come."""
        if stage is not None:
            return _REMEMBERED[stage]
        is_first = self._series.first_try and not (self._spans_clears and self._series.number)
        return Past.UNTOUCHED if is_first else Past.UNKNOWN

    def _retry_knows(self, model_id: str) -> bool:
        """Whether a retry will know this try's job, or at least that there may be one."""
        is_ours_alone = self._is_derived or self._on_existing is OnExisting.FAIL
        return is_ours_alone or self._record.stage(model_id) is not None

    def _earlier(
        self, model_id: str, known: StatusResult | None, stage: Stage | None, step: Step
    ) -> Iterator[tuple[str, StatusResult]]:
        """Jobs from before this series of tries, under way or completed."""
        if self._is_derived:
            found = [self._derived(n) for n in range(self._series.number)] if step is Step.SUBMIT else []
        else:
            found = [(model_id, known)] if stage is None and self._series.first_try else []
        for earlier_id, earlier in found:
            if earlier is not None and self._is_of_job(earlier):
                yield earlier_id, earlier

    def _is_of_job(self, known: StatusResult) -> bool:
        """Whether a status is surely that of a job which has not failed, and not of an upload."""
        if known.status == FAILED:
            return False
        return known.job is not None or (not self._is_analysis and known.status != PENDING)

    def _supersede(self, model_id: str, known: StatusResult) -> None:
        """End, or refuse to repeat, what was made before this series of tries."""
        about = f"{self._request.job} of model {model_id!r}"
        if self._on_existing is OnExisting.FAIL:
            page = self._client.session.settings.model_url(model_id)
            raise AirflowFailException(
                f"ClearTrace {about} is {known.status} from before, and on_existing is 'fail'; see {page}"
            )
        if known.status == COMPLETED:
            return
        log.info("%s from before: %s", about, end_job(self._client, model_id, self._request.job))

    def _refusal(self, model_id: str, why: str) -> AirflowFailException:
        page = self._client.session.settings.model_url(model_id)
        return AirflowFailException(
            f"ClearTrace {self._request.job} of model {model_id!r} may have been started: {why}, "
            f"and the service cannot tell. Clear the task if there is no such job; see {page}"
        )


def end_job(client: ClearTrace, model_id: str, job: str) -> str:
    """Try to stop a job, and say what becomes of it."""
    try:
        stopped = client.run(cancel_soon(client.session.settings, model_id, job))
    except OuterProductError as error:
        return f"it could not be cancelled and may still run ({error})"
    return CANCELLED if stopped else "the service cannot cancel it: it runs on"
