"""The plots of a report as SVG: each answers one question, and takes its colours from the page's style."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from airflow_provider_cleartrace.reports.errors import ReportError
from airflow_provider_cleartrace.reports.facts import Calibrated, Drivers, Predictions, Row, Segments
from airflow_provider_cleartrace.reports.texts import shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Format = Callable[[float], object]
"""How a number is written."""

PLOTTED_DRIVERS = 12
LABEL = 52
VALUE = 22
"""Characters of a label, and of a value in it: together about half of a plot's width."""

WIDTH = 7.4
"""Inches of 72 points; the page scales the plot to its column."""

NUMBER = 0.24
"""Room for a number at the end of the longest bar, as a share of the bars' width."""

BAR = 0.27
"""Inches of height for each bar or dot with its label."""

_INK, _MUTED, _LINE, _ACCENT, _UP, _DOWN, _PAPER = (f"#0{digit}0{digit}0{digit}" for digit in "1234567")
_PROPERTIES = {
    _INK: "ink",
    _MUTED: "muted",
    _LINE: "line",
    _ACCENT: "accent",
    _UP: "up",
    _DOWN: "down",
    _PAPER: "paper",
}
"""Stand-ins for the page's colours: matplotlib needs a colour, the page decides which, also in the dark."""

_SVG = "http://www.w3.org/2000/svg"
_FONT = re.compile(r" ?font-family: [^;]*;")


def drivers_plot(drivers: Drivers, share: Format) -> str:
    """Which features drive the model?"""
    listed = drivers.listed[:PLOTTED_DRIVERS]
    return _plot(
        len(listed),
        lambda axes: _bars(axes, [each.feature for each in listed], [each.share for each in listed], share),
    )


def classes_plot(predictions: Predictions, share: Format) -> str:
    """How many rows go to each class?"""
    listed = sorted(predictions.classes, key=lambda each: -each.rows)[:PLOTTED_DRIVERS]
    return _plot(
        len(listed),
        lambda axes: _bars(axes, [each.label for each in listed], [each.share for each in listed], share),
    )


def personas_plot(segments: Segments, prediction: Format) -> str:
    """How does the model score each group?"""
    told = [each for each in segments.personas if each.mean_prediction is not None][:PLOTTED_DRIVERS]

    def draw(axes: Axes) -> None:
        _bars(axes, [each.name for each in told], [each.mean_prediction or 0.0 for each in told], prediction)

    return _plot(len(told), draw)


def row_plot(row: Row, driver: Format) -> str:
    """What moved this row's prediction, and which way?"""

    def draw(axes: Axes) -> None:
        values = [each.driver for each in row.drivers]
        labels = [
            each.feature
            if each.value is None
            else f"{shortened(each.feature, LABEL - VALUE - 3)} = {shortened(each.value, VALUE)}"
            for each in row.drivers
        ]
        _bars(axes, labels, values, driver, colours=[_UP if value > 0 else _DOWN for value in values])
        axes.axvline(0, color=_MUTED, linewidth=0.8)

    return _plot(len(row.drivers), draw)


def distribution_plot(predictions: Predictions, value: Format, rows: str) -> str:
    """Where do the predictions lie? ``rows`` names the axis of counts."""

    def draw(axes: Axes) -> None:
        bins = predictions.bins
        axes.bar(
            [each.low for each in bins],
            [each.rows for each in bins],
            width=[each.high - each.low for each in bins],
            align="edge",
            color=_ACCENT,
            edgecolor=_PAPER,
            linewidth=1.2,
        )
        axes.spines["bottom"].set_visible(True)
        axes.xaxis.set_visible(True)
        axes.yaxis.set_visible(True)
        axes.yaxis.set_major_locator(_locator())
        axes.yaxis.set_major_formatter(lambda count, _: f"{count:,.0f}")
        axes.xaxis.set_major_formatter(lambda place, _: str(value(float(place))))
        axes.grid(axis="y", color=_LINE, linewidth=0.7)
        axes.set_axisbelow(True)
        axes.set_ylabel(rows, color=_MUTED)
        axes.margins(x=0.01)
        top = max((each.rows for each in bins), default=0)
        axes.set_ylim(0, top * 1.18 or 1)
        marks = [(predictions.median, "median", "-")]
        if predictions.boundary is not None:
            marks.append((predictions.boundary, "boundary", "--"))
        for place, name, line in marks:
            axes.axvline(place, color=_INK, linewidth=1.1, linestyle=line)
            left = place > (bins[0].low + bins[-1].high) / 2
            axes.annotate(
                f"{name} {value(place)}",
                (place, top * (1.12 if name == "median" else 1.02)),
                xytext=(-5 if left else 5, 0),
                textcoords="offset points",
                ha="right" if left else "left",
                va="center",
                color=_INK,
            )

    return _plot(8.5, draw)


def intervals_plot(calibrated: Calibrated, prediction: Format) -> str:
    """How sure is each prediction?"""
    rows = calibrated.shown

    def draw(axes: Axes) -> None:
        known = [end for row in rows for end in (row.low, row.high, row.prediction) if end is not None]
        places = list(range(len(rows)))
        for place, row in zip(places, rows, strict=True):
            low = min(known) if row.low is None else row.low
            high = max(known) if row.high is None else row.high
            axes.plot(
                [low, high], [place, place], color=_ACCENT, linewidth=5, alpha=0.45, solid_capstyle="butt"
            )
            # A dot is a line without length: matplotlib's own markers need ids, which two plots would share.
            dot = [row.prediction, row.prediction], [place, place]
            axes.plot(*dot, color=_INK, linewidth=4.5, solid_capstyle="round")
        _labels(axes, [row.identity for row in rows])
        axes.xaxis.set_visible(True)
        axes.xaxis.set_major_formatter(lambda place, _: str(prediction(float(place))))
        axes.grid(axis="x", color=_LINE, linewidth=0.7)
        axes.set_axisbelow(True)

    return _plot(len(rows) + 1, draw)


def described(svg: str, name: str, title: str, description: str) -> str:
    """The plot with a title and a description for those who do not see it; ``name`` is unique on the page."""
    head, _, rest = svg.partition(">")
    labels = "".join(
        f'<{tag} id="{name}-{tag}">{escape(text)}</{tag}>'
        for tag, text in (("title", title), ("desc", description))
    )
    return f'{head} aria-labelledby="{name}-title {name}-desc">{labels}{rest}'


def _bars(
    axes: Axes,
    labels: Sequence[str],
    values: Sequence[float],
    form: Format,
    colours: Sequence[str] | str = _ACCENT,
) -> None:
    """Horizontal bars from the top, each with its number at its end."""
    places = list(range(len(values)))
    axes.barh(places, values, height=0.62, color=colours)
    for place, value in zip(places, values, strict=True):
        axes.annotate(
            str(form(value)),
            (value, place),
            xytext=(4 if value >= 0 else -4, 0),
            textcoords="offset points",
            ha="left" if value >= 0 else "right",
            va="center",
            color=_INK,
        )
    _labels(axes, labels)
    low, high = min(0.0, *values), max(0.0, *values)
    room = NUMBER * ((high - low) or 1.0)
    axes.set_xlim(low - (room if low < 0 else 0), high + room)


def _labels(axes: Axes, labels: Sequence[str]) -> None:
    """Names of the lines, on the left."""
    axes.set_yticks(range(len(labels)), [shortened(label, LABEL) for label in labels])
    axes.yaxis.set_visible(True)
    axes.set_ylim(len(labels) - 0.4, -0.6)


def _locator() -> Any:
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415  (the extra "report")

    return MaxNLocator(nbins=4, integer=True)


def _plot(lines: float, draw: Callable[[Axes], None]) -> str:
    """Draw one plot, of a height for so many lines, and hand it to the page's style."""
    try:
        import matplotlib  # noqa: PLC0415  (the extra "report")
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError:
        raise ReportError("reports need matplotlib and Jinja2: install the extra 'report'") from None
    settings: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": "cleartrace",
        "text.parse_math": False,
        "font.size": 9.5,
        "font.family": "DejaVu Sans",
        "axes.edgecolor": _MUTED,
        "axes.labelcolor": _MUTED,
        "text.color": _INK,
        "xtick.color": _MUTED,
        "xtick.labelcolor": _MUTED,
        "ytick.color": _MUTED,
        "ytick.labelcolor": _INK,
    }
    stream = io.BytesIO()
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(WIDTH, max(1.0, lines * BAR + 0.35)), layout="constrained")
        figure.patch.set_alpha(0)
        axes = figure.add_subplot()
        axes.patch.set_alpha(0)
        axes.set_frame_on(True)
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.tick_params(length=0)
        axes.xaxis.set_visible(False)
        axes.yaxis.set_visible(False)
        draw(axes)
        for artist in axes.findobj():
            artist.set_clip_on(False)
        with warnings.catch_warnings():
            # The page's reader has fonts of their own, whatever this machine lacks.
            warnings.filterwarnings("ignore", "Glyph")
            figure.savefig(stream, format="svg", metadata={"Date": None})
    return _for_page(stream.getvalue())


def _for_page(svg: bytes) -> str:
    """The plot alone: no metadata, no style or ids of its own, colours and font of the page, any width."""
    root = ElementTree.fromstring(svg)  # noqa: S314  (matplotlib's own)
    for child in list(root):
        if child.tag in {f"{{{_SVG}}}metadata", f"{{{_SVG}}}defs"}:
            root.remove(child)
    for each in root.iter():
        each.attrib.pop("id", None)
        if style := each.get("style"):
            style = _FONT.sub("", style)
            for colour, name in _PROPERTIES.items():
                style = style.replace(colour, f"var(--{name})")
            each.set("style", style)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.set("role", "img")
    ElementTree.register_namespace("", _SVG)
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=True)
