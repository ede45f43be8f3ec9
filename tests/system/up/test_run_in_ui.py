"""The run of the credit example, read in Airflow's UI to the last page of its report."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from airflow_provider_cleartrace.plugin.tabs import PREFIX
from tests.system.up.browsing import barriers, picture
from tests.system.up.conftest import DAG_ID, Opened
from tests.system.up.program import Up

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

TITLE = "Credit risk: what the model decides, and why"


def test_the_run_has_a_tab_with_its_report(open_airflow: Opened, up: Up, finished_run: str) -> None:
    with open_airflow() as page:
        page.goto(f"{up.url}/dags/{DAG_ID}/runs/{finished_run}")
        page.get_by_text("Success", exact=True).first.wait_for()
        picture(page, "run")
        page.get_by_role("link", name="ClearTrace").click()
        tab = page.frame_locator("iframe")
        report = tab.frame_locator("iframe")
        report.get_by_role("heading", name=TITLE).wait_for()
        picture(page, "tab-report")

        told = report.locator("body").inner_text()
        for part in ("1,000 cases were scored", "duration_in_month", "Ways to another outcome"):
            assert part in told
        plots = report.get_by_role("img")
        assert plots.count() >= 6
        for plot in plots.all():
            assert plot.is_visible(), plot.get_attribute("aria-label")

        report.get_by_role("link", name="Groups of cases").click()
        report.get_by_role("heading", name="Groups of cases").wait_for()
        picture(page, "report-personas")

        with page.expect_download() as download:
            tab.get_by_role("link", name="Download").click()
        kept = up.output / finished_run / "report.html"
        assert download.value.path().read_bytes() == kept.read_bytes()

        tab.get_by_role("link", name="Models").click()
        tab.get_by_role("heading", name="Models of this run").wait_for()
        picture(page, "tab-models")
        tab.get_by_role("link", name="History").click()
        tab.get_by_role("heading", name="This run and those before it").wait_for()


def test_a_task_has_a_tab_and_a_button_that_leads_there(
    open_airflow: Opened, up: Up, finished_run: str
) -> None:
    with open_airflow() as page:
        page.goto(f"{up.url}/dags/{DAG_ID}/runs/{finished_run}/tasks/report")
        page.get_by_role("link", name="Details").click()
        page.get_by_role("link", name="ClearTrace report").click()
        report = page.frame_locator("iframe").frame_locator("iframe")
        report.get_by_role("heading", name=TITLE).wait_for()

        page.goto(f"{up.url}/dags/{DAG_ID}/runs/{finished_run}/tasks/fit")
        page.get_by_role("link", name="ClearTrace", exact=True).click()
        own = page.frame_locator("iframe").get_by_role("listitem").filter(has_text="(this task)")
        own.wait_for()
        assert own.inner_text().startswith("fit")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_tab_s_pages_keep_nobody_out(
    open_airflow: Opened, up: Up, finished_run: str, scheme: str
) -> None:
    run = f"{up.url}{PREFIX}/dags/{DAG_ID}/runs/{quote(finished_run, safe='')}"
    with open_airflow(color_scheme=scheme) as page:
        for address in (run, f"{run}/models", f"{run}/history"):
            page.goto(address)
            assert barriers(page) == [], address


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_keeps_nobody_out(open_page: Opened, up: Up, finished_run: str, scheme: str) -> None:
    with open_page(color_scheme=scheme) as page:
        page.goto((up.output / finished_run / "report.html").as_uri())
        assert barriers(page) == []
        if scheme == "dark":
            picture(page, "report-dark")
