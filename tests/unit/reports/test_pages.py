"""A report as people get it: one page that needs nothing else, whose numbers are those of its JSON."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pandas as pd
import pytest
from markdown_it import MarkdownIt

from airflow_provider_cleartrace import reports
from airflow_provider_cleartrace.reports.facts import Report
from airflow_provider_cleartrace.reports.reading.changes import compare
from airflow_provider_cleartrace.reports.reading.gathering import Inputs, gather
from airflow_provider_cleartrace.reports.rendering import plots
from airflow_provider_cleartrace.reports.rendering.pages import Look, html_page, markdown_text
from airflow_provider_cleartrace.reports.wording import figures
from airflow_provider_cleartrace.reports.wording.glossary import GLOSSARY
from airflow_provider_cleartrace.reports.wording.terms import TERMS, Audience
from airflow_provider_cleartrace.reports.wording.words import Words
from tests.unit.reports.html_reader import Page
from tests.unit.reports.run_files import explained, known, scenarios, whole_report, written

AUDIENCES = get_args(Audience)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """One with every section."""
    now = whole_report(tmp_path_factory.mktemp("now"))
    folder = tmp_path_factory.mktemp("then")
    earlier = gather(
        known(shares=[("age", 0.5), ("plan", 0.375), ("income", 0.125)], made_at="2026-11-20T10:00:00+00:00"),
        Inputs(explanations=written(explained(seed=1), folder / "e.parquet")),
    )
    return now.model_copy(update={"changes": compare(earlier, now)})


@pytest.fixture(scope="module", params=AUDIENCES)
def page(request: pytest.FixtureRequest, report: Report) -> Page:
    return Page(html_page(report, Look(audience=request.param)))


def numbers_in(value: Any) -> Iterator[float]:
    """Every number of a JSON document, and those in its texts."""
    if isinstance(value, dict):
        for each in value.values():
            yield from numbers_in(each)
    elif isinstance(value, list):
        for each in value:
            yield from numbers_in(each)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield float(value)


class TestNumbersShown:
    def test_are_those_of_the_json(self, report: Report, page: Page) -> None:
        told = set(numbers_in(json.loads(report.to_bytes())))
        shown = page.all("data")

        assert len(shown) > 150
        assert {float(each.attributes["value"]) for each in shown} <= told

    def test_are_written_as_their_value(self, page: Page) -> None:
        for each in page.all("data"):
            value = float(each.attributes["value"])
            text = each.text.replace("\N{MINUS SIGN}", "-").replace(",", "")
            found = re.fullmatch(r"([-+]?[\d.]+(?:e[-+]\d+)?)(%| pp)?", text)
            assert found is not None, each.text
            scale = 100 if found[2] else 1
            assert float(found[1]) == pytest.approx(
                value * scale, rel=0.006, abs=0.06 if found[2] else 0.0006
            )

    def test_stand_in_the_markdown_as_well(self, report: Report) -> None:
        text = markdown_text(report, Look(audience="business")).decode()

        assert report.predictions is not None
        assert report.scenarios is not None
        for number in (
            figures.percent(report.predictions.mean),
            figures.percent(report.predictions.below_share),
            figures.percent(report.scenarios.solved_share),
            *(figures.signed(each.driver) for row in report.rows for each in row.drivers),
            *(figures.percent(each.share) for each in report.reasons.listed if report.reasons),
        ):
            assert str(number) in text


class TestPage:
    def test_needs_nothing_else(self, page: Page) -> None:
        assert not page.all("script", "link", "iframe", "object", "embed", "form", "base")
        for element in page.elements:
            for name, value in element.attributes.items():
                assert not name.startswith("on"), element
                if name in {"href", "src", "xlink:href"}:
                    assert value.startswith(("#", "data:image/")), element
        assert "@import" not in page.all("style")[0].text
        assert "url(" not in page.all("style")[0].text

    def test_forbids_everything_else(self, page: Page) -> None:
        (policy,) = [each for each in page.all("meta") if "http-equiv" in each.attributes]
        assert policy.attributes["content"].startswith("default-src 'none';")
        assert "script" not in policy.attributes["content"]

    def test_has_landmarks_and_headings_in_order(self, page: Page) -> None:
        assert [len(page.all(tag)) for tag in ("header", "nav", "main", "footer", "h1")] == [1] * 5
        levels = [int(each.tag[1]) for each in page.elements if re.fullmatch("h[1-6]", each.tag)]
        assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
        assert page.all("html")[0].attributes["lang"] == "en"

    def test_has_an_id_once_and_no_link_to_none(self, page: Page) -> None:
        ids = [each.attributes["id"] for each in page.elements if "id" in each.attributes]
        assert len(set(ids)) == len(ids)
        for element in page.elements:
            for name in ("href", "aria-labelledby"):
                for target in element.attributes.get(name, "").split():
                    assert target.removeprefix("#") in ids

    def test_has_tables_with_caption_and_scopes(self, page: Page) -> None:
        assert page.all("table")
        for table in page.all("table"):
            assert table.children[:3] == ["caption", "thead", "tbody"]
        assert all("scope" in cell.attributes for cell in page.all("th"))

    def test_tells_what_each_plot_shows_and_gives_its_figures(self, page: Page) -> None:
        pictures = page.all("svg")
        assert len(pictures) == 7  # drivers, predictions, three rows, personas, intervals
        for picture in pictures:
            assert picture.attributes["role"] == "img"
            assert picture.children[:2] == ["title", "desc"]
            assert picture.parents[-1] == "figure"

    def test_takes_the_colours_of_plots_from_its_style(self, page: Page) -> None:
        for element in page.elements:
            if "svg" in element.parents:
                assert not re.search(r"#[0-9a-f]{6}", element.attributes.get("style", "")), element

    def test_has_the_sections_that_the_files_give(self, tmp_path: Path) -> None:
        few = gather(known(), Inputs(narrative="Only this."))
        sections = [each.attributes["id"] for each in Page(html_page(few, Look())).all("section")]
        assert sections == ["summary", "drivers", "narrative", "caveats", "model", "terms"]


class TestFirstScreen:
    """What a reader learns before the first section of figures."""

    def told(self, folder: Path, audience: Audience, **schema: Any) -> tuple[dict[str, str], list[str]]:
        frame = pd.DataFrame({"id": range(8), "prediction": [0.25, 0.25, 0.5, 0.5, 0.75, 0.75, 0.75, 0.75]})
        files = Inputs(
            predictions=written(frame, folder / "p.parquet"), scenarios=scenarios(folder / "s.jsonl")
        )
        summary = Words(audience, gather(known(schema=schema), files)).summary
        figures_told = {name: str(figure) for name, figure in summary.key_figures()}
        return figures_told, ["".join(map(str, parts)) for parts in summary.sentences()]

    def test_tells_how_many_rows_go_to_each_class(self, tmp_path: Path) -> None:
        figures_told, sentences = self.told(tmp_path, "business")
        assert list(figures_told.items())[:3] == [
            ("Cases", "8"),
            ("Predicted good = 1", "75.0%"),
            ("Predicted good = 0", "25.0%"),
        ]
        assert sentences[0] == (
            "8 cases were scored: 6 (75.0%) are predicted good = 1 and 2 (25.0%) good = 0;"
            " the mean of the probability of good = 1 is 56.2%."
        )

    def test_tells_the_range_of_a_quantity_in_one_precision(self, tmp_path: Path) -> None:
        _, sentences = self.told(tmp_path, "technical", task="regression", classes=[], target="cost")
        assert sentences[0] == (
            "8 rows were scored; predictions of cost lie from 0.2500 to 0.7500, with a mean of 0.5625."
        )

    def test_counts_scenarios_among_the_rows_that_need_one(self, tmp_path: Path) -> None:
        figures_told, sentences = self.told(tmp_path, "technical")
        assert figures_told["Solved, of rows that need it"] == "66.7%"
        assert sentences[-1] == (
            "4 rows were searched for a way to the wanted outcome: 1 have it already,"
            " and of the others a way was found for 2 of 3."
        )

    def test_tells_what_has_moved_since_the_previous_report(self, report: Report) -> None:
        told = ["".join(map(str, parts)) for parts in Words("technical", report).summary.sentences()]
        (moved,) = [each for each in told if each.startswith("Since the report of 2026-11-20 10:00 UTC")]
        assert re.search(r"the mean prediction has (moved from [\d.]+ to|stayed at) [\d.]+", moved)


class TestTerms:
    @pytest.mark.parametrize("audience", AUDIENCES)
    def test_that_the_report_uses_are_explained(self, report: Report, audience: Audience) -> None:
        assert len(Words(audience, report).terms()) >= 10
        assert [name for name, _ in Words(audience, gather(known(shares=[]), Inputs())).terms()] == [
            name for name, _ in (GLOSSARY[audience]["auc"], GLOSSARY[audience]["calibration_error"])
        ]

    def test_are_the_same_for_every_audience(self) -> None:
        assert GLOSSARY["technical"].keys() == GLOSSARY["business"].keys()


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (figures.points(-0.0001), "0.0 pp"),
        (figures.points(0.0312), "+3.1 pp"),
        (figures.decimal(-0.00001, sign=True), "0.000"),
        (figures.decimal(500, 0, sign=True), "+500"),
        (figures.moment("2026-11-21T10:00:59+00:00"), "2026-11-21 10:00 UTC"),
    ],
)
def test_numbers_and_times_are_written_for_people(shown: object, text: str) -> None:
    assert str(shown) == text


class TestMarkdown:
    @pytest.mark.parametrize("audience", AUDIENCES)
    def test_is_tables_and_headings_that_a_reader_parses(self, report: Report, audience: Audience) -> None:
        tokens = (
            MarkdownIt("commonmark").enable("table").parse(markdown_text(report, Look(audience)).decode())
        )
        kinds = [token.type for token in tokens]

        assert kinds.count("table_open") >= 10
        headings = [tokens[index + 1].content for index, kind in enumerate(kinds) if kind == "heading_open"]
        words = Words(audience, report)
        for name, there in words.sections():
            assert not there or words[name] in headings

    def test_tells_a_narrative_s_lists_and_bold_words(self, report: Report) -> None:
        text = markdown_text(report, Look()).decode()
        assert "### A story\n" in text
        assert "It has **three** parts:\n" in text
        assert "- one\n" in text


class TestWords:
    def test_are_the_same_terms_for_every_audience(self) -> None:
        assert TERMS["technical"].keys() == TERMS["business"].keys()

    def test_are_all_used(self) -> None:
        package = Path(reports.__file__).parent
        sources = [path for path in package.rglob("*") if path.suffix in {".py", ".html", ".md"}]
        text = "".join(
            path.read_text(encoding="utf-8") for path in sources if path.name != "terms.py"
        ).replace("'", '"')
        built = {
            name
            for name in TERMS["technical"]
            if name.startswith("why_") or name.endswith(("_plot", "_short"))
        }
        sections = {name for name, _ in Words("technical", gather(known(), Inputs())).sections()}
        unused = [
            name for name in TERMS["technical"] if f'"{name}"' not in text and name not in built | sections
        ]
        assert not unused

    def test_say_what_is_doubtful(self, tmp_path: Path) -> None:
        schema = {"fidelity": 0.75, "notes": ["A note of the service."]}
        told = gather(known(schema=schema), Inputs(explanations=written(explained(), tmp_path / "e.parquet")))
        text = " ".join(markdown_text(told, Look()).decode().split())

        assert r"follows its teacher loosely (fidelity 0.750\)" in text.replace("0.750)", r"0.750\)")
        assert "Probabilities are off by 6.2% on average" in text
        assert "- A note of the service." in text


class TestPlots:
    def test_are_the_same_for_the_same_facts(self, report: Report) -> None:
        assert report.drivers is not None
        first = plots.drivers_plot(report.drivers, figures.percent)
        assert plots.drivers_plot(report.drivers, figures.percent) == first

    def test_have_a_bar_and_a_number_for_each_driver(self, report: Report) -> None:
        row = report.rows[0]
        page = Page(plots.row_plot(row, figures.signed).encode())
        texts = [each.text for each in page.all("text")]

        assert [text for text in texts if re.match("[+\N{MINUS SIGN}]", text)] == [
            str(figures.signed(each.driver)) for each in row.drivers
        ]
        colours = [
            each.attributes["style"]
            for each in page.all("path")
            if "--up" in each.attributes.get("style", "")
        ]
        assert len(colours) == sum(each.driver > 0 for each in row.drivers)
