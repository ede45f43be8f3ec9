"""A browser as a reader has it: on this machine alone, with an eye on everything that goes wrong in it."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

#: Debian's names; Playwright's own builds are not downloaded.
PROGRAMS = ("chromium", "chromium-browser")

#: Nothing but loopback has an address, so that a request that would leave the machine fails and is told.
FLAGS = ("--no-proxy-server", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")

LOCAL_HOSTS = {"127.0.0.1", "localhost", None}
VIEW = {"width": 1280, "height": 860}

#: On two busy cores the UI takes seconds where a person's machine takes none.
PATIENCE_MS = 120_000

GRAVE = {"serious", "critical"}
COLOURS = 256


def missing() -> str | None:
    """Why there is no browser to test with, or nothing."""
    for module in ("playwright", "axe_playwright_python", "PIL"):
        if importlib.util.find_spec(module) is None:
            return f"the package {module} is not installed (extra `browser`)"
    if program() is None:
        return "Chromium is not installed (`apt-get install chromium`)"
    return None


def program() -> str | None:
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    # As root, which CI is, Chromium starts without its sandbox only.
    flags = [*FLAGS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program(), args=flags)
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def opened(browser: Browser, **options: Any) -> Iterator[Page]:
    """A page of its own person; errors in its console and requests that leave fail the test at the end."""
    context = browser.new_context(**{"viewport": VIEW, **options})
    context.set_default_timeout(PATIENCE_MS)
    wrong: list[str] = []
    context.on("console", lambda line: wrong.append(line.text) if line.type == "error" else None)
    context.on("weberror", lambda error: wrong.append(str(error.error)))
    context.on("request", lambda request: wrong.append(request.url) if leaves(request.url) else None)
    try:
        yield context.new_page()
    finally:
        context.close()
    assert wrong == [], wrong


def leaves(url: str) -> bool:
    """Whether a request for this address would leave the machine."""
    return urlsplit(url).hostname not in LOCAL_HOSTS


def barriers(page: Page) -> list[str]:
    """What axe finds on the page that keeps people out: each rule broken gravely, and the first place."""
    page.evaluate(axe())
    found = page.evaluate("axe.run({resultTypes: ['violations']})")
    assert found["passes"]
    return [
        f"{each['impact']} {each['id']}: {each['help']}: {each['nodes'][0]['html']}"
        for each in found["violations"]
        if each["impact"] in GRAVE
    ]


@cache
def axe() -> str:
    import axe_playwright_python

    return Path(axe_playwright_python.__path__[0], "axe.min.js").read_text(encoding="utf-8")


def picture(page: Page, name: str) -> None:
    """Keep what is seen as a picture of the documentation, when ``make screenshots`` asks for it."""
    folder = os.environ.get("SCREENSHOTS")
    if not folder:
        return
    from PIL import Image

    seen = Image.open(io.BytesIO(page.screenshot(animations="disabled", caret="hide")))
    few = seen.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    Path(folder).mkdir(parents=True, exist_ok=True)
    few.save(Path(folder, f"{name}.png"), optimize=True)
