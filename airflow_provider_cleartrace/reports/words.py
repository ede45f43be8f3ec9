"""What a report says: the terms and number formats for an audience, and the order of its sections."""

from __future__ import annotations

import math
from dataclasses import dataclass

from airflow_provider_cleartrace.reports.change_words import ChangeWords
from airflow_provider_cleartrace.reports.drift_words import DriftWords
from airflow_provider_cleartrace.reports.facts import Report
from airflow_provider_cleartrace.reports.figure_names import FIGURE_NAMES, METRIC_NAMES
from airflow_provider_cleartrace.reports.figures import NONE, Shown, decimal, number, percent, points, signed
from airflow_provider_cleartrace.reports.glossary import explained_terms
from airflow_provider_cleartrace.reports.summary import Summary
from airflow_provider_cleartrace.reports.terms import TERMS, Audience

MOST_DECIMALS = 6


@dataclass(frozen=True)
class Words:
    """The wording for an audience, about one report."""

    audience: Audience
    report: Report

    def __getitem__(self, term: str) -> str:
        return TERMS[self.audience][term]

    @property
    def is_business(self) -> bool:
        """Whether the readers decide, rather than build models."""
        return self.audience == "business"

    @property
    def of_probabilities(self) -> bool:
        """Whether the predictions are probabilities, and not values of the target."""
        if self.report.predictions is not None:
            return self.report.predictions.scale == "probability"
        return self.report.model.task in {"binary", "multiclass"}

    def prediction(self, value: float | None, *, sign: bool = False) -> Shown | str:
        """A prediction: a probability as a percentage for business, with three decimals otherwise.

        A value of the target has as many decimals as tell a thousandth of the range of all predictions.
        ``sign`` is for differences.
        """
        if self.of_probabilities:
            if not self.is_business:
                return decimal(value, sign=sign)
            return points(value) if sign else percent(value)
        places = self._places
        if value is None or places is None:
            return signed(value) if sign else number(value)
        return decimal(value, places, sign=sign)

    @property
    def _places(self) -> int | None:
        scored = self.report.predictions
        if scored is None or not scored.maximum > scored.minimum:
            return None
        digits = 3 - math.floor(math.log10(scored.maximum - scored.minimum))
        return min(max(digits, 0), MOST_DECIMALS)

    def width(self, value: float | None) -> Shown | str:
        """The width of an interval of predictions."""
        if self.of_probabilities and self.is_business:
            return points(value, sign=False)
        return self.prediction(value)

    def driver(self, value: float | None) -> Shown | str:
        """A local driver, with its sign."""
        return signed(value)

    def figure_name(self, name: str) -> str:
        """A figure in words; metrics that are not known keep the service's names."""
        bare = name.partition(".")[2] if name.startswith(("metric.", "fidelity.")) else name
        known = FIGURE_NAMES.get(name) or METRIC_NAMES.get(bare)
        return bare if known is None else known[self.is_business]

    def rows_lead(self) -> str:
        """How to read the drivers of a row."""
        return self["rows_gradient" if self.report.raw_gradient else "rows_contribution"]

    def raising_note(self) -> str:
        """What the share beside a driver counts."""
        return self["raising_gradient" if self.report.raw_gradient else "raising_contribution"]

    def why(self, reason: str) -> str:
        """Why a row is shown."""
        return self[f"why_{reason}"]

    @property
    def outcome(self) -> str:
        """What a prediction is of."""
        model = self.report.model
        target = model.target or "the target"
        if model.task == "binary" and model.classes:
            return f"the probability of {target} = {model.classes[-1]}"
        return f"the probability of the predicted class of {target}" if model.task == "multiclass" else target

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
        """The key figures and sentences of the first screen, and the caveats."""
        return Summary(self)

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

    def reliability(self) -> list[tuple[str, Shown | str]]:
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

    def terms(self) -> list[tuple[str, str]]:
        """The terms that this report uses, with what they mean."""
        return explained_terms(self.report, self.audience)
