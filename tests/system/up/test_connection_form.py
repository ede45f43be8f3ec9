"""Airflow's form for a ClearTrace connection: what it asks for, what it hides, and its test."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from airflow_provider_cleartrace.provider_info import FORM_FIELDS
from tests.system.up.browsing import picture
from tests.system.up.conftest import Opened
from tests.system.up.program import Up

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]


@pytest.mark.usefixtures("run_id")  # it is under way meanwhile
def test_a_connection_is_made_saved_and_tested(open_airflow: Opened, up: Up) -> None:
    server = urlsplit(up.cleartrace_url)
    with open_airflow() as page:
        page.goto(f"{up.url}/connections")
        page.get_by_role("button", name="Add Connection").click()
        form = page.locator("[role=dialog][data-state=open]")
        form.get_by_label("Connection ID").fill("cleartrace_own")
        form.get_by_label("Connection Type").fill("ClearTrace")
        page.keyboard.press("Enter")

        form.get_by_label("API URL").fill(f"{server.scheme}://{server.hostname}")
        form.get_by_label("Port", exact=True).fill(str(server.port))
        key = form.get_by_label("API key")
        key.fill(up.cleartrace_key)
        assert key.get_attribute("type") == "password"
        assert form.get_by_label("Login").count() == form.get_by_label("Schema").count() == 0
        picture(page, "connection")

        form.get_by_role("button", name="Extra Fields", exact=True).click()
        form.get_by_text(FORM_FIELDS["model_page"]["description"]).wait_for()
        told = form.inner_text()
        texts = [field[part] for field in FORM_FIELDS.values() for part in ("label", "description")]
        assert sorted(texts, key=told.index) == texts

        form.get_by_role("button", name="Save").click()
        row = page.get_by_role("row", name="cleartrace_own")
        row.get_by_role("button", name="Test Connection").click()
        page.get_by_text(f"{up.cleartrace_url} answers and accepts the API key").wait_for()
        assert page.get_by_text("Test Connection Successful").is_visible()
        picture(page, "connection-test")

        row.get_by_role("button", name="Edit Connection").click()
        assert up.cleartrace_key not in page.content()
        assert form.get_by_label("API key").input_value() in {"", "***"}
