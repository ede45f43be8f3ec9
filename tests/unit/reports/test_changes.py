"""What changed since an earlier report, and where that report is found."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_cleartrace.reports.errors import ReportError
from airflow_provider_cleartrace.reports.facts import Report, Run
from airflow_provider_cleartrace.reports.reading.changes import compare, find_previous
from airflow_provider_cleartrace.reports.reading.gathering import Inputs, gather
from airflow_provider_cleartrace.reports.wording.changes import ChangeWords
from airflow_provider_cleartrace.reports.wording.words import Words
from airflow_provider_cleartrace.storage.locations import locate
from tests.unit.reports.run_files import explained, known, segments, whole, whole_report, written

RUN = Run(dag_id="d", task_id="t", run_id="r-2")


def made(place: Path, title: str, run: Run | None = RUN) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(gather(known(title=title, run=run), Inputs()).to_bytes())
    return place


def found(place: Path | str, own: Path) -> str | None:
    told = find_previous(locate(str(place)), locate(str(own)), RUN)
    return None if told is None else told.title


def changes_of(report: Report) -> ChangeWords:
    told = Words("business", report).changes
    assert told is not None
    return told


class TestCompared:
    @pytest.fixture
    def reports(self, tmp_path: Path) -> tuple[Report, Report]:
        before = tmp_path / "before"
        before.mkdir()
        inputs = whole(
            before,
            explanations=written(explained(seed=1), before / "e.parquet"),
            segments=segments(before / "s.json", ["Gone", "Old"]),
        )
        shares = [("age", 0.5), ("plan", 0.375), ("income", 0.125)]
        now = tmp_path / "now"
        now.mkdir()
        return gather(known(shares=shares, model_id="m-0"), inputs), whole_report(now)

    def test_figures_are_those_of_both_reports_and_their_difference(
        self, reports: tuple[Report, Report]
    ) -> None:
        before, now = reports
        told = compare(before, now)
        figures = {each.name: each for each in told.figures}

        assert before.predictions is not None
        assert now.predictions is not None
        mean = figures["predictions.mean"]
        assert (mean.before, mean.after) == (before.predictions.mean, now.predictions.mean)
        assert mean.difference == now.predictions.mean - before.predictions.mean
        assert figures["metric.validation_auc"].difference == 0

    def test_drivers_have_their_ranks_then_and_now(self, reports: tuple[Report, Report]) -> None:
        ranks = {each.feature: (each.rank_before, each.rank_after) for each in compare(*reports).drivers}
        assert ranks == {"age": (1, 1), "plan": (2, 3), "income": (3, 2)}

    def test_personas_that_came_or_went_have_one_side(self, reports: tuple[Report, Report]) -> None:
        told = {each.name: (each.before, each.after, each.difference) for each in compare(*reports).personas}
        assert told == {"Old": (0.75, 0.75, 0.0), "Young": (None, 0.25, None), "Gone": (0.25, None, None)}

    def test_model_and_data_are_told_apart(self, reports: tuple[Report, Report]) -> None:
        told = compare(*reports)
        assert (told.same_model, told.same_data) == (False, True)
        now = reports[1].model_copy(update={"changes": told})
        assert changes_of(now).same() == "The model was m-0; the data is the same."

    def test_a_report_beside_itself_moved_nothing(self, reports: tuple[Report, Report]) -> None:
        now = reports[1]
        same = now.model_copy(update={"changes": compare(now, now)})
        assert not changes_of(same).any()

    def test_what_one_side_lacks_is_not_compared(self, tmp_path: Path) -> None:
        bare, now = gather(known(), Inputs()), whole_report(tmp_path)
        told = compare(bare, now)
        assert (told.personas, told.reasons, told.same_data) == ((), (), None)


class TestFound:
    def test_a_file_is_the_report_it_holds(self, tmp_path: Path) -> None:
        place = made(tmp_path / "a.json", "A")
        assert found(place, tmp_path / "b.json") == "A"

    def test_none_yet_is_none(self, tmp_path: Path) -> None:
        assert found(tmp_path / "a.json", tmp_path / "b.json") is None
        (tmp_path / "runs").mkdir()
        assert found(tmp_path / "runs", tmp_path / "runs" / "1" / "report.json") is None

    def test_in_a_folder_it_is_the_last_before_the_own_one(self, tmp_path: Path) -> None:
        for day in ("2026-11-18", "2026-11-19", "2026-11-21"):
            made(tmp_path / day / "report.json", day)
            made(tmp_path / day / "zz.json", "another")
        assert found(tmp_path, tmp_path / "2026-11-20" / "report.json") == "2026-11-19"

    def test_in_a_folder_elsewhere_it_is_the_last(self, tmp_path: Path) -> None:
        for day in ("2026-11-18", "2026-11-19"):
            made(tmp_path / "runs" / day / "report.json", day)
        assert found(tmp_path / "runs", tmp_path / "a" / "report.json") == "2026-11-19"

    @pytest.mark.parametrize("other", [{"dag_id": "other"}, {"task_id": "other"}])
    def test_what_others_wrote_into_a_folder_is_passed_over(
        self, tmp_path: Path, other: dict[str, str]
    ) -> None:
        made(tmp_path / "1" / "report.json", "own", RUN.model_copy(update={"run_id": "r-1"}))
        made(tmp_path / "2" / "report.json", "another's", RUN.model_copy(update=other))
        made(tmp_path / "3" / "report.json", "nobody's", None)
        assert found(tmp_path, tmp_path / "4" / "report.json") == "own"

    def test_files_of_a_folder_that_are_no_reports_are_passed_over(self, tmp_path: Path) -> None:
        made(tmp_path / "1" / "report.json", "first")
        (tmp_path / "2").mkdir()
        (tmp_path / "2" / "report.json").write_text("{}")
        assert found(tmp_path, tmp_path / "3" / "report.json") == "first"

    @pytest.mark.parametrize("content", ["", "{}", "[1]", '{"kind": "other"}'])
    def test_a_file_that_is_none_is_refused(self, tmp_path: Path, content: Any) -> None:
        (tmp_path / "a.json").write_text(content)
        with pytest.raises(ReportError, match="not the JSON of a report"):
            found(tmp_path / "a.json", tmp_path / "b.json")


def test_hidden_characters_in_an_earlier_report_are_shown_by_number(tmp_path: Path) -> None:
    document = gather(dataclasses.replace(known(), title="x"), Inputs()).to_bytes()
    (tmp_path / "a.json").write_bytes(document.replace(b'"x"', b'"a\\u202eb"'))
    assert found(tmp_path / "a.json", tmp_path / "b.json") == "a[U+202E]b"
