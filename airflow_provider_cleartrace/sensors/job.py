"""``ClearTraceJobSensor``: waits for a job that another task, or somebody else, started."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.common.compat.sdk import AirflowSensorTimeout, AirflowSkipException, BaseSensorOperator

from airflow_provider_cleartrace.api.errors import OuterProductError, PollTimeoutError
from airflow_provider_cleartrace.client.jobs import look, look_again
from airflow_provider_cleartrace.client.polling import Ended, Patience, Poller
from airflow_provider_cleartrace.client.settings import Settings
from airflow_provider_cleartrace.hooks.cleartrace import DEFAULT_CONN_ID, ClearTraceHook
from airflow_provider_cleartrace.links.model import ClearTraceModelLink
from airflow_provider_cleartrace.task_state import TaskState
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

LOOKS_KEY = "cleartrace_looks"
"""The entry of the task state store in which looks in reschedule mode are remembered."""


class ClearTraceJobSensor(BaseSensorOperator):
    """Succeeds when a job of a model has completed; fails at once when it has failed.

    Args:
        model_id: The model.
        job: Which of its jobs: ``fit``, ``fit_distill``, ``segment`` or ``narrative``.
        cleartrace_conn_id: The connection to the service.
        deferrable: Wait in the triggerer; by default as ``[operators] default_deferrable`` says.
        **kwargs: ``poke_interval``, ``timeout``, ``mode``, ``soft_fail`` and all else of Airflow's sensors.
    """

    template_fields: Sequence[str] = ("model_id", "job")
    ui_color = "#eaf3df"
    operator_extra_links = (ClearTraceModelLink(),)

    def __init__(
        self,
        *,
        model_id: str,
        job: str = "fit",
        cleartrace_conn_id: str = DEFAULT_CONN_ID,
        deferrable: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model_id = model_id
        self.job = job
        self.cleartrace_conn_id = cleartrace_conn_id
        self.deferrable = deferrable_or_default(deferrable)
        self._poller: Poller | None = None

    def poke(self, context: Context) -> bool:
        """One look at the job; a passing failure of the look counts as "not yet"."""
        now = time.time()
        memory = _Memory(context) if self.reschedule else None
        if self._poller is None:
            self._poller = Poller(
                Patience(poll_interval=self.poke_interval),
                started=memory.started(now) if memory else now,
                memory=memory.of_poller(now) if memory else None,
            )
        if now < self._poller.not_before:
            return False
        with ClearTraceHook(self.cleartrace_conn_id).get_conn() as client:
            try:
                status = client.run(look(client.session, self.model_id, self.job))
            except OuterProductError as error:
                self.log.warning("look at %s of model %s failed: %s", self.job, self.model_id, error)
                verdict = self._poller.on_error(error, time.time())
            else:
                self.log.info("%s of model %s is %s", self.job, self.model_id, status.status)
                verdict = self._poller.on_status(status, time.time())
            if memory:
                memory.keep(self._poller.memory())
            if isinstance(verdict, Ended):
                self._raise_for(verdict, client.session.settings)
                return True
        return False

    def execute(self, context: Context) -> Any:
        """Wait by poking, or by deferring."""
        settings = ClearTraceHook(self.cleartrace_conn_id).settings()
        ClearTraceModelLink.persist(context, settings.model_url(self.model_id))
        if not self.deferrable:
            return super().execute(context)
        begun = time.time()
        trigger = ClearTraceJobTrigger(
            model_id=self.model_id,
            job=self.job,
            cleartrace_conn_id=self.cleartrace_conn_id,
            started=begun,
            deadline=deadline_of(
                context, begun=begun, timeout=self.timeout, execution_timeout=self.execution_timeout
            ),
            poll_interval=self.poke_interval,
            max_poll_interval=self.poke_interval,
        )
        check_travels(trigger)
        self.defer(trigger=trigger, method_name="execute_complete", timeout=backstop_of(trigger))

    def execute_complete(self, context: Context, event: Mapping[str, Any] | None = None) -> None:
        """Take up the task where the trigger's event leaves it."""
        try:
            ended = ended_from_event(event)
        except OuterProductError as error:
            self._fail(error)
        with ClearTraceHook(self.cleartrace_conn_id).get_conn() as client:
            ended = client.run(look_again(client.session, self.model_id, self.job, ended))
            self._raise_for(ended, client.session.settings)

    def _raise_for(self, ended: Ended, settings: Settings) -> None:
        page = settings.model_url(self.model_id)
        error = ended.error(model_id=self.model_id, job=self.job, page=page)
        if error is not None:
            self._fail(error)

    def _fail(self, error: OuterProductError) -> NoReturn:
        """End as Airflow ends a sensor that pokes, in every mode."""
        if self.soft_fail or self.never_fail:
            raise AirflowSkipException(str(error)) from error
        if isinstance(error, PollTimeoutError):
            raise AirflowSensorTimeout(str(error)) from error
        raise error


class _Memory:
    """What a sensor in reschedule mode knows of its earlier looks, each of which was a process of its own.

    Airflow 3 tells when they began, the task state store (3.3+) what they saw. Where neither is known, each
    look is the first.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._state = TaskState(context, LOOKS_KEY)
        self._try = context["ti"].try_number

    def started(self, now: float) -> float:
        """When the first look of this try was, in epoch seconds."""
        ask = getattr(self._context["ti"], "get_first_reschedule_date", None)
        first = ask(self._context) if ask is not None else None
        return now if first is None else float(first.timestamp())

    def of_poller(self, now: float) -> dict[str, float | None]:
        """What the poller of the last look of this try knew; without it, nothing was wrong until ``now``."""
        record = self._state.get()
        return dict(record["poller"]) if record.get("try") == self._try else {"last_answer": now}

    def keep(self, memory: dict[str, float | None]) -> None:
        """Note what the poller knows for the looks to come."""
        self._state.set({"try": self._try, "poller": memory})
