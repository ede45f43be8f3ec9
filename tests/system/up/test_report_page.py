"""A report as people read it: on any screen, on paper, by keyboard, without script, whatever it is about."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from airflow_provider_cleartrace.reports.facts import Report
from airflow_provider_cleartrace.reports.reading.gathering import gather
from airflow_provider_cleartrace.reports.rendering.pages import Look, html_page
from airflow_provider_cleartrace.reports.wording.terms import Audience
from tests.system.up.browsing import barriers
from tests.system.up.conftest import Opened
from tests.unit.reports.run_files import known, whole, whole_report

pytestmark = pytest.mark.system

EVIL = "<img src=x onerror=alert(1)><script>alert(2)</script>[a](javascript:alert(3))"

#: CSS pixels between the margins of A4, and the narrowest screen that the accessibility guidelines ask for.
PAPER, PHONE = 680, 320

FOCUSED = """() => {
  const here = document.activeElement, box = here.getBoundingClientRect(), style = getComputedStyle(here);
  return {
    text: here.innerText,
    outlined: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0,
    seen: box.width > 0 && box.left >= 0 && box.top >= 0 && box.bottom <= innerHeight,
  };
}"""


def written(report: Report, path: Path, audience: Audience = "technical") -> str:
    """The address of a report's page."""
    path.write_bytes(html_page(report, Look(audience=audience)))
    return path.as_uri()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """One with every section there is."""
    return whole_report(tmp_path_factory.mktemp("report"))


@pytest.mark.parametrize("audience", get_args(Audience))
def test_it_keeps_nobody_out(open_page: Opened, report: Report, tmp_path: Path, audience: Audience) -> None:
    address = written(report, tmp_path / "report.html", audience)
    for scheme in ("light", "dark"):
        with open_page(color_scheme=scheme) as page:
            page.goto(address)
            # What is folded is read as well.
            page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
            assert barriers(page) == [], scheme


def test_the_keyboard_reaches_every_link_in_order_and_shows_where_it_is(
    open_page: Opened, report: Report, tmp_path: Path
) -> None:
    with open_page() as page:
        page.goto(written(report, tmp_path / "report.html"))
        wanted = page.locator("a, summary").all_inner_texts()
        assert len(wanted) > 10
        told = []
        while len(told) < len(wanted):
            page.keyboard.press("Tab")
            focused = page.evaluate(FOCUSED)
            if focused["text"] in wanted:
                assert focused["outlined"], focused
                assert focused["seen"], focused
                told.append(focused["text"])
        assert told == wanted


def test_without_script_all_of_it_is_there(open_page: Opened, report: Report, tmp_path: Path) -> None:
    with open_page(java_script_enabled=False) as page:
        page.goto(written(report, tmp_path / "report.html"))
        for link in page.get_by_role("navigation").get_by_role("link").all():
            assert page.locator(str(link.get_attribute("href"))).is_visible()
        folded = page.locator("details").first
        assert not folded.get_by_role("table").is_visible()
        folded.locator("summary").press("Enter")
        assert folded.get_by_role("table").is_visible()


@pytest.mark.parametrize(("media", "width"), [("screen", PHONE), ("print", PAPER)])
def test_nothing_is_wider_than_the_phone_or_the_paper(
    open_page: Opened, report: Report, tmp_path: Path, media: str, width: int
) -> None:
    with open_page(viewport={"width": width, "height": 900}) as page:
        page.emulate_media(media=media)
        page.goto(written(report, tmp_path / "report.html"))
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.get_by_role("navigation").is_visible() == (media == "screen")


def test_what_the_data_held_does_nothing(open_page: Opened, tmp_path: Path) -> None:
    evil = gather(known(title=EVIL), whole(tmp_path, narrative=EVIL))
    with open_page() as page:
        shown = []
        page.on("dialog", lambda dialog: (shown.append(dialog.message), dialog.dismiss()))
        page.goto(written(evil, tmp_path / "report.html"))
        assert page.get_by_text("alert(1)").first.is_visible()
        assert shown == []
        assert page.locator("script, [onerror], a[href^=javascript]").count() == 0
