"""What every ClearTrace operator shares, and the one lifecycle of those that start a job."""

from __future__ import annotations

import abc
import datetime as dt
import functools
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_cleartrace.api.errors import OuterProductError, PollTimeoutError
from airflow_provider_cleartrace.assets.events import describe
from airflow_provider_cleartrace.assets.model import model_uri
from airflow_provider_cleartrace.client import ClearTrace
from airflow_provider_cleartrace.client.jobs import wait_until_ended
from airflow_provider_cleartrace.client.polling import Ended, Ending, Patience
from airflow_provider_cleartrace.hooks.aws import s3_client_factory
from airflow_provider_cleartrace.hooks.cleartrace import DEFAULT_CONN_ID, ClearTraceHook
from airflow_provider_cleartrace.lineage.operator import ModelLineage
from airflow_provider_cleartrace.links.model import ClearTraceModelLink
from airflow_provider_cleartrace.operators.manifest import manifest
from airflow_provider_cleartrace.storage.locations import Location, locate
from airflow_provider_cleartrace.triggers.deferral import BACKSTOP, deferrable_or_default, ended_from_event
from airflow_provider_cleartrace.triggers.job import ClearTraceJobTrigger, StatusLog

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

DEFAULT_TIMEOUT = 24 * 3600.0
"""Seconds a job may take by default."""


class ClearTraceOperator(ModelLineage, BaseOperator):
    """A task that uses a ClearTrace connection, and files by path or URI.

    Args:
        cleartrace_conn_id: The connection to the service.
        aws_conn_id: The connection for ``s3://`` URIs, through the Amazon provider; None uses boto3's own
            credential chain.
        multiple_outputs: Push each entry of the manifest as an XCom of its own as well, so that
            ``fit.output["model_id"]`` works.
    """

    ui_color = "#dff3ee"
    operator_extra_links = (ClearTraceModelLink(),)

    def __init__(
        self,
        *,
        cleartrace_conn_id: str = DEFAULT_CONN_ID,
        aws_conn_id: str | None = None,
        multiple_outputs: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(multiple_outputs=multiple_outputs, **kwargs)
        self.cleartrace_conn_id = cleartrace_conn_id
        self.aws_conn_id = aws_conn_id

    @functools.cached_property
    def hook(self) -> ClearTraceHook:
        """The hook of the connection."""
        return ClearTraceHook(self.cleartrace_conn_id)

    def locate(self, uri: str) -> Location:
        """The file behind a path or URI."""
        return locate(uri, s3_client_factory(self.aws_conn_id))

    def _server_url(self) -> str:
        return self.hook.settings().base_url

    def _works_on(self, context: Context, client: ClearTrace, model_id: str) -> None:
        """Note the task's model, as soon as it is known: for the task's link and lineage."""
        settings = client.session.settings
        ClearTraceModelLink.persist(context, settings.model_url(model_id))
        self._worked_on = (model_id, model_uri(model_id, settings.base_url))

    def _manifest(self, context: Context, **values: Any) -> dict[str, Any]:
        """The manifest of the finished task, told to the events of its outlets and to its lineage as well."""
        self._told = manifest(**values)
        describe(context, self.outlets, self._told, self.made_uris())
        return dict(self._told)


@dataclass(frozen=True, slots=True)
class Started:
    """A job that runs, or has run to its end.

    ``receipt`` is flat JSON that goes into the manifest, and comes back to the task when it is resumed.
    """

    model_id: str
    completed: bool = False
    receipt: Mapping[str, Any] = field(default_factory=dict)


class ClearTraceJobOperator(ClearTraceOperator, abc.ABC):
    """A task that starts a job and waits for its end, on the worker or deferred to the triggerer.

    A subclass names its :attr:`job` and says how it is submitted and what its result is; submitting once,
    waiting, endings and the manifest are the same for all.

    Args:
        deferrable: Wait in the triggerer instead of a worker slot; by default as ``[operators]
            default_deferrable`` says.
        timeout: Seconds the job may take, from its submit.
        poll_interval: Seconds before the second look at the job; by default the connection's.
        cancel_on_kill: Cancel the job when the waiting task is killed, marked or cleared: on a worker, and
            with Airflow 3.3+ also while it is deferred.
    """

    job: ClassVar[str]

    def __init__(
        self,
        *,
        deferrable: bool | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        poll_interval: float | None = None,
        cancel_on_kill: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if timeout <= 0:
            raise ValueError(f"timeout must be positive, not {timeout}")
        if poll_interval is not None and poll_interval <= 0:
            raise ValueError(f"poll_interval must be positive, not {poll_interval}")
        self.deferrable = deferrable_or_default(deferrable)
        self.timeout = timeout
        self.poll_interval = poll_interval
        self.cancel_on_kill = cancel_on_kill
        self._running: str | None = None

    @abc.abstractmethod
    def start(self, client: ClearTrace, context: Context) -> Started:
        """Submit the job, or find the one that an earlier try of this task submitted."""

    @abc.abstractmethod
    def result(self, client: ClearTrace, receipt: Mapping[str, Any]) -> dict[str, Any]:
        """What the completed job adds to the manifest; ``client`` is attached to the model."""

    def execute(self, context: Context) -> dict[str, Any]:
        """Submit, then wait: here, or by deferring."""
        with self.hook.get_conn() as client:
            started = self.start(client, context)
            self._running = started.model_id
            self._works_on(context, client, started.model_id)
            begun = time.time()
            deadline = begun + self.timeout
            poll_interval = self.poll_interval or client.session.settings.poll_interval
            if started.completed:
                ended = Ended(Ending.COMPLETED, elapsed=time.time() - begun)
            elif self.deferrable:
                self.defer(
                    trigger=ClearTraceJobTrigger(
                        model_id=started.model_id,
                        job=self.job,
                        cleartrace_conn_id=self.cleartrace_conn_id,
                        started=begun,
                        deadline=deadline,
                        poll_interval=poll_interval,
                        receipt=dict(started.receipt),
                        cancel_on_kill=self.cancel_on_kill,
                    ),
                    method_name="execute_complete",
                    timeout=dt.timedelta(seconds=self.timeout + BACKSTOP),
                )
            else:
                ended = client.run(
                    wait_until_ended(
                        client.session,
                        started.model_id,
                        self.job,
                        Patience(poll_interval=poll_interval),
                        started=begun,
                        deadline=deadline,
                        on_status=StatusLog(self.log, started.model_id, self.job),
                    )
                )
            return self._finish(context, client, started.model_id, ended, started.receipt)

    def execute_complete(self, context: Context, event: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Take up the task where the trigger's event leaves it."""
        ended = ended_from_event(event)
        told = event or {}
        self._running = told["model_id"]
        with self.hook.get_conn() as client:
            self._works_on(context, client, told["model_id"])
            return self._finish(context, client, told["model_id"], ended, told.get("receipt", {}))

    def _finish(
        self,
        context: Context,
        client: ClearTrace,
        model_id: str,
        ended: Ended,
        receipt: Mapping[str, Any],
    ) -> dict[str, Any]:
        client.load(model_id)
        error = ended.error(model_id=model_id, job=self.job)
        if isinstance(error, PollTimeoutError):
            raise PollTimeoutError(
                f"{error}; {self._cancel(client)}", elapsed=error.elapsed, model_id=model_id
            )
        if error is not None:
            raise error
        self._running = None
        self.log.info("%s of model %s completed after %.1f s", self.job, model_id, ended.elapsed)
        return self._manifest(
            context,
            model_id=model_id,
            job=self.job,
            elapsed_seconds=round(ended.elapsed, 3),
            **receipt,
            **self.result(client, receipt),
        )

    def on_kill(self) -> None:
        """Cancel the job of a task that is killed while it waits on the worker."""
        if self._running is None or not self.cancel_on_kill:
            return
        with self.hook.get_conn() as client:
            fate = self._cancel(client.load(self._running))
        self.log.info("%s of model %s: %s", self.job, self._running, fate)

    def _cancel(self, client: ClearTrace) -> str:
        """Try to stop the job, and say what becomes of it."""
        try:
            stopped = client.cancel(self.job)
        except OuterProductError as error:
            return f"it could not be cancelled and may still run ({error})"
        return "it was cancelled" if stopped else "the service cannot cancel it: it runs on"
