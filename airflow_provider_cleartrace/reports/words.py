"""What a report says: the terms, number formats and sentences for an audience, all chosen here."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_provider_cleartrace.reports.drift_words import DriftWords
from airflow_provider_cleartrace.reports.facts import DriverMove, Moved, Predictions, Report
from airflow_provider_cleartrace.reports.figures import Shown, decimal, number, percent, points, signed
from airflow_provider_cleartrace.reports.terms import FIGURE_NAMES, TERMS, Audience

Part = Shown | str
Sentence = tuple[Part, ...]
"""Words and numbers in turn; the numbers keep their exact values."""

LOOSE_FIDELITY = 0.9
"""Below it, an explanation of a student is not one of its teacher."""

LARGE_CALIBRATION_ERROR = 0.05
"""Five points between told and true probabilities are enough to move decisions."""


@dataclass(frozen=True)
class Words:
    """The wording for an audience, about one report."""

    audience: Audience
    report: Report

    def __getitem__(self, term: str) -> str:
        return TERMS[self.audience][term]

    def prediction(self, value: float | None) -> Shown | str:
        """A prediction: a probability as a percentage for business, with three decimals otherwise."""
        if self.report.predictions is not None and self.report.predictions.scale == "value":
            return number(value)
        if self.report.predictions is None and self.report.model.task not in {"binary", "multiclass"}:
            return number(value)
        return percent(value) if self.audience == "business" else decimal(value)

    @property
    def drift(self) -> DriftWords | None:
        """The wording of the comparison, where the report has one."""
        told = self.report.comparison
        return None if told is None else DriftWords(self.audience, told, self.prediction)

    def driver(self, value: float | None) -> Shown | str:
        """A local driver, with its sign."""
        return signed(value)

    def figure_name(self, name: str) -> str:
        """A compared figure in words; metrics keep the service's names."""
        known = FIGURE_NAMES.get(name)
        return name.partition(".")[2] if known is None else known[self.audience == "business"]

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
            ("changes", report.changes is not None),
            ("comparison", report.comparison is not None),
            ("drivers", report.drivers is not None),
            ("predictions", report.predictions is not None),
            ("rows", bool(report.rows)),
            ("reasons", report.reasons is not None),
            ("personas", report.segments is not None),
            ("scenarios", report.scenarios is not None),
            ("calibrated", report.calibrated is not None),
            ("narrative", bool(report.narrative)),
            ("model", True),
            ("caveats", True),
        ]

    def same_model(self) -> str:
        """Whether model and data are those of the earlier report."""
        changes = self.report.changes
        if changes is None:
            return ""
        model = "The model is the same" if changes.same_model else f"The model was {changes.earlier_model_id}"
        data = {True: "the data is the same", False: "the data is other", None: "the data was not named"}
        return f"{model}; {data[changes.same_data]}."

    def moved(self) -> list[tuple[str, tuple[Moved, ...], str]]:
        """The comparisons with an earlier report: their headings, figures, and what these are."""
        changes = self.report.changes
        if changes is None:
            return []
        listed = [
            (self["key_figures"], changes.figures, "figure"),
            (f"{self['personas']}: {self['share'].lower()}", changes.personas, "share"),
            (f"{self['reasons']}: {self['share'].lower()}", changes.reasons, "share"),
        ]
        return [
            (title, tuple(move for move in moves if move.difference != 0), kind)
            for title, moves, kind in listed
        ]

    def moved_drivers(self) -> list[DriverMove]:
        """Drivers whose rank or share is another than in the earlier report."""
        changes = self.report.changes
        return [
            move
            for move in (() if changes is None else changes.drivers)
            if (move.rank_before, move.share_before) != (move.rank_after, move.share_after)
        ]

    def any_moved(self) -> bool:
        """Whether anything is different from the earlier report."""
        return bool(self.moved_drivers()) or any(moves for _, moves, _ in self.moved())

    def compared(self, name: str, value: float | None, kind: str, *, difference: bool = False) -> Shown | str:
        """A compared figure, as its kind is written elsewhere in the report."""
        if kind == "share" or name.endswith("_share") or name == "calibrated.coverage":
            return points(value) if difference else percent(value)
        if name in {"predictions.rows"}:
            return number(value if value is None else int(value))
        if name in {"predictions.mean", "predictions.median"}:
            if not difference:
                return self.prediction(value)
            if isinstance(shown := self.prediction(value), Shown) and shown.text.endswith("%"):
                return points(value)
        return signed(value) if difference else number(value)

    def key_figures(self) -> list[tuple[str, Part]]:
        """Up to six figures for the head of the report."""
        report, told = self.report, list[tuple[str, Part]]()
        if (scored := report.predictions) is not None:
            told += [
                (self["row_count"], number(scored.rows)),
                (self["mean_prediction"], self.prediction(scored.mean)),
            ]
            if scored.below_share is not None:
                told.append((f"Below {scored.boundary:g}", percent(scored.below_share)))
        if report.drivers is not None:
            told.append(("Strongest driver", report.drivers.listed[0].feature))
        if report.scenarios is not None:
            told.append((self["scenario_rows"], percent(report.scenarios.solved_share)))
        if (figure := self._quality()) is not None:
            told.append(figure)
        return told[:6]

    def _quality(self) -> tuple[str, Part] | None:
        """The figure that says how far the model can be trusted."""
        metrics = {figure.name: figure.value for figure in self.report.model.metrics}
        known = {
            "validation_auc": "AUC (held out)",
            "validation_accuracy": "Accuracy (held out)",
            "validation_r2": "R² (held out)",
        }
        return next(((text, decimal(metrics[name])) for name, text in known.items() if name in metrics), None)

    def summary(self) -> list[Sentence]:
        """The report in a few sentences, each from figures that the report shows."""
        report, told = self.report, list[Sentence]()
        rows = "cases" if self.audience == "business" else "rows"
        if (scored := report.predictions) is not None:
            told.append(self._scored(scored, rows))
        if report.drivers is not None:
            listed = report.drivers.listed[:3]
            names = ", ".join(driver.feature for driver in listed)
            share = percent(report.drivers.leading_share)
            told.append((f"The strongest drivers are {names}; together they have ", share, " of the weight."))
        if report.reasons is not None:
            top = report.reasons.listed[0]
            told.append(
                (
                    f"The most frequent reason is {top.code} ({top.text}), given for ",
                    percent(top.share),
                    f" of the {rows}.",
                )
            )
        if report.segments is not None and report.segments.personas:
            largest = report.segments.personas[0]
            told.append(
                (f"The largest group, “{largest.name}”, has ", percent(largest.share), f" of the {rows}.")
            )
        if (found := report.scenarios) is not None:
            told.append(
                (
                    "A way to the wanted outcome was found for ",
                    number(found.solved),
                    " of ",
                    number(found.rows),
                    f" {rows} searched.",
                )
            )
        if (changes := report.changes) is not None and not changes.same_model:
            told.append((f"The model is another than in the previous report ({changes.earlier_model_id}).",))
        if self.drift is not None:
            told.append((self.drift.verdict(),))
        return told

    def _scored(self, scored: Predictions, rows: str) -> Sentence:
        head: Sentence = (
            number(scored.rows),
            f" {rows} were scored; the mean of {self.outcome} is ",
            self.prediction(scored.mean),
        )
        if scored.below is None:
            return (*head, ".")
        below = number(scored.below)
        return (*head, "; ", below, " (", percent(scored.below_share), f") lie below {scored.boundary:g}.")

    def caveats(self) -> list[Sentence]:
        """What a reader could get wrong, as far as the figures tell."""
        report, told = self.report, list[Sentence]()
        for figure in report.model.fidelity:
            if figure.value < LOOSE_FIDELITY and "error" not in figure.name and "rows" not in figure.name:
                told.append(
                    (
                        f"The student follows its teacher loosely ({figure.name} ",
                        decimal(figure.value),
                        "): these explanations are the student's.",
                    )
                )
        for figure in report.model.metrics:
            if "calibration_error" in figure.name and figure.value > LARGE_CALIBRATION_ERROR:
                told.append(
                    ("Probabilities are off by ", percent(figure.value), " on average on held-out rows.")
                )
        if report.predictions is not None and report.predictions.missing:
            told.append(
                (
                    number(report.predictions.missing),
                    " rows have no prediction and are left out of all figures.",
                )
            )
        if report.drivers is not None or report.rows:
            told.append(
                (
                    "Drivers describe how the model reacts. They are associations in its data and do not"
                    " prove that a change of the feature changes the outcome.",
                )
            )
        if report.scenarios is not None:
            told.append(
                ("Scenarios are what the model would predict, not a promise, and may not be feasible.",)
            )
        if report.calibrated is not None and report.calibrated.coverage is None:
            told.append(("Intervals are as good as the calibration data is like the rows explained.",))
        if report.narrative:
            told.append(
                ("The section “In words” is text from the service; its figures are not checked here.",)
            )
        return told
