"""The page of ClearTrace Local, where the button of each task leads."""

from __future__ import annotations

import pytest

from tests.system.up.browsing import barriers, picture
from tests.system.up.conftest import DAG_ID, Opened
from tests.system.up.program import Up

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]


def address(up: Up, run_id: str) -> str:
    """Of the model of a run."""
    return f"{up.cleartrace_url}/#{up.api().return_value(DAG_ID, run_id, 'fit')['model_id']}"


def test_a_task_has_a_button_that_leads_to_its_model(open_airflow: Opened, up: Up, finished_run: str) -> None:
    with open_airflow() as page:
        page.goto(f"{up.url}/dags/{DAG_ID}/runs/{finished_run}/tasks/fit")
        page.get_by_role("link", name="Details").click()
        button = page.get_by_role("link", name="ClearTrace model")
        button.wait_for()
        assert button.get_attribute("href") == address(up, finished_run)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_printed_key_opens_it_and_it_keeps_nobody_out(
    open_page: Opened, up: Up, finished_run: str, scheme: str
) -> None:
    with open_page(color_scheme=scheme) as page:
        page.goto(address(up, finished_run))
        assert barriers(page) == []
        page.get_by_role("textbox", name="API key").fill(up.cleartrace_key)
        page.keyboard.press("Enter")
        page.get_by_role("row").get_by_text("duration_in_month").wait_for()
        assert barriers(page) == []
        if scheme == "light":
            picture(page, "status-page")
