"""What the tasks share that put a trained model to work on rows: arguments, checks, publication, manifest."""

from __future__ import annotations

import abc
import asyncio
import contextlib
import functools
import gc
import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_cleartrace import __version__
from airflow_provider_cleartrace.api.errors import ValidationError
from airflow_provider_cleartrace.api.models import SchemaResult
from airflow_provider_cleartrace.client import AsyncClearTrace
from airflow_provider_cleartrace.hooks.aws import s3_client_factory
from airflow_provider_cleartrace.lineage.columns import column_sources
from airflow_provider_cleartrace.operators.answers import Answers
from airflow_provider_cleartrace.operators.base import ClearTraceOperator
from airflow_provider_cleartrace.operators.columns import feature_kinds, filter_kinds, guessed_kinds
from airflow_provider_cleartrace.operators.manifest import LISTED
from airflow_provider_cleartrace.operators.row_reader import ROW, OnBadRows, RowPlan, identity_of, no_rows
from airflow_provider_cleartrace.operators.rows import RowJob
from airflow_provider_cleartrace.operators.unseen import UnseenValues
from airflow_provider_cleartrace.storage.errors import StorageError
from airflow_provider_cleartrace.storage.filters import RowFilter
from airflow_provider_cleartrace.storage.kinds import Kind
from airflow_provider_cleartrace.storage.manifests import Manifest
from airflow_provider_cleartrace.storage.outputs import IF_EXISTS, IfExists, Output
from airflow_provider_cleartrace.storage.sources import Source, find_source
from airflow_provider_cleartrace.storage.writing import FORMATS, format_of_output

if TYPE_CHECKING:
    import pyarrow as pa
    from airflow.providers.common.compat.sdk import Context

OUTPUT_SCHEMA_VERSION = 1
"""Moves on when the columns of an output mean something else."""

BATCH_CELLS = 50_000
"""Values in one request by default (2,500 rows of 20 columns): about half a megabyte of JSON."""

BATCH_ROWS = 10_000
"""Most rows of one request by default, however narrow they are."""

LEAST_BATCH_ROWS = 50
"""Fewest rows of one request by default, however wide: a column costs as much for one row as for 50."""

PART_CELLS = 20_000_000
PART_ROWS = 100_000
"""A part is what a crash may cost: some tens of megabytes of Parquet, a minute or so of work."""

MAX_IN_FLIGHT = 4
"""Requests under way by default: enough to keep one server busy while rows are read and written."""

ALL = "*"
"""In ``columns``: every column of the data."""


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
        batch_rows: Most rows of one request; by default as many as hold some 50,000 values.
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
        if source.root.covers(target) or target.covers(source.root):
            raise StorageError(
                f"{target.uri}: the output would replace the data it is made from, or lie within it"
            )
        where = RowFilter.parse(self.filter) if self.filter else None
        with self.hook.get_conn() as client:
            self._works_on(context, client, self.model_id)
            schema = client.load(self.model_id).get_schema()
            settings = client.session.settings
        plan = self._plan(source, schema, where)
        source.check(plan.kinds)
        self.prepare(schema)
        empty = self.nothing(schema, no_rows(plan)).joined(_identity_checked(self, plan, schema))
        self._column_sources = column_sources(
            empty.schema.names, plan.features, [*plan.ids, *plan.carried], ROW
        )
        told = self._told_of(source, schema, plan)
        fingerprint = hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()
        made_by = {"task": task_of(context), "model_id": self.model_id, "data": source.uri}
        output = Output(
            target, file_format, self.if_exists, fingerprint, made_by | {"provider_version": __version__}
        )
        published = output.finished()
        if published is not None:
            self.log.info("%s is there already, made of the same: kept", target.uri)
        else:
            output.claim()
            published = self._run(settings, schema, source, plan, output, empty)
        return self._publication(context, source, output, published, empty)

    def _file_format(self) -> str:
        target = self.locate(self.output_uri)
        if target.named_as_folder:
            return self.format or "parquet"
        named = format_of_output(target)
        if self.format not in {None, named}:
            raise StorageError(f"{target.uri}: the extension says {named}, format says {self.format}")
        return named

    def _plan(self, source: Source, schema: SchemaResult, where: RowFilter | None) -> RowPlan:
        ids = named_columns("id_columns", self.id_columns)
        carried = named_columns("columns", self.columns)
        if ALL in carried:
            carried = source.files[0].columns
        carried = [name for name in carried if name not in ids]
        features = list(schema.feature_names)
        known = feature_kinds(schema)
        unknown = [name for name in features if known[name] is None]
        source.check(dict.fromkeys([*ids, *carried, *features], "any"))
        kinds: dict[str, Kind] = {name: "any" for name in [*ids, *carried]}
        if where is not None:
            kinds |= filter_kinds({name: where.values(name) for name in where.columns})
        kinds |= {name: kind for name, kind in known.items() if kind is not None}
        kinds |= guessed_kinds(source, unknown) if unknown else {}
        width = max(1, len(features))
        return RowPlan(
            ids=ids,
            carried=carried,
            features=features,
            kinds=kinds,
            where=where,
            batch_rows=self.batch_rows or self._default_batch_rows(width),
            part_rows=self.part_rows or min(PART_ROWS, max(1_000, PART_CELLS // width)),
            on_bad_rows=self.on_bad_rows,
        )

    def _default_batch_rows(self, width: int) -> int:
        return min(BATCH_ROWS, max(LEAST_BATCH_ROWS, BATCH_CELLS // width))

    def _told_of(self, source: Source, schema: SchemaResult, plan: RowPlan) -> dict[str, Any]:
        """Everything that decides what the output holds."""
        return {
            "data": source.fingerprint,
            "model_id": self.model_id,
            "model": schema.model_dump(mode="json"),
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
        settings: Any,
        schema: SchemaResult,
        source: Source,
        plan: RowPlan,
        output: Output,
        empty: pa.RecordBatch,
    ) -> Manifest:
        metadata = {
            "cleartrace.model_id": self.model_id,
            "cleartrace.schema_version": str(OUTPUT_SCHEMA_VERSION),
            "cleartrace.provider_version": __version__,
        }

        async def work() -> Manifest:
            renew = functools.partial(self.hook.arenewed_key, settings.base_url)
            async with AsyncClearTrace.from_settings(settings, renew=renew) as client:
                client.load(self.model_id)

                async def ask(rows: pa.RecordBatch) -> Answers:
                    return await self.ask(client, schema, rows)

                unseen = UnseenValues.of(schema)
                job = RowJob(source, plan, output, ask, unseen, self.max_in_flight, metadata, self.log)
                parts = await job.run()
            return await asyncio.to_thread(output.publish, parts, empty.replace_schema_metadata(metadata))

        with _heap_at_rest():
            return asyncio.run(work())

    def _publication(
        self, context: Context, source: Source, output: Output, published: Manifest, empty: pa.RecordBatch
    ) -> dict[str, Any]:
        counts = published.counts
        rows, rejected = counts["rows_in"], counts["rows_rejected"]
        self.log.info(
            "%d rows of %s: %d answered, %d not wanted, %d rejected; %s",
            rows,
            source.uri,
            counts["rows_out"],
            counts.get("rows_filtered", 0),
            rejected,
            output.target.uri,
        )
        own = {"rows_in", "rows_out", "rows_filtered", "rows_rejected"}
        return self._manifest(
            context,
            model_id=self.model_id,
            data=source.uri,
            output_uri=output.target.uri,
            rows=rows,
            rows_filtered=counts.get("rows_filtered", 0) if self.filter else None,
            rows_rejected=rejected,
            rows_written=sum(file.rows for file in published.files),
            rejects_uri=output.rejects_place.uri if rejected else None,
            files=len(published.files),
            bytes=sum(file.bytes for file in published.files),
            sha256=published.files[0].sha256 if len(published.files) == 1 else None,
            fingerprint=output.fingerprint,
            columns=empty.schema.names[:LISTED],
            n_columns=len(empty.schema.names),
            **{name: count for name, count in counts.items() if name not in own},
        )


def _identity_checked(operator: RowsOperator, plan: RowPlan, schema: SchemaResult) -> pa.RecordBatch:
    """What identifies no rows; its columns must not be those of the answers."""
    identity = identity_of(plan, no_rows(plan))
    names = identity.schema.names
    answered = operator.nothing(schema, no_rows(plan)).columns
    if clash := [name for name in names if name in answered] or sorted(
        {name for name in names if names.count(name) > 1}
    ):
        raise ValidationError(f"the column {clash[0]!r} of the data has the name of an output column")
    return identity


@contextlib.contextmanager
def _heap_at_rest() -> Iterator[None]:
    """Spare the garbage collector what is there already.

    A batch is thousands of lists, whose making has Python look again and again through the half million
    objects of Airflow: a fifth of a task's CPU time.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def named_columns(parameter: str, names: Sequence[str] | None) -> list[str]:
    """Column names as a list without repetitions.

    Raises:
        ValidationError: a name comes twice.
    """
    listed = [names] if isinstance(names, str) else list(names or [])
    if len(set(listed)) != len(listed):
        raise ValidationError(f"{parameter} names a column twice: {', '.join(map(repr, listed))}")
    return listed


def one_of(parameter: str, value: Any, known: Sequence[Any]) -> None:
    """Refuse a word that a parameter does not know.

    Raises:
        ValueError: it is none of them.
    """
    if value not in known:
        raise ValueError(f"{parameter} must be one of {', '.join(map(repr, known))}, not {value!r}")


def task_of(context: Context) -> list[Any]:
    """What names a task instance in the manifest of its output, whichever try it is."""
    ti = context["ti"]
    return [ti.dag_id, ti.task_id, ti.run_id, ti.map_index]
