"""A task that makes of a run's results what people read: a page, a text, and a JSON of every number shown."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args
from urllib.parse import quote

from airflow_provider_cleartrace import __version__
from airflow_provider_cleartrace.assets.files import file_uri
from airflow_provider_cleartrace.hooks.aws import s3_client_factory
from airflow_provider_cleartrace.links.model import ClearTraceModelLink
from airflow_provider_cleartrace.links.report import ClearTraceReportLink
from airflow_provider_cleartrace.links.tab import HAS_TABS, tab_of
from airflow_provider_cleartrace.operators.arguments import named_columns, one_of
from airflow_provider_cleartrace.operators.base import ClearTraceOperator
from airflow_provider_cleartrace.operators.provenance import check_apart
from airflow_provider_cleartrace.reports.facts import Report, Run
from airflow_provider_cleartrace.reports.reading.analyses import names_file
from airflow_provider_cleartrace.reports.reading.changes import compare, find_previous
from airflow_provider_cleartrace.reports.reading.gathering import Inputs, Known, gather, read_shares
from airflow_provider_cleartrace.reports.rendering.branding import Branding, read_branding, read_templates
from airflow_provider_cleartrace.reports.rendering.pages import Look, html_page, markdown_text
from airflow_provider_cleartrace.reports.wording.terms import Audience
from airflow_provider_cleartrace.reports.wording.words import Words
from airflow_provider_cleartrace.storage.errors import StorageError
from airflow_provider_cleartrace.storage.locations import Location
from airflow_provider_cleartrace.storage.publishing import publish_bytes
from airflow_provider_cleartrace.storage.sources import split_range

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

Format = Literal["html", "md", "json"]
FORMATS: tuple[Format, ...] = get_args(Format)
"""In the order of their publication: the next report compares itself with the JSON, so that comes last."""

FILES = (
    "data",
    "predictions",
    "explanations",
    "drivers",
    "scenarios",
    "segments",
    "calibrated",
    "comparison",
)
"""Parameters that name what the report is made from, besides the narrative, which may be a text."""


class ClearTraceReportOperator(ClearTraceOperator):
    """Writes a report of what other tasks produced: whatever is given has its section.

    Needs the extra ``report``. Asks the server for the model's schema and, without ``drivers``, for its
    global drivers. Returns a manifest with ``output_uri``, ``markdown_uri``, ``json_uri``, ``sections`` and
    key figures.

    Args:
        model_id: A trained model.
        output_uri: An ``.html`` file; Markdown and JSON lie beside it under the same name.
        data: Path or URI of the rows that were explained, for the values of the rows shown.
        predictions: What a Predict task wrote.
        explanations: What an Explain task wrote, in either layout.
        drivers: What an Interpret task wrote; by default the model is asked.
        scenarios: What a Scenario task wrote.
        segments: The JSON of a Segment task.
        narrative: The ``.md`` file of a Narrative task, or its text.
        calibrated: The folder of a CalibratedExplain task.
        comparison: The JSON of a Compare task.
        previous: The JSON of an earlier report, or a folder: of the files below it that are called as this
            report's JSON and that this task of this DAG wrote, the last before it in the order of paths.
            None there yet is no error.
        rows: Identities of rows to show in detail; by default those of the highest, median and lowest
            prediction.
        id_columns: Columns that identify a row in the files; by default those that each file's manifest
            tells, or else its first.
        raw_gradient: Whether ``explanations`` were made with it; by default as their manifest tells, or else
            True.
        audience: ``technical`` or ``business`` words.
        title: Of the report; by default the model's target and id.
        formats: Which of ``html``, ``md`` and ``json`` to write.
        template: A folder with Jinja2 templates ``report.html``, ``report.md`` or ``style.css`` that replace,
            or extend as ``base/report.html``, those of this package.
        branding: A ``.json`` file with ``name``, ``logo`` (data URI), ``accent``, ``accent_dark``, ``css``,
            or a ``.css`` file.
        page_url: Address that the task's button leads to, where the report is served somewhere; by default
            the tab of the task in Airflow's UI, and before Airflow 3.1 the file.
    """

    template_fields: Sequence[str] = (
        "model_id",
        "output_uri",
        *FILES,
        "narrative",
        "previous",
        "rows",
        "id_columns",
        "title",
        "template",
        "branding",
        "page_url",
    )
    operator_extra_links = (ClearTraceModelLink(), ClearTraceReportLink())  # type: ignore[assignment]

    def __init__(
        self,
        *,
        model_id: str,
        output_uri: str,
        data: str | None = None,
        predictions: str | None = None,
        explanations: str | None = None,
        drivers: str | None = None,
        scenarios: str | None = None,
        segments: str | None = None,
        narrative: str | None = None,
        calibrated: str | None = None,
        comparison: str | None = None,
        previous: str | None = None,
        rows: Sequence[Any] | None = None,
        id_columns: Sequence[str] | None = None,
        raw_gradient: bool | None = None,
        audience: Audience = "technical",
        title: str | None = None,
        formats: Sequence[Format] = FORMATS,
        template: str | None = None,
        branding: str | None = None,
        page_url: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        one_of("audience", audience, get_args(Audience))
        for each in formats:
            one_of("formats", each, FORMATS)
        if not formats:
            raise ValueError(f"formats: none of {', '.join(map(repr, FORMATS))} is left to write")
        self.model_id = model_id
        self.output_uri = output_uri
        self.data = data
        self.predictions = predictions
        self.explanations = explanations
        self.drivers = drivers
        self.scenarios = scenarios
        self.segments = segments
        self.narrative = narrative
        self.calibrated = calibrated
        self.comparison = comparison
        self.previous = previous
        self.rows = rows
        self.id_columns = id_columns
        self.raw_gradient = raw_gradient
        self.audience: Audience = audience
        self.title = title
        self.formats = formats
        self.template = template
        self.branding = branding
        self.page_url = page_url

    def execute(self, context: Context) -> dict[str, Any]:
        """Read, compare, render; nothing is published before all of it is made."""
        places = self._places()
        for each in self.formats:
            check_apart(places[each], *self._read_places())
        look = Look(
            self.audience,
            read_branding(self.locate(self.branding)) if self.branding else Branding(),
            read_templates(self.locate(self.template)) if self.template else {},
        )
        report = self._report(context, places["json"])
        made = {
            "html": lambda: html_page(report, look),
            "md": lambda: markdown_text(report, look),
            "json": report.to_bytes,
        }
        contents = {name: made[name]() for name in FORMATS if name in self.formats}
        for name, content in contents.items():
            publish_bytes(places[name], content)
        uris = {name: places[name].uri for name in contents}
        if "html" in contents:
            tab = tab_of(context["ti"]) if HAS_TABS else None
            ClearTraceReportLink.persist(context, self.page_url or tab or _address(places["html"]))
        self.log.info("report of model %s: %s", self.model_id, ", ".join(uris.values()))
        return self._manifest(
            context,
            model_id=self.model_id,
            title=report.title,
            audience=self.audience,
            output_uri=uris.get("html"),
            markdown_uri=uris.get("md"),
            json_uri=uris.get("json"),
            bytes=sum(map(len, contents.values())),
            sha256=hashlib.sha256(contents["html"]).hexdigest() if "html" in contents else None,
            sections=[name for name, there in Words(self.audience, report).sections() if there],
            rows=report.predictions.rows if report.predictions else None,
            mean_prediction=report.predictions.mean if report.predictions else None,
            verdict=report.comparison.verdict if report.comparison else None,
            compared_with=report.changes.earlier_made_at if report.changes else None,
        )

    def _places(self) -> dict[Format, Location]:
        page = self.locate(self.output_uri)
        if page.suffix != ".html":
            raise StorageError(f"{page.uri}: .html is written here")
        stem = page.name.removesuffix(Path(page.name).suffix)
        return {name: page if name == "html" else page.sibling(f"{stem}.{name}") for name in FORMATS}

    def _read_places(self) -> list[Location]:
        """What the report is made from, but for the report before it, which it may replace."""
        given = [getattr(self, name) for name in (*FILES, "template", "branding")]
        if self.narrative and names_file(self.narrative):
            given.append(self.narrative)
        return [self.locate(split_range(uri)[0]) for uri in given if uri]

    def _report(self, context: Context, own: Location) -> Report:
        s3 = s3_client_factory(self.aws_conn_id)
        with self.hook.get_conn() as client:
            self._works_on(context, client, self.model_id)
            schema = client.load(self.model_id).get_schema()
            if self.drivers:
                shares = read_shares(self.drivers, s3)
            else:
                told = client.interpret()
                shares = list(zip(told.feature_names, map(float, told.global_drivers), strict=True))
        ti = context["ti"]
        run = Run(dag_id=ti.dag_id, task_id=ti.task_id, run_id=ti.run_id)
        known = Known(
            model_id=self.model_id,
            schema=schema.model_dump(mode="json"),
            shares=shares,
            title=self.title or f"{schema.target or 'Model'}: {self.model_id}",
            made_at=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            provider_version=__version__,
            server=self._server_url(),
            run=run,
        )
        inputs = Inputs(
            predictions=self.predictions,
            explanations=self.explanations,
            scenarios=self.scenarios,
            segments=self.segments,
            narrative=self.narrative,
            calibrated=self.calibrated,
            comparison=self.comparison,
            data=self.data,
            rows=[self.rows] if isinstance(self.rows, str) else [str(row) for row in self.rows or ()],
            id_columns=named_columns("id_columns", self.id_columns),
            raw_gradient=self.raw_gradient,
        )
        report = gather(known, inputs, s3)
        earlier = find_previous(self.locate(self.previous), own, run) if self.previous else None
        if earlier is None:
            return report
        return report.model_copy(update={"changes": compare(earlier, report)})

    def read_uris(self) -> list[str]:
        """The model, and every file that the report is made from."""
        given = [getattr(self, name) for name in FILES if name != "data"]
        return [*super().read_uris(), *(file_uri(uri) for uri in given if isinstance(uri, str) and uri)]


def _address(place: Location) -> str:
    """Where a browser finds a report: in the console of S3, or as a file of this machine."""
    if place.is_local:
        return Path(place.path).as_uri()
    bucket, _, key = place.path.partition("/")
    return f"https://s3.console.aws.amazon.com/s3/object/{quote(bucket)}?prefix={quote(key)}"
