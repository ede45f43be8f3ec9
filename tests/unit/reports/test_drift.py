"""A comparison in a report: what the Compare task found, in the words of those who read it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from airflow_provider_cleartrace.comparison.models import SCHEMA_VERSION, Comparison
from airflow_provider_cleartrace.comparison.thresholds import FIGURES
from airflow_provider_cleartrace.reports.errors import ReportError
from airflow_provider_cleartrace.reports.facts import Report
from airflow_provider_cleartrace.reports.reading.gathering import Inputs, gather
from airflow_provider_cleartrace.reports.rendering.pages import Look, html_page, markdown_text
from airflow_provider_cleartrace.reports.wording import figures
from airflow_provider_cleartrace.reports.wording.drift import LISTED_SHIFTS
from airflow_provider_cleartrace.reports.wording.figure_names import DRIFT_FIGURES
from airflow_provider_cleartrace.reports.wording.terms import Audience
from airflow_provider_cleartrace.reports.wording.words import Words
from tests.unit.reports.compared_files import compared, written
from tests.unit.reports.html_reader import Page
from tests.unit.reports.run_files import known, whole_report


def report_of(comparison: Comparison, folder: Path) -> Report:
    return gather(known(), Inputs(comparison=written(comparison, folder / "drift.json")))


def markdown(report: Report, audience: Audience = "technical") -> str:
    return markdown_text(report, Look(audience)).decode()


class TestFacts:
    def test_are_those_of_the_comparison(self, tmp_path: Path) -> None:
        comparison = compared()
        facts = json.loads(report_of(comparison, tmp_path).to_bytes())
        assert facts["comparison"] == json.loads(comparison.model_dump_json())
        assert facts["sources"][0]["role"] == "comparison"
        assert facts["sources"][0]["fingerprint"]

    def test_survive_the_report_s_own_json(self, tmp_path: Path) -> None:
        report = whole_report(tmp_path)
        assert report.comparison is not None
        assert Report.from_bytes(report.to_bytes()) == report


class TestTables:
    @pytest.mark.parametrize("audience", ["technical", "business"])
    def test_show_every_part_of_the_comparison(self, tmp_path: Path, audience: Audience) -> None:
        comparison = compared()
        assert comparison.drivers is not None
        assert comparison.personas is not None
        assert comparison.rules is not None
        assert comparison.intervals is not None
        report = report_of(comparison, tmp_path)
        content = markdown(report, audience)

        prediction = comparison.predictions[0]
        strongest, persona = comparison.drivers.features[0], comparison.personas.personas[0]
        for shown in (
            figures.decimal(prediction.psi),
            figures.decimal(prediction.psi_by_chance),
            figures.decimal(comparison.drivers.rank_correlation),
            figures.percent(comparison.drivers.shift),
            figures.points(strongest.share_difference),
            figures.decimal(comparison.personas.psi_by_chance),
            figures.percent(persona.current_share),
            figures.percent(comparison.rules.match_rate),
            figures.percent(comparison.rules.shared_rate),
            Words(audience, report).width(comparison.intervals.current.mean_prediction_width),
            figures.decimal(comparison.intervals.width_ratio),
        ):
            assert f"| {shown} |" in content
        for name in (strongest.feature, str(persona.persona), "then.parquet", "then/rules.parquet", "m-0"):
            assert f"| {name} |" in content

    def test_tell_which_thresholds_were_crossed(self, tmp_path: Path) -> None:
        comparison = compared()
        content = markdown(report_of(comparison, tmp_path))
        none = figures.NONE
        chance = figures.decimal(comparison.predictions[0].psi_by_chance)
        lines = [line.split(" | ") for line in content.splitlines() if line.startswith("| ")]
        by_name = {line[0].removeprefix("| "): " ".join(line[2:]).removesuffix(" |") for line in lines}
        assert by_name["PSI of predictions"] == f"{chance} 0.200 {none} crossed"
        assert by_name["Rank correlation of drivers"] == f"{none} {none} {figures.MINUS}1.000 kept"
        assert by_name["Shift of drivers"] == " ".join([none] * 4)

    def test_list_the_features_that_moved_most(self, tmp_path: Path) -> None:
        comparison = compared()
        assert comparison.global_drivers is not None
        one = comparison.global_drivers.features[0]
        many = tuple(one.model_copy(update={"feature": f"f{place}"}) for place in range(LISTED_SHIFTS + 1))
        drift = comparison.global_drivers.model_copy(update={"features": many})
        report = report_of(comparison.model_copy(update={"global_drivers": drift}), tmp_path)

        content = markdown(report)
        assert f"| f{LISTED_SHIFTS - 1} |" in content
        assert f"| f{LISTED_SHIFTS} |" not in content
        assert f'"f{LISTED_SHIFTS}"' in report.to_bytes().decode()

    def test_say_why_rules_were_not_tried(self, tmp_path: Path) -> None:
        content = markdown(report_of(compared(tried=False), tmp_path))
        assert "The reference's rules were not tried: " in content
        assert "'age'" in content

    def test_are_left_out_where_nothing_was_compared(self, tmp_path: Path) -> None:
        bare = compared(thresholds={}).model_copy(
            update={"predictions": (), "drivers": None, "personas": None, "rules": None, "intervals": None}
        )
        drift = Words("technical", report_of(bare, tmp_path)).drift
        assert drift is not None
        assert [grid.title for grid in drift.tables()] == [
            "Figures and thresholds",
            "Largest shifts of global drivers",
            "What was compared",
        ]


class TestVerdict:
    @pytest.mark.parametrize(
        ("thresholds", "technical", "business"),
        [
            (
                {"psi": 0.2, "interval_width_ratio": 1.25, "driver_shift": 1.0},
                "Drift; thresholds crossed: PSI of predictions, Ratio of interval widths.",
                "More has moved than the limits allow: Shift of the predictions (PSI),"
                " Width of the ranges (now over before).",
            ),
            ({"driver_shift": 1.0}, "Stable: no threshold is crossed.", "Everything is within its limits."),
            (
                {},
                "Not judged: no thresholds were given.",
                "No limits were set; the figures are for the reader to judge.",
            ),
        ],
    )
    def test_stands_in_the_summary_and_its_section(
        self, tmp_path: Path, thresholds: dict[str, float], technical: str, business: str
    ) -> None:
        report = report_of(compared(thresholds=thresholds), tmp_path)
        for audience, verdict in (("technical", technical), ("business", business)):
            page = Page(html_page(report, Look(audience)))
            assert verdict in [each.text for each in page.all("li")]
            assert verdict in [each.text for each in page.all("strong")]

    def test_has_a_name_in_words_for_every_figure(self) -> None:
        assert DRIFT_FIGURES.keys() == FIGURES.keys()


class TestHostileTexts:
    @pytest.mark.parametrize("text", ["<script>a()</script>", "a|b\n# c", "\u202eneddih", "A" * 1_000_000])
    def test_do_nothing(self, tmp_path: Path, text: str) -> None:
        comparison = compared((text, "age", "income"), text, tried=False)
        crossing = comparison.crossed[0].model_copy(update={"figure": text})
        report = report_of(
            comparison.model_copy(update={"figures": {text: 0.5}, "crossed": (crossing,)}), tmp_path
        )

        content = html_page(report, Look())
        assert not Page(content).all("script")
        assert "\u202e" not in content.decode()
        assert len(content) < 100_000
        assert len(report.to_bytes()) < 100_000
        parsed = MarkdownIt("commonmark", {"html": True}).enable("table").parse(markdown(report))
        inline = [child.type for token in parsed for child in token.children or ()]
        assert "html_inline" not in inline
        assert sum(token.type == "heading_open" and token.tag == "h1" for token in parsed) == 1


class TestRefused:
    @pytest.mark.parametrize(
        "content",
        [
            "nonsense",
            "[]",
            '{"kind": "cleartrace-report"}',
            compared().model_dump_json().replace('"cleartrace-comparison"', '"another"'),
            compared().model_copy(update={"schema_version": SCHEMA_VERSION + 1}).model_dump_json(),
        ],
        ids=["text", "list", "report", "kind", "newer"],
    )
    def test_is_another_file_by_its_name(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "other.json").write_text(content)
        with pytest.raises(ReportError, match=r"other\.json: not the JSON of a comparison, or one of"):
            gather(known(), Inputs(comparison=str(tmp_path / "other.json")))
