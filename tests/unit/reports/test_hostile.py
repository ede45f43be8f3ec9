"""Texts out of data are data: in a report they show as what they are and do nothing."""

from __future__ import annotations

import pandas as pd
import pytest
from markdown_it import MarkdownIt

from airflow_provider_cleartrace.reports.facts import Report
from airflow_provider_cleartrace.reports.reading.gathering import gather
from airflow_provider_cleartrace.reports.rendering.pages import Look, html_page, markdown_text
from airflow_provider_cleartrace.reports.texts import LONG, SHORT, legible, markdown_escaped
from tests.unit.reports import compared_files
from tests.unit.reports.html_reader import Page
from tests.unit.reports.run_files import (
    calibrated,
    explained,
    known,
    scenarios,
    segments,
    whole,
    written,
)

MEGABYTE = "A" * 1_000_000
TEXTS = {
    "elements": '<script>alert(1)</script>"><img src=x onerror=alert(1)></style></svg><svg onload=a()>',
    "templates": "{{ 7 * 7 }}{% raw %}",
    "a formula": '=HYPERLINK("http://evil.example";"x")',
    "a command": "+cmd|' /C calc'!A0",
    "links": "[click](javascript:alert(1)) ![x](http://e.example/x.png) http://a.example www.b.example c@d.e",
    "blocks": "| a | b |\n|---|---|\n# heading\n- item\n> quote\n\n---\n1. one",
    "hidden": "a\u202eneddih\u202c \u2066x\u2069 \u200b\ufeff\x00\x07\x1b[31m\x85\u2028z",
    "mathematics": "$\\frac{1}{$ \\undefined $x^$",
    "emphasis": "***bold*** `code` ~~gone~~ &lt;b&gt; &#60;",
    "a megabyte": MEGABYTE,
    "scripts": "😀 漢字 עברית",
}


@pytest.fixture(scope="module", params=TEXTS.values(), ids=TEXTS.keys())
def text(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, text: str) -> Report:
    """The text as column name, target, value, identity, reason, persona, rule, narrative, note and title."""
    folder = tmp_path_factory.mktemp("hostile")
    features = [text, "age", "income"]
    wide = explained(rows=40, features=features)
    wide["id"] = [f"{text}{number}" for number in range(40)]
    wide["reason_1_code"] = text
    wide["reason_1_text"] = text
    data = pd.DataFrame({"id": wide["id"], text: text, "age": text})
    inputs = whole(
        folder,
        explanations=written(wide, folder / "hostile.parquet"),
        data=written(data, folder / "hostile-data.parquet"),
        scenarios=scenarios(folder / "hostile.jsonl", text, text),
        segments=segments(folder / "hostile.json", [text, "other"]),
        calibrated=calibrated(folder / "hostile", text=text),
        comparison=compared_files.written(
            compared_files.compared(features, text, rows=40, tried=False), folder / "hostile-drift.json"
        ),
        narrative=f"# {text}\n\n- {text}\n\n**{text}** {text}\n",
    )
    schema = {"target": text, "notes": [text], "config": {text: text}, "metrics": {text: 0.5}}
    return gather(known(features, title=text, schema=schema), inputs)


def test_are_inert_in_html(report: Report, text: str) -> None:
    content = html_page(report, Look(audience="business"))
    page = Page(content)

    assert not page.all("script", "img", "iframe", "object", "link", "form", "base", "b")
    assert len(page.all("svg")) == 7
    for element in page.elements:
        assert not [name for name in element.attributes if name.startswith("on")]
        assert element.attributes.get("href", "#").startswith("#")
    shown = legible(text)
    assert shown in page.all("h1")[0].text
    hidden = {character for character in content.decode() if not character.isprintable()} - {"\n"}
    assert not hidden
    assert len(content) < 400_000


def test_are_inert_in_markdown(report: Report, text: str) -> None:
    content = markdown_text(report, Look()).decode()
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    tokens = parser.parse(content)
    inline = [child for token in tokens for child in token.children or ()]

    assert not {"html_block", "fence", "code_block", "blockquote_open", "hr"} & {
        token.type for token in tokens
    }
    assert not {"html_inline", "link_open", "image", "code_inline", "s_open", "em_open"} & {
        child.type for child in inline
    }
    headings = [
        tokens[index + 1] for index, token in enumerate(tokens) if token.tag == "h1" and token.nesting == 1
    ]
    assert len(headings) == 1
    told = "".join(child.content for child in headings[0].children or ())
    assert " ".join(told.split()) == legible(text)
    assert not [line for line in content.splitlines() if line.startswith(("=", "+"))]
    assert len(content) < 200_000


def test_are_legible_once_and_for_all(text: str) -> None:
    once = legible(text)
    assert len(once) <= SHORT
    assert once.isprintable()
    assert legible(once) == once
    long = legible(text * 50, LONG, lines=True)
    assert len(long) <= LONG
    assert legible(long, LONG, lines=True) == long


def test_that_differ_after_the_cut_stay_apart() -> None:
    first, second = legible(MEGABYTE + "x"), legible(MEGABYTE + "y")
    assert first != second
    assert "1,000,001 characters" in first


def test_that_turn_the_direction_are_shown_by_number() -> None:
    assert legible("a\u202eb") == "a[U+202E]b"


def test_links_that_a_chat_would_make_are_broken() -> None:
    assert markdown_escaped("http://a.example www.b.example c@d.example") == (
        "http\\://a.example www\\.b.example c\\@d.example"
    )
