"""What the tasks share that put a trained model to work on rows: arguments, checks, publication, manifest."""

from __future__ import annotations

import abc
import asyncio
import functools
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from airflow_provider_cleartrace import __version__
from airflow_provider_cleartrace.api.models import SchemaResult
from airflow_provider_cleartrace.client import AsyncClearTrace
from airflow_provider_cleartrace.client.settings import Settings
from airflow_provider_cleartrace.hooks.aws import s3_client_factory
from airflow_provider_cleartrace.lineage.columns import column_sources
from airflow_provider_cleartrace.operators.arguments import one_of
from airflow_provider_cleartrace.operators.base import ClearTraceOperator
from airflow_provider_cleartrace.operators.identity import digest_of
from airflow_provider_cleartrace.operators.provenance import check_apart, claimant_of, model_state
from airflow_provider_cleartrace.operators.rows.answers import Answers
from airflow_provider_cleartrace.operators.rows.figures import row_figures, summary_of
from airflow_provider_cleartrace.operators.rows.heap import heap_at_rest
from airflow_provider_cleartrace.operators.rows.pipeline import RowJob
from airflow_provider_cleartrace.operators.rows.plan import no_identity, plan_rows
from airflow_provider_cleartrace.operators.rows.reader import ROW, OnBadRows, RowPlan, no_rows
from airflow_provider_cleartrace.operators.rows.unseen import UnseenValues
from airflow_provider_cleartrace.storage.errors import StorageError
from airflow_provider_cleartrace.storage.filters import RowFilter
from airflow_provider_cleartrace.storage.manifests import Manifest
from airflow_provider_cleartrace.storage.outputs import NAMES, TableDraft
from airflow_provider_cleartrace.storage.publication import IF_EXISTS, IfExists, Publication
from airflow_provider_cleartrace.storage.sources import Source, find_source
from airflow_provider_cleartrace.storage.writing import FORMATS, format_of_output

if TYPE_CHECKING:
    import pyarrow as pa
    from airflow.providers.common.compat.sdk import Context

OUTPUT_SCHEMA_VERSION = 1
"""Moves on when the columns of an output mean something else."""

MAX_IN_FLIGHT = 4
"""Requests under way by default: enough to keep one server busy while rows are read and written."""


class RowsOperator(ClearTraceOperator, abc.ABC):
    """Reads rows in batches, has the model speak of them, and publishes that with the rows' identity.

    Args:
        model_id: A trained model.
        data: Path or URI of a file or folder of rows; columns the model does not use are ignored. It may
            end in ``#rows=START-STOP``, as :func:`~.partitions` gives them.
        output_uri: A ``.parquet``, ``.jsonl`` or ``.csv`` file, or a folder (it ends in a slash).
        id_columns: Columns of ``data`` that identify a row; taken as texts from a CSV. By default the rows
            are numbered as ``row``.
        columns: Further columns of ``data`` to put into the output; ``["*"]`` for all.
        filter: Which rows are wanted: conditions ``[column, operator, value]``; see :class:`~.RowFilter`.
        format: ``parquet``, ``jsonl`` or ``csv``; by default what the extension says, a folder is Parquet.
        if_exists: ``replace`` an earlier output, ``fail``, or ``skip`` the work if it would be the same.
        on_bad_rows: ``fail``, or ``skip`` to put rows that cannot be served into a reject file.
        batch_rows: Most rows of one request; by default as many as hold some 25,000 values.
        max_in_flight: Most requests under way at once.
        part_rows: Rows of the input behind one part: of a folder, and of what a retry need not do again.
    """

    template_fields: Sequence[str] = ("model_id", "data", "output_uri", "id_columns", "columns", "filter")

    def __init__(
        self,
        *,
        model_id: str,
        data: str,
        output_uri: str,
        id_columns: Sequence[str] | None = None,
        columns: Sequence[str] | None = None,
        filter: Sequence[Any] | None = None,
        format: str | None = None,
        if_exists: IfExists = "replace",
        on_bad_rows: OnBadRows = "fail",
        batch_rows: int | None = None,
        max_in_flight: int = MAX_IN_FLIGHT,
        part_rows: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        for name, value in (
            ("batch_rows", batch_rows),
            ("max_in_flight", max_in_flight),
            ("part_rows", part_rows),
        ):
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        one_of("format", format, (None, *FORMATS))
        one_of("if_exists", if_exists, IF_EXISTS)
        one_of("on_bad_rows", on_bad_rows, ("fail", "skip"))
        self.model_id = model_id
        self.data = data
        self.output_uri = output_uri
        self.id_columns = id_columns
        self.columns = columns
        self.filter = filter
        self.format = format
        self.if_exists = if_exists
        self.on_bad_rows = on_bad_rows
        self.batch_rows = batch_rows
        self.max_in_flight = max_in_flight
        self.part_rows = part_rows

    @abc.abstractmethod
    async def ask(self, client: AsyncClearTrace, schema: SchemaResult, rows: pa.RecordBatch) -> Answers:
        """What the model says of some rows."""

    @abc.abstractmethod
    def nothing(self, schema: SchemaResult, rows: pa.RecordBatch) -> Answers:
        """The answers to no rows: the columns of an output without any."""

    @abc.abstractmethod
    def asked_for(self) -> dict[str, Any]:
        """What shapes the answers besides model and rows (JSON)."""

    def prepare(self, schema: SchemaResult) -> None:
        """Refuse what does not fit the model, before a row is sent."""

    def execute(self, context: Context) -> dict[str, Any]:
        """Score all rows; the output appears when the last one is done."""
        source = find_source(self.data, s3_client_factory(self.aws_conn_id))
        target = self.locate(self.output_uri)
        file_format = self._file_format()
        check_apart(target, source.root)
        where = RowFilter.parse(self.filter) if self.filter else None
        schema, model, settings = self._look_up(context)
        plan = plan_rows(
            source,
            schema,
            id_columns=self.id_columns,
            columns=self.columns,
            where=where,
            batch_rows=self.batch_rows,
            part_rows=self.part_rows,
            on_bad_rows=self.on_bad_rows,
        )
        self.prepare(schema)
        nothing = self.nothing(schema, no_rows(plan))
        empty = nothing.joined(no_identity(plan, list(nothing.columns)))
        self._column_sources = column_sources(
            empty.schema.names, plan.features, [*plan.ids, *plan.carried], ROW
        )
        publication = Publication(
            target,
            NAMES,
            self.if_exists,
            digest_of(self._decides(source, model, plan)),
            claimant_of(context),
            {
                "model_id": self.model_id,
                "data": source.uri,
                "id_columns": list(plan.ids) or [ROW],
                "columns": list(plan.carried),
                "asked": self.asked_for(),
                "provider_version": __version__,
            },
        )
        published = publication.finished()
        if published is not None:
            self.log.info("%s is there already, made of the same: kept", target.uri)
        else:
            with publication.claimed() as draft:
                published = draft.finished() or self._run(
                    settings, schema, source, plan, TableDraft(draft, file_format), empty
                )
        told = row_figures(publication, published, filtered=bool(self.filter), columns=empty.schema.names)
        self.log.info("%s", summary_of(source.uri, told))
        return self._manifest(context, model_id=self.model_id, data=source.uri, **told)

    def _look_up(self, context: Context) -> tuple[SchemaResult, dict[str, Any], Settings]:
        """What the server tells of the model; the client that asked is held no longer."""
        with self.hook.get_conn() as client:
            self._works_on(context, client, self.model_id)
            schema = client.load(self.model_id).get_schema()
            return schema, model_state(client, self.model_id, schema), client.session.settings

    def _file_format(self) -> str:
        target = self.locate(self.output_uri)
        if target.named_as_folder:
            return self.format or "parquet"
        named = format_of_output(target)
        if self.format not in {None, named}:
            raise StorageError(f"{target.uri}: the extension says {named}, format says {self.format}")
        return named

    def _decides(self, source: Source, model: Mapping[str, Any], plan: RowPlan) -> dict[str, Any]:
        """Everything that decides what the output holds."""
        return {
            "data": source.fingerprint,
            "model": model,
            "asked": self.asked_for(),
            "ids": list(plan.ids),
            "columns": list(plan.carried),
            "filter": self.filter,
            "part_rows": plan.part_rows,
            "on_bad_rows": plan.on_bad_rows,
            "format": self._file_format(),
            "version": [OUTPUT_SCHEMA_VERSION, __version__],
        }

    def _run(
        self,
        settings: Settings,
        schema: SchemaResult,
        source: Source,
        plan: RowPlan,
        draft: TableDraft,
        empty: pa.RecordBatch,
    ) -> Manifest:
        metadata = {
            "cleartrace.model_id": self.model_id,
            "cleartrace.schema_version": str(OUTPUT_SCHEMA_VERSION),
            "cleartrace.provider_version": __version__,
        }

        async def work() -> Manifest:
            # Rows are read and written in turn; each thread that does keeps megabytes for the next time.
            asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(max_workers=1))
            renew = functools.partial(self.hook.arenewed_key, settings.base_url)
            async with AsyncClearTrace.from_settings(settings, renew=renew) as client:
                client.load(self.model_id)

                async def ask(rows: pa.RecordBatch) -> Answers:
                    return await self.ask(client, schema, rows)

                unseen = UnseenValues.of(schema)
                job = RowJob(source, plan, draft, ask, unseen, self.max_in_flight, metadata, self.log)
                parts = await job.run()
            return await asyncio.to_thread(draft.publish, parts, empty.replace_schema_metadata(metadata))

        with heap_at_rest():
            return asyncio.run(work())
