"""The terms and number formats of an audience, for one report."""

from __future__ import annotations

import math
from dataclasses import dataclass

from airflow_provider_cleartrace.reports.facts import Report
from airflow_provider_cleartrace.reports.wording.figure_names import FIGURE_NAMES, METRIC_NAMES
from airflow_provider_cleartrace.reports.wording.figures import Part, decimal, number, percent, points, signed
from airflow_provider_cleartrace.reports.wording.terms import TERMS, Audience

MOST_DECIMALS = 6


@dataclass(frozen=True)
class Vocabulary:
    """How an audience calls things and reads numbers, in one report."""

    audience: Audience
    report: Report

    def __getitem__(self, term: str) -> str:
        return TERMS[self.audience][term]

    @property
    def is_business(self) -> bool:
        """Whether the readers decide, rather than build models."""
        return self.audience == "business"

    @property
    def row_plural(self) -> str:
        """What rows are called in a sentence."""
        return "cases" if self.is_business else "rows"

    @property
    def of_probabilities(self) -> bool:
        """Whether the predictions are probabilities, and not values of the target."""
        if self.report.predictions is not None:
            return self.report.predictions.scale == "probability"
        return self.report.model.task in {"binary", "multiclass"}

    def prediction(self, value: float | None, *, sign: bool = False) -> Part:
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

    def width(self, value: float | None) -> Part:
        """The width of an interval of predictions."""
        if self.of_probabilities and self.is_business:
            return points(value, sign=False)
        return self.prediction(value)

    def driver(self, value: float | None) -> Part:
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
