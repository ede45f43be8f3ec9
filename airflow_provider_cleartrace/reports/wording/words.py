"""What a report says: its sections in their order, and the wording of each."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_provider_cleartrace.reports.texts import NONE
from airflow_provider_cleartrace.reports.wording.caveats import caveats
from airflow_provider_cleartrace.reports.wording.changes import ChangeWords
from airflow_provider_cleartrace.reports.wording.drift import DriftWords
from airflow_provider_cleartrace.reports.wording.figures import Part, Sentence, number, percent
from airflow_provider_cleartrace.reports.wording.glossary import explained_terms
from airflow_provider_cleartrace.reports.wording.summary import Summary
from airflow_provider_cleartrace.reports.wording.vocabulary import Vocabulary


@dataclass(frozen=True)
class Words(Vocabulary):
    """The wording for an audience, about one report."""

    def sections(self) -> list[tuple[str, bool]]:
        """The sections in their order, and whether the report has them."""
        report = self.report
        return [
            ("summary", True),
            ("predictions", report.predictions is not None),
            ("drivers", report.drivers is not None),
            ("changes", report.changes is not None),
            ("comparison", report.comparison is not None),
            ("rows", bool(report.rows)),
            ("reasons", report.reasons is not None),
            ("personas", report.segments is not None),
            ("scenarios", report.scenarios is not None),
            ("calibrated", report.calibrated is not None),
            ("narrative", bool(report.narrative)),
            ("caveats", True),
            ("model", True),
            ("terms", bool(self.terms())),
        ]

    @property
    def summary(self) -> Summary:
        """The key figures and sentences of the first screen."""
        return Summary(self, self.changes, self.drift)

    @property
    def changes(self) -> ChangeWords | None:
        """The wording of what is different from the previous report, where there is one."""
        told = self.report.changes
        return None if told is None else ChangeWords(self, told)

    @property
    def drift(self) -> DriftWords | None:
        """The wording of the comparison, where the report has one."""
        told = self.report.comparison
        return None if told is None else DriftWords(self.audience, told, self.prediction, self.width)

    def reliability(self) -> list[tuple[str, Part]]:
        """How far calibrated intervals can be trusted, as far as it is told."""
        told = self.report.calibrated
        if told is None:
            return []
        figures = [
            (self["row_count"], number(told.rows)),
            (self["n_rules"], number(told.rules)),
            (self["mean_width"], self.width(told.mean_width)),
            (self["widest"], self.width(told.widest)),
            (self["calibration_rows"], number(told.calibration_rows)),
            (self["held_out_rows"], number(told.held_out_rows)),
            (self["coverage"], percent(told.coverage)),
            (self["calibration_error"], percent(told.calibration_error)),
        ]
        return [(name, figure) for name, figure in figures if figure != NONE]

    def caveats(self) -> list[Sentence]:
        """What to keep in mind."""
        return caveats(self)

    def terms(self) -> list[tuple[str, str]]:
        """The terms that this report uses, with what they mean."""
        return explained_terms(self.report, self.audience)
