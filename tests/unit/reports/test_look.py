"""A report in somebody's own look: colours, logo, rules and templates, none of which loads anything."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_cleartrace.reports.errors import ReportError
from airflow_provider_cleartrace.reports.reading.gathering import Inputs, gather
from airflow_provider_cleartrace.reports.rendering.branding import Branding, read_branding, read_templates
from airflow_provider_cleartrace.reports.rendering.pages import Look, html_page, markdown_text
from airflow_provider_cleartrace.storage.locations import locate
from tests.unit.reports.html_reader import Page
from tests.unit.reports.run_files import known

LOGO = "data:image/png;base64,iVBORw0KGgo="


def branding(path: Path, content: Any) -> Branding:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return read_branding(locate(str(path)))


def page(**look: Any) -> str:
    return html_page(gather(known(), Inputs()), Look(**look)).decode()


def luminance(colour: str) -> float:
    """Relative luminance of ``#rrggbb``, as the Web Content Accessibility Guidelines define it."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(first: str, second: str) -> float:
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_texts_and_bars_have_the_contrast_of_level_aa(scheme: int) -> None:
    blocks = re.findall(r":root \{(.*?)\}", Page(page().encode()).all("style")[0].text, re.DOTALL)
    colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", blocks[scheme]))

    for ground in ("paper", "wash"):
        for text in ("ink", "muted", "accent"):
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    for bar in ("accent", "up", "down"):
        assert contrast(colours[bar], colours["paper"]) >= 3, bar


class TestBranding:
    def test_gives_name_logo_and_colours(self, tmp_path: Path) -> None:
        told = branding(tmp_path / "b.json", {"name": "A <Bank>", "logo": LOGO, "accent": "#123456"})
        read = Page(page(branding=told).encode())

        (logo,) = read.all("img")
        assert logo.attributes == {"src": LOGO, "alt": ""}
        assert "A <Bank>" in read.all("header")[0].text
        assert "--accent: #123456" in read.all("style")[0].text

    def test_may_carry_a_font_and_the_page_s_policy_lets_it_load(self, tmp_path: Path) -> None:
        font = "@font-face { font-family: House; src: url(data:font/woff2;base64,d09GMgABAAA=) }"
        told = page(branding=branding(tmp_path / "b.css", font))
        assert font in told
        (policy,) = [each for each in Page(told.encode()).all("meta") if "http-equiv" in each.attributes]
        rules = dict(rule.strip().split(" ", 1) for rule in policy.attributes["content"].split(";"))
        assert rules["font-src"] == "data:"
        assert rules["default-src"] == "'none'"

    def test_of_css_alone_comes_last(self, tmp_path: Path) -> None:
        told = branding(tmp_path / "b.css", "h1 > em { color: red; }")
        assert page(branding=told).index("h1 > em { color: red; }") > page(branding=told).index(
            "@media print"
        )

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("b.json", {"accent": "red;} body{}"}, "accent"),
            ("b.json", {"logo": "https://evil.example/x.png"}, "logo"),
            ("b.json", {"colour": "#123456"}, "colour"),
            ("b.json", "[]", "the file"),
            ("b.css", "@import 'x.css';", "@import"),
            ("b.css", "a { background: image-set('//x.org/y' 1x); }", "image-set"),
            ("b.css", "a { background: url(https://evil.example) }", r"url\("),
            ("b.css", "a { background: u\\72l(x) }", "loads nothing"),
            ("b.css", "</style><script>", "</"),
            ("b.txt", "x", "a .json or a .css file"),
            ("b.css", "x" * 600_000, "more than"),
        ],
    )
    def test_that_would_load_or_break_out_is_refused(
        self, tmp_path: Path, name: str, content: Any, message: str
    ) -> None:
        with pytest.raises(ReportError, match=message):
            branding(tmp_path / name, content)


class TestTemplates:
    def test_extend_the_package_s_own(self, tmp_path: Path) -> None:
        (tmp_path / "report.html").write_text(
            '{% extends "base/report.html" %}{% block footer %}<p>By {{ report.title }}</p>{% endblock %}'
        )
        told = page(templates=read_templates(locate(str(tmp_path))))
        assert "<p>By A report</p>" in told
        assert "airflow-provider-cleartrace 0.1.0</p>" not in told

    def test_replace_a_part_alone(self, tmp_path: Path) -> None:
        (tmp_path / "style.css").write_text("body { color: teal; }")
        told = page(templates=read_templates(locate(str(tmp_path))))
        assert "body { color: teal; }" in told
        assert "--ink" not in Page(told.encode()).all("style")[0].text

    def test_of_markdown_escape_as_well(self) -> None:
        look = Look(templates={"report.md": "*{{ report.title }}* {{ report.run.run_id }}_{{ '<b>' }}"})
        assert markdown_text(gather(known(), Inputs()), look) == b"*A report* r-2_\\<b\\>"

    @pytest.mark.parametrize(
        "source",
        [
            "{{ ''.__class__.__mro__ }}",
            "{{ nothing }}",
            "{% if %}",
            '{% include "../../etc/passwd" %}',
            "{% for _ in range(10**9) %}{% endfor %}",
            "{{ 1 / 0 }}",
            "{{ 1 + 'x' }}",
        ],
    )
    def test_that_reach_out_or_are_wrong_are_refused(self, source: str) -> None:
        with pytest.raises(ReportError, match=r"the template report.html cannot be rendered"):
            page(templates={"report.html": source})

    def test_that_are_none_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ReportError, match=r"no \.html, \.md or \.css template"):
            read_templates(locate(str(tmp_path)))
