"""The one lifecycle of the operators that start a job: submit once, wait, finish."""

from __future__ import annotations

import abc
import functools
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import AirflowException

from airflow_provider_cleartrace.api.errors import NotFoundError
from airflow_provider_cleartrace.api.models import JobResult
from airflow_provider_cleartrace.client import ClearTrace
from airflow_provider_cleartrace.client.jobs import look, look_again
from airflow_provider_cleartrace.client.polling import MAY_RUN, PENDING, Ended, Ending
from airflow_provider_cleartrace.client.settings import Settings
from airflow_provider_cleartrace.operators.arguments import check_seconds
from airflow_provider_cleartrace.operators.base import ClearTraceOperator
from airflow_provider_cleartrace.operators.jobs.gate import in_naps
from airflow_provider_cleartrace.operators.jobs.record import forget_submission
from airflow_provider_cleartrace.operators.jobs.steps import Step
from airflow_provider_cleartrace.operators.jobs.submission import (
    CANCELLED,
    Found,
    JobRequest,
    OnExisting,
    Submission,
    end_job,
)
from airflow_provider_cleartrace.triggers.deferral import (
    backstop_of,
    check_travels,
    deadline_of,
    deferrable_or_default,
    ended_from_event,
)
from airflow_provider_cleartrace.triggers.job import ClearTraceJobTrigger

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

DEFAULT_TIMEOUT = 24 * 3600.0
"""Seconds a job may take by default."""

UNSTARTED_LIMIT = 900.0
"""Seconds for which "pending" is taken for a job's where it may be that of an upload alone.

Few queues stand still for so long, and no more than that is lost where nothing was submitted.
"""


class ClearTraceJobOperator(ClearTraceOperator, abc.ABC):
    """A task that starts a job and waits for its end, on the worker or deferred to the triggerer.

    A subclass names its :attr:`job` and says what it asks for, how that is submitted and what the result is;
    submitting once, waiting, endings and the manifest are the same for all.

    Args:
        deferrable: Wait in the triggerer instead of a worker slot; by default as ``[operators]
            default_deferrable`` says.
        timeout: Seconds the job may take, from its submit.
        stall_timeout: Seconds the job may go without a change of its status or progress; None: any.
        poll_interval: Seconds before the second look at the job; by default the connection's.
        on_existing: What becomes of a job from before a clear: ``"reuse"`` it, ``"restart"`` with a fresh
            one, or ``"fail"``. A retry goes on with the job of the try before it, whatever this says.
        cancel_on_kill: Cancel the job when the waiting task is killed, marked or cleared: on a worker, and
            with Airflow 3.3+ also while it is deferred.
    """

    job: ClassVar[str]

    def __init__(
        self,
        *,
        deferrable: bool | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        stall_timeout: float | None = None,
        poll_interval: float | None = None,
        on_existing: str = OnExisting.REUSE.value,
        cancel_on_kill: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_seconds("timeout", timeout)
        check_seconds("stall_timeout", stall_timeout)
        check_seconds("poll_interval", poll_interval)
        self.deferrable = deferrable_or_default(deferrable)
        self.timeout = timeout
        self.stall_timeout = stall_timeout
        self.poll_interval = poll_interval
        self.on_existing = on_existing
        self.cancel_on_kill = cancel_on_kill
        self._settings: Settings | None = None
        self._running: str | None = None
        self._killed = False
        self._fate = MAY_RUN

    @abc.abstractmethod
    def request(self) -> JobRequest:
        """What the task asks for; refuses what cannot work before the service hears of it."""

    def bring(self, client: ClearTrace, model_id: str, receipt: Mapping[str, Any]) -> None:
        """Upload what the job works on; ``receipt`` is that of the request."""

    @abc.abstractmethod
    def submit(self, client: ClearTrace, model_id: str) -> JobResult:
        """Start the job, and do not wait for it."""

    @abc.abstractmethod
    def result(self, client: ClearTrace, receipt: Mapping[str, Any]) -> dict[str, Any]:
        """What the completed job adds to the manifest; ``client`` is attached to the model."""

    def execute(self, context: Context) -> dict[str, Any]:
        """Submit, unless an earlier try did, then wait: here, or by deferring."""
        request = self.request()
        with self._connect() as client:
            submission = self._submission(context, client, request)
            return self._pursue(context, client, submission, submission.find(), request.receipt)

    def execute_complete(self, context: Context, event: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Take up the task where the trigger's event leaves it."""
        ended = ended_from_event(event)
        told = event or {}
        with self._connect() as client:
            self._running = told["model_id"]
            self._works_on(context, client, told["model_id"])
            return self._finish(context, client, told["model_id"], ended, told.get("receipt", {}))

    def _connect(self) -> ClearTrace:
        """A client; its settings are kept, as a signal handler cannot ask Airflow for the connection."""
        client = self.hook.get_conn()
        self._settings = client.session.settings
        return client

    def _submission(self, context: Context, client: ClearTrace, request: JobRequest) -> Submission:
        return Submission(client, context, request, OnExisting.read(self.on_existing), self.retries or 0)

    def _pursue(
        self,
        context: Context,
        client: ClearTrace,
        submission: Submission,
        found: Found,
        receipt: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Submit the job if need be, and wait for it."""
        model_id, step = found.model_id, found.step
        self._works_on(context, client, model_id)
        check_travels(self._trigger(context, client, model_id, receipt))
        if step is Step.SUBMIT:
            step = submission.submit(
                model_id,
                bring=functools.partial(self.bring, client, receipt=receipt),
                submit=self.submit,
                before_submit=self._before_submit,
            )
        if step is Step.TAKE:
            return self._finish(context, client, model_id, Ended(Ending.COMPLETED), receipt)
        self._running = model_id
        self._go_on(client, model_id)
        unstarted = UNSTARTED_LIMIT if step is Step.WAIT_IN_DOUBT else None
        trigger = self._trigger(context, client, model_id, receipt, unstarted)
        if self.deferrable:
            self._running = None  # from here on the trigger looks after the job
            self.defer(trigger=trigger, method_name="execute_complete", timeout=backstop_of(trigger))
        go_on = functools.partial(self._go_on, client, model_id)
        ended = client.run(in_naps(trigger.wait(client.session.settings), go_on))
        if ended.ending is not Ending.COMPLETED:
            go_on()
        return self._finish(context, client, model_id, ended, receipt)

    def _trigger(
        self,
        context: Context,
        client: ClearTrace,
        model_id: str,
        receipt: Mapping[str, Any],
        unstarted: float | None = None,
    ) -> ClearTraceJobTrigger:
        """The wait for the job, from now on."""
        begun = time.time()
        deadline = deadline_of(
            context, begun=begun, timeout=self.timeout, execution_timeout=self.execution_timeout
        )
        return ClearTraceJobTrigger(
            model_id=model_id,
            job=self.job,
            cleartrace_conn_id=self.cleartrace_conn_id,
            started=begun,
            deadline=deadline,
            poll_interval=self.poll_interval or client.session.settings.poll_interval,
            receipt=dict(receipt),
            cancel_on_kill=self.cancel_on_kill,
            stall_timeout=self.stall_timeout,
            unstarted_timeout=unstarted,
        )

    def _before_submit(self, model_id: str) -> None:
        """Let a job be started, unless the task is killed: Airflow 3 lets it run on for seconds."""
        self._running = model_id
        if self._killed:
            self._running = None
            raise AirflowException(f"killed before {self.job} of model {model_id!r} was submitted")

    def _go_on(self, client: ClearTrace, model_id: str) -> None:
        """Let the task wait for its job, unless it is killed."""
        if self._killed:
            raise AirflowException(f"killed; {self.job} of model {model_id!r}: {self._end(client, model_id)}")

    def _take_up(
        self, context: Context, client: ClearTrace, model_id: str, ended: Ended, receipt: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Submit a job that did not start, unless it has done so since: the task may resume late."""
        try:
            status = client.run(look(client.session, model_id, self.job))
        except NotFoundError:
            status = None
        if status is not None and (known := Ended.of_job(status, ended.elapsed)) is not None:
            return self._finish(context, client, model_id, known, receipt)
        step = Step.SUBMIT if status is None or status.status == PENDING else Step.WAIT
        if step is Step.SUBMIT:
            self._running = None
            self.log.warning("%s of model %s was never submitted: submitting", self.job, model_id)
        request = self.request()
        submission = self._submission(context, client, request)
        # What the wait began with counts: it is what the model id stands for.
        receipt = {**request.receipt, **receipt}
        return self._pursue(context, client, submission, Found(model_id, step), receipt)

    def _finish(
        self,
        context: Context,
        client: ClearTrace,
        model_id: str,
        ended: Ended,
        receipt: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Raise for a bad ending, or tell the result."""
        if ended.ending is Ending.NOT_STARTED:
            return self._take_up(context, client, model_id, ended, receipt)
        ended = client.run(look_again(client.session, model_id, self.job, ended))
        fate = end_job(client, model_id, self.job) if ended.gave_up else MAY_RUN
        page = client.session.settings.model_url(model_id)
        if (error := ended.error(model_id=model_id, job=self.job, fate=fate, page=page)) is not None:
            raise error
        self._running = None
        self.log.info("%s of model %s completed after %.1f s", self.job, model_id, ended.elapsed)
        result = self._manifest(
            context,
            model_id=model_id,
            job=self.job,
            elapsed_seconds=round(ended.elapsed, 3),
            **receipt,
            **self.result(client.load(model_id), receipt),
        )
        forget_submission(context)
        return result

    def on_kill(self) -> None:
        """Cancel the job that the killed task waits for, and keep it from submitting one."""
        self._killed = True
        if self._running is None or self._settings is None:
            return
        with ClearTrace.from_settings(self._settings) as client:
            fate = self._end(client, self._running)
        self.log.info("%s of model %s: %s", self.job, self._running, fate)

    def _end(self, client: ClearTrace, model_id: str) -> str:
        """End the job of the killed task, once and where that is wanted; tells what becomes of it."""
        if self._fate != CANCELLED:
            self._fate = end_job(client, model_id, self.job) if self.cancel_on_kill else MAY_RUN
        return self._fate
