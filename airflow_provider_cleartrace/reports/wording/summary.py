"""The first screen of a report: its key figures and a few sentences."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from airflow_provider_cleartrace.reports.facts import Predictions, Report
from airflow_provider_cleartrace.reports.wording.changes import ChangeWords
from airflow_provider_cleartrace.reports.wording.drift import DriftWords
from airflow_provider_cleartrace.reports.wording.figures import (
    Part,
    Sentence,
    decimal,
    moment,
    number,
    percent,
)
from airflow_provider_cleartrace.reports.wording.vocabulary import Vocabulary

MOST_KEY_FIGURES = 6
"""Two rows of three tiles: what is taken in at a glance."""

NAMED_CLASSES = 3

QUALITY = {
    "validation_auc": "AUC (held out)",
    "validation_accuracy": "Accuracy (held out)",
    "validation_r2": "R² (held out)",
}
"""The figure that says how far a model can be trusted: the first of these that it has."""


@dataclass(frozen=True)
class Summary:
    """What a reader learns without scrolling: the outcome, whether anything moved, and why."""

    words: Vocabulary
    changes: ChangeWords | None
    drift: DriftWords | None

    @property
    def _report(self) -> Report:
        return self.words.report

    def key_figures(self) -> list[tuple[str, Part]]:
        """The figures for the head of the report, the outcome first."""
        words, report, told = self.words, self._report, list[tuple[str, Part]]()
        if report.predictions is not None:
            told += [
                (words["row_count"], number(report.predictions.rows)),
                *self._outcome(report.predictions),
            ]
        if report.comparison is not None:
            told.append(
                (words["comparison_short"], words[f"{report.comparison.verdict.replace(' ', '_')}_short"])
            )
        metrics = {figure.name: figure.value for figure in report.model.metrics}
        told += [(text, decimal(metrics[name])) for name, text in QUALITY.items() if name in metrics][:1]
        if report.drivers is not None:
            told.append((words["strongest"], report.drivers.listed[0].feature))
        if report.scenarios is not None and report.scenarios.needed:
            told.append((words["scenario_rows"], percent(report.scenarios.solved_share)))
        return told[:MOST_KEY_FIGURES]

    def _outcome(self, scored: Predictions) -> Iterator[tuple[str, Part]]:
        words = self.words
        if scored.above is not None and (names := self._class_names()) is not None:
            yield f"{words['predicted']} {names[1]}", percent(scored.above_share)
            yield f"{words['predicted']} {names[0]}", percent(scored.below_share)
        elif scored.classes:
            for each in sorted(scored.classes, key=lambda each: -each.rows)[:2]:
                yield f"{words['predicted']} {each.label}", percent(each.share)
        else:
            yield words["mean_prediction"], words.prediction(scored.mean)
            if scored.scale == "value":
                yield words["median"], words.prediction(scored.median)

    def _class_names(self) -> tuple[str, str] | None:
        """The classes below and above the boundary."""
        model = self._report.model
        if len(model.classes) != 2:
            return None
        low, high = (f"{model.target or 'the target'} = {label}" for label in model.classes)
        return low, high

    def sentences(self) -> list[Sentence]:
        """The report in a few sentences, each from figures that the report shows."""
        report, words, rows = self._report, self.words, self.words.row_plural
        told = list[Sentence]()
        if report.predictions is not None:
            told.append(self._scored(report.predictions))
        if self.drift is not None:
            told.append((self.drift.verdict(),))
        if report.changes is not None:
            told.append(self._changed())
        if report.drivers is not None:
            names = ", ".join(driver.feature for driver in report.drivers.listed[:3])
            share = percent(report.drivers.leading_share)
            told.append((f"{words['strongest_are']} {names}; together they have ", share, " of the weight."))
        if report.reasons is not None:
            top = report.reasons.listed[0]
            named = f"The most frequent reason is {top.code} ({top.text}), given for "
            told.append((named, percent(top.share), f" of the {rows}."))
        if report.segments is not None and report.segments.personas:
            largest = report.segments.personas[0]
            grouped = (" of the ", number(report.segments.rows), f" {rows} that were grouped.")
            told.append((f"The largest group, “{largest.name}”, has ", percent(largest.share), *grouped))
        if report.scenarios is not None:
            told.append(self._searched())
        return told

    def _scored(self, scored: Predictions) -> Sentence:
        words = self.words
        head: Sentence = (number(scored.rows), f" {self.words.row_plural} were scored")
        mean = words.prediction(scored.mean)
        if scored.above is not None and (names := self._class_names()) is not None:
            above: Sentence = (number(scored.above), " (", percent(scored.above_share), ")")
            below: Sentence = (number(scored.below), " (", percent(scored.below_share), ")")
            of_classes = (": ", *above, f" are predicted {names[1]} and ", *below, f" {names[0]}")
            return (*head, *of_classes, f"; the mean of {words.outcome} is ", mean, ".")
        if scored.classes:
            ranked = sorted(scored.classes, key=lambda each: -each.rows)
            named: list[Part] = []
            for each in ranked[:NAMED_CLASSES]:
                named += [
                    f"{', ' if named else ': '}{each.label} for ",
                    number(each.rows),
                    " (",
                    percent(each.share),
                    ")",
                ]
            others = ", and others" if len(ranked) > NAMED_CLASSES else ""
            return (*head, *named, f"{others}; the mean of {words.outcome} is ", mean, ".")
        low, high = words.prediction(scored.minimum), words.prediction(scored.maximum)
        return (
            *head,
            f"; predictions of {words.outcome} lie from ",
            low,
            " to ",
            high,
            ", with a mean of ",
            mean,
            ".",
        )

    def _changed(self) -> Sentence:
        words, changes = self.words, self._report.changes
        if changes is None or self.changes is None:
            return ()
        since = f"Since the report of {moment(changes.earlier_made_at)}"
        model = "" if changes.same_model else ", which was of another model"
        means = [move for move in changes.figures if move.name == "predictions.mean"]
        if means and means[0].before is not None and means[0].after is not None:
            (move,) = means
            before, after = words.prediction(move.before), words.prediction(move.after)
            if str(before) == str(after):
                return (f"{since}{model}, the mean prediction has stayed at ", after, ".")
            moved = words.prediction(move.difference, sign=True)
            return (
                f"{since}{model}, the mean prediction has moved from ",
                before,
                " to ",
                after,
                " (",
                moved,
                ").",
            )
        stayed = "something else has changed" if self.changes.any() else "no figure has changed"
        return (f"{since}{model}, {stayed}.",)

    def _searched(self) -> Sentence:
        found = self._report.scenarios
        if found is None:
            return ()
        head: Sentence = (
            number(found.rows),
            f" {self.words.row_plural} were searched for a way to the wanted outcome: ",
        )
        there: Sentence = (number(found.already_there), " have it already")
        if not found.needed:
            return (*head, *there, ".")
        return (
            *head,
            *there,
            ", and of the others a way was found for ",
            number(found.solved),
            " of ",
            number(found.needed),
            ".",
        )
