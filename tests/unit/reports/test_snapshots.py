"""Plots of fixed figures look as they did: their SVG beside snapshots in ``snapshots/``.

After a wanted change, look at the new pictures and keep them:

    UPDATE_SNAPSHOTS=1 python -m pytest tests/unit/reports/test_snapshots.py

Elements, texts and styles must be the same; coordinates may differ by what another release of matplotlib or
FreeType makes of the size of a text.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from airflow_provider_cleartrace.reports.facts import (
    Bin,
    Calibrated,
    CalibratedRow,
    ClassShare,
    Driver,
    Drivers,
    Persona,
    Predictions,
    Row,
    RowDriver,
    Segments,
)
from airflow_provider_cleartrace.reports.rendering import plots
from airflow_provider_cleartrace.reports.wording import figures

SNAPSHOTS = Path(__file__).parent / "snapshots"
TOLERANCE = 2.0
"""Points, of a plot that is 533 wide."""

LONG = "number_of_people_being_liable_to_provide_maintenance_for_the_household"
NUMBER = re.compile(r"-?\d+\.?\d*(?:e-?\d+)?")

DRIVERS = Drivers(
    n_features=40,
    listed=tuple(
        Driver(rank=rank, feature=name, share=share)
        for rank, (name, share) in enumerate([(LONG, 0.375), ("Größe <b> $x^2$", 0.25), ("age", 0.0005)], 1)
    ),
    leading_share=0.6255,
    n_rest=37,
    rest_share=0.3745,
)
PREDICTIONS = Predictions(
    scale="probability",
    rows=1200,
    missing=0,
    mean=0.55,
    minimum=0.01,
    lower_quartile=0.2,
    median=0.6,
    upper_quartile=0.8,
    maximum=0.99,
    boundary=0.5,
    bins=tuple(Bin(low=place / 10, high=(place + 1) / 10, rows=place * 24) for place in range(10)),
    classes=(
        ClassShare(label="red", rows=900, share=0.75, mean_probability=0.7),
        ClassShare(label="white", rows=300, share=0.25, mean_probability=0.3),
    ),
)
ROW = Row(
    identity="7",
    why="median",
    prediction=0.6,
    drivers=(
        RowDriver(feature=LONG, value="critical account/ other credits existing", driver=0.5),
        RowDriver(feature="age", value="42", driver=-0.25),
        RowDriver(feature="plan", driver=0.0),
    ),
)
SEGMENTS = Segments(
    rows=3,
    quality=0.5,
    personas=(
        Persona(name="Careful savers", description="", rows=2, share=0.6, mean_prediction=0.9),
        Persona(name="Others", description="", rows=1, share=0.4, mean_prediction=0.2),
    ),
)
CALIBRATED = Calibrated(
    kind="factual",
    rows=2,
    rules=0,
    shown=(
        CalibratedRow(identity="c1", prediction=0.9, low=0.75, high=None),
        CalibratedRow(identity="c2", prediction=0.25, low=0.125, high=0.5),
    ),
)
PLOTS: dict[str, Callable[[], str]] = {
    "drivers": lambda: plots.drivers_plot(DRIVERS, figures.percent),
    "distribution": lambda: plots.distribution_plot(PREDICTIONS, figures.percent, "Rows"),
    "classes": lambda: plots.classes_plot(PREDICTIONS, figures.percent),
    "row": lambda: plots.row_plot(ROW, figures.signed),
    "personas": lambda: plots.personas_plot(SEGMENTS, figures.percent),
    "intervals": lambda: plots.intervals_plot(CALIBRATED, figures.percent),
}


@pytest.mark.parametrize("name", PLOTS)
def test_plots_look_as_their_snapshots(name: str) -> None:
    svg = PLOTS[name]()
    path = SNAPSHOTS / f"{name}.svg"
    if os.environ.get("UPDATE_SNAPSHOTS"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(svg, encoding="utf-8")
    now, then = (
        list(ElementTree.fromstring(text).iter()) for text in (svg, path.read_text(encoding="utf-8"))
    )

    assert [each.tag for each in now] == [each.tag for each in then]
    for one, other in zip(now, then, strict=True):
        assert (one.text or "").strip() == (other.text or "").strip()
        assert one.attrib.keys() == other.attrib.keys()
        for attribute, value in one.attrib.items():
            kept = other.attrib[attribute]
            assert NUMBER.sub("#", value) == NUMBER.sub("#", kept), (one.tag, attribute)
            places, kept_places = ([float(each) for each in NUMBER.findall(text)] for text in (value, kept))
            assert places == pytest.approx(kept_places, abs=TOLERANCE), (one.tag, attribute)


def test_a_plot_says_nothing_of_when_and_where_it_was_made() -> None:
    assert not re.search(r"20\d\d-|matplotlib|<metadata|clip-path| id=", PLOTS["row"]())
