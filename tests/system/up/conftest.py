"""One ``make up`` for the folder, one browser that is signed in to it, and one run of ``credit_risk``."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import pytest

from tests.system.up.browsing import PATIENCE_MS, chromium, missing, opened, picture
from tests.system.up.program import Up, ready

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

DAG_ID = "credit_risk"
RUN_LIMIT = 600.0

Opened = Callable[..., AbstractContextManager["Page"]]


def required() -> bool:
    """Whether a browser must be there: `make test-browser` and `make screenshots` are of no use without."""
    return os.environ.get("BROWSER_TESTS") == "required"


@pytest.fixture(scope="package")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with ready(tmp_path_factory.mktemp("up")) as running:
        yield running


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Debian's Chromium; without it, what a person sees is not tested."""
    if reason := missing():
        (pytest.fail if required() else pytest.skip)(reason)
    with chromium() as running:
        yield running


@pytest.fixture(scope="package")
def signed_in(browser: Browser, up: Up) -> Any:
    """What the browser keeps of a login with what ``make up`` printed."""
    # Not watched for errors: Airflow's UI learns by a refused request that nobody has signed in.
    context = browser.new_context()
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    page.goto(up.url)
    page.locator("input[name=username]").fill(up.user)
    page.locator("input[name=password]").fill(up.password)
    page.keyboard.press("Enter")
    page.get_by_role("link", name="Dags").first.wait_for()
    state = context.storage_state()
    context.close()
    return state


@pytest.fixture
def open_page(browser: Browser) -> Opened:
    """A page of nobody in particular."""
    return partial(opened, browser)


@pytest.fixture
def open_airflow(browser: Browser, signed_in: Any) -> Opened:
    """A page of who has signed in to Airflow."""
    return partial(opened, browser, storage_state=signed_in)


@pytest.fixture(scope="package")
def run_id(up: Up, request: pytest.FixtureRequest) -> str:
    """The run that everybody looks at; what needs no results is tested meanwhile."""
    up.api().wait_for_dag(DAG_ID)
    if missing() and not required():
        return up.api().trigger(DAG_ID)
    return started_in_ui(up, request.getfixturevalue("browser"), request.getfixturevalue("signed_in"))


def started_in_ui(up: Up, browser: Browser, signed_in: Any) -> str:
    """Press the button, as the tutorial says."""
    with opened(browser, storage_state=signed_in) as page:
        page.goto(f"{up.url}/dags/{DAG_ID}")
        page.get_by_role("button", name="Trigger").first.click()
        dialog = page.locator("[role=dialog][data-state=open]")
        dialog.get_by_role("button", name="Trigger").wait_for()
        picture(page, "trigger")
        dialog.get_by_role("button", name="Trigger").click()
        page.wait_for_url("**/runs/manual__*")
        return unquote(urlsplit(page.url).path.rpartition("/")[2])


@pytest.fixture(scope="package")
def finished_run(up: Up, run_id: str) -> str:
    api = up.api()
    deadline = time.monotonic() + RUN_LIMIT
    while (state := api.run_state(DAG_ID, run_id)) not in {"success", "failed"}:
        assert time.monotonic() < deadline, api.task_instances(DAG_ID, run_id)
        time.sleep(0.5)
    assert state == "success", api.task_instances(DAG_ID, run_id)
    return run_id
