"""The page of ClearTrace Local, where the link of each task leads."""

from __future__ import annotations

import pytest

from tests.system.up.browsing import barriers, picture
from tests.system.up.conftest import DAG_ID, Opened
from tests.system.up.program import Up

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_printed_key_opens_it_and_it_keeps_nobody_out(
    open_page: Opened, up: Up, finished_run: str, scheme: str
) -> None:
    model_id = up.api().return_value(DAG_ID, finished_run, "fit")["model_id"]
    with open_page(color_scheme=scheme) as page:
        page.goto(f"{up.cleartrace_url}/#{model_id}")
        assert barriers(page) == []
        page.get_by_role("textbox", name="API key").fill(up.cleartrace_key)
        page.keyboard.press("Enter")
        row = page.get_by_role("row", name=model_id)
        row.get_by_text("duration_in_month").wait_for()
        assert barriers(page) == []
        if scheme == "light":
            picture(page, "status-page")
