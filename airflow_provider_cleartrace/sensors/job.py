"""``ClearTraceJobSensor``: waits for a job that another task, or somebody else, started."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowSkipException, BaseSensorOperator

from airflow_provider_cleartrace.api.errors import OuterProductError
from airflow_provider_cleartrace.client.jobs import observe
from airflow_provider_cleartrace.client.polling import Ended, Patience, Poller
from airflow_provider_cleartrace.hooks.cleartrace import DEFAULT_CONN_ID, ClearTraceHook
from airflow_provider_cleartrace.links.model import ClearTraceModelLink
from airflow_provider_cleartrace.triggers.deferral import BACKSTOP, deferrable_or_default, ended_from_event
from airflow_provider_cleartrace.triggers.job import ClearTraceJobTrigger

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


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
        if self._poller is None:
            self._poller = Poller(Patience(poll_interval=self.poke_interval), started=now)
        with ClearTraceHook(self.cleartrace_conn_id).get_conn() as client:
            try:
                status = client.run(observe(client.session, self.model_id, self.job))
            except OuterProductError as error:
                self.log.warning("look at %s of model %s failed: %s", self.job, self.model_id, error)
                verdict = self._poller.on_error(error, now)
            else:
                self.log.info("%s of model %s is %s", self.job, self.model_id, status.status)
                verdict = self._poller.on_status(status, now)
        if not isinstance(verdict, Ended):
            return False
        self._raise_for(verdict)
        return True

    def execute(self, context: Context) -> Any:
        """Wait by poking, or by deferring."""
        settings = ClearTraceHook(self.cleartrace_conn_id).settings()
        ClearTraceModelLink.persist(context, settings.model_url(self.model_id))
        if not self.deferrable:
            return super().execute(context)
        now = time.time()
        self.defer(
            trigger=ClearTraceJobTrigger(
                model_id=self.model_id,
                job=self.job,
                cleartrace_conn_id=self.cleartrace_conn_id,
                started=now,
                deadline=now + self.timeout,
                poll_interval=self.poke_interval,
                max_poll_interval=self.poke_interval,
            ),
            method_name="execute_complete",
            timeout=dt.timedelta(seconds=self.timeout + BACKSTOP),
        )

    def execute_complete(self, context: Context, event: Mapping[str, Any] | None = None) -> None:
        """Take up the task where the trigger's event leaves it."""
        self._raise_for(ended_from_event(event))

    def _raise_for(self, ended: Ended) -> None:
        error = ended.error(model_id=self.model_id, job=self.job)
        if error is None:
            return
        if self.soft_fail:
            raise AirflowSkipException(str(error)) from error
        raise error
