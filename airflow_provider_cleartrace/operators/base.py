"""What every ClearTrace operator shares: its connection, its files, what is told of its model."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_cleartrace.assets.events import describe
from airflow_provider_cleartrace.assets.model import model_uri
from airflow_provider_cleartrace.client import ClearTrace
from airflow_provider_cleartrace.hooks.aws import s3_client_factory
from airflow_provider_cleartrace.hooks.cleartrace import DEFAULT_CONN_ID, ClearTraceHook
from airflow_provider_cleartrace.lineage.operator import ModelLineage
from airflow_provider_cleartrace.links.model import ClearTraceModelLink
from airflow_provider_cleartrace.operators.manifest import manifest
from airflow_provider_cleartrace.storage.locations import Location, locate

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


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
