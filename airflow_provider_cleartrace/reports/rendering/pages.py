"""Renders the facts of a report as one HTML page and as Markdown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_cleartrace.reports.errors import ReportError
from airflow_provider_cleartrace.reports.facts import Calibrated, Drivers, Predictions, Report, Row, Segments
from airflow_provider_cleartrace.reports.rendering import plots, prose
from airflow_provider_cleartrace.reports.rendering.branding import Branding
from airflow_provider_cleartrace.reports.texts import Markdown, markdown_escaped
from airflow_provider_cleartrace.reports.wording import figures
from airflow_provider_cleartrace.reports.wording.terms import Audience
from airflow_provider_cleartrace.reports.wording.words import Words

if TYPE_CHECKING:
    from jinja2 import BaseLoader, Environment
    from markupsafe import Markup

HTML, MARKDOWN = "report.html", "report.md"
"""The templates that are rendered; a user's of the same name comes first."""

BASE = "base"
"""The package's own templates under another name, so that a user's can extend ``base/report.html``."""


_BREAKS = re.compile(r"([_/])(?=\w)")


@dataclass(frozen=True)
class Look:
    """How a report is told: for whom, in whose colours, and by which templates (name to source)."""

    audience: Audience = "technical"
    branding: Branding = field(default_factory=Branding)
    templates: Mapping[str, str] = field(default_factory=dict)


def html_page(report: Report, look: Look) -> bytes:
    """One page that needs nothing else: no script, no network.

    Raises:
        ReportError: a user's template cannot be rendered, or the extra ``report`` is missing.
    """
    environment = _environment(look, autoescape=True)
    return _rendered(environment, HTML, report, look, plot=_Plots(Words(look.audience, report)))


def markdown_text(report: Report, look: Look) -> bytes:
    """The same figures as Markdown, for mail and chat.

    Raises:
        ReportError: a user's template cannot be rendered, or the extra ``report`` is missing.
    """
    environment = _environment(look, autoescape=False)
    environment.finalize = _finished
    return _rendered(environment, MARKDOWN, report, look)


def _finished(value: Any) -> Any:
    """Every value that a Markdown template writes, escaped; its own text is as it stands."""
    return str(value) if isinstance(value, Markdown | figures.Shown) else markdown_escaped(str(value))


def _environment(look: Look, *, autoescape: bool) -> Environment:
    try:
        from jinja2 import (  # noqa: PLC0415  (the extra "report"; nothing else needs it)
            ChoiceLoader,
            DictLoader,
            PackageLoader,
            PrefixLoader,
            StrictUndefined,
        )
        from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415
    except ImportError:
        raise ReportError("reports need matplotlib and Jinja2: install the extra 'report'") from None
    own: BaseLoader = PackageLoader("airflow_provider_cleartrace.reports.rendering", "templates")
    environment = ImmutableSandboxedEnvironment(
        loader=ChoiceLoader([DictLoader(look.templates), own, PrefixLoader({BASE: own})]),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in ("number", "decimal", "percent", "signed", "points"):
        environment.filters[name] = getattr(figures, name)
    environment.filters["blocks"] = prose.blocks
    environment.filters["moment"] = figures.moment
    environment.filters["breakable"] = _breakable
    return environment


def _breakable(value: Any) -> Markup:
    """A value as HTML whose long names may wrap behind their underscores and slashes."""
    from markupsafe import Markup, escape  # noqa: PLC0415  (comes with Jinja2)

    whole = escape(value)
    if not isinstance(value, str):
        return whole
    return Markup(_BREAKS.sub(r"\1<wbr>", str(whole)))  # noqa: S704  (escaped above)


def _rendered(environment: Environment, name: str, report: Report, look: Look, **more: Any) -> bytes:
    from jinja2 import TemplateError  # noqa: PLC0415  (as above)

    words = Words(look.audience, report)
    try:
        template = environment.get_template(name)
        return template.render(report=report, words=words, branding=look.branding, **more).encode()
    except (TemplateError, ArithmeticError, TypeError) as error:
        raise ReportError(f"the template {name} cannot be rendered: {error}") from None


class _Plots:
    """The plots, with titles and descriptions in the reader's words; a template asks for those it shows."""

    def __init__(self, words: Words) -> None:
        self._words = words

    def drivers(self, told: Drivers) -> Markup:
        return self._described("drivers", plots.drivers_plot(told, figures.percent))

    def predictions(self, told: Predictions) -> Markup:
        axis = self._words["row_count"]
        return self._described("predictions", plots.distribution_plot(told, self._words.prediction, axis))

    def classes(self, told: Predictions) -> Markup:
        return self._described("class", plots.classes_plot(told, figures.percent))

    def row(self, told: Row, number: int) -> Markup:
        svg = plots.row_plot(told, self._words.driver)
        return self._described("row", svg, f"-{number}", f": {told.identity}")

    def personas(self, told: Segments) -> Markup:
        return self._described("personas", plots.personas_plot(told, self._words.prediction))

    def calibrated(self, told: Calibrated) -> Markup:
        return self._described("calibrated", plots.intervals_plot(told, self._words.prediction))

    def _described(self, term: str, svg: str, suffix: str = "", of: str = "") -> Markup:
        from markupsafe import Markup  # noqa: PLC0415  (comes with Jinja2)

        title = self._words[f"{term}_plot"] + of
        plot = plots.described(svg, f"plot-{term}{suffix}", title, self._words["described"])
        return Markup(plot)  # noqa: S704  (matplotlib's XML, with escaped texts)
