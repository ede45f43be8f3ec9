"""What a reader of a report could get wrong, as far as its figures tell."""

from __future__ import annotations

from airflow_provider_cleartrace.reports.wording.figures import Sentence, decimal, number, percent
from airflow_provider_cleartrace.reports.wording.vocabulary import Vocabulary

LOOSE_FIDELITY = 0.9
"""Below it, an explanation of a student is not one of its teacher."""

LARGE_CALIBRATION_ERROR = 0.05
"""Five points between told and true probabilities are enough to move decisions."""

OVERLAPPING = 0.25
"""A separation (mean silhouette) below it is no structure, by Kaufman and Rousseeuw (1990)."""


def caveats(words: Vocabulary) -> list[Sentence]:
    """What a reader could get wrong, as far as the figures tell."""
    report, told = words.report, list[Sentence]()
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
            told.append(("Probabilities are off by ", percent(figure.value), " on average on held-out rows."))
    if report.predictions is not None and report.predictions.missing:
        missing = number(report.predictions.missing)
        told.append((missing, f" {words.row_plural} have no prediction and are left out of all figures."))
    if report.drivers is not None or report.rows:
        told.append(
            (
                "Drivers describe how the model reacts. They are associations in its data and do not"
                " prove that a change of the feature changes the outcome.",
            )
        )
    if report.segments is not None and report.segments.quality < OVERLAPPING:
        quality = decimal(report.segments.quality)
        told.append(("The groups overlap (separation ", quality, " of 1): read them as tendencies."))
    if report.scenarios is not None:
        told.append(("Scenarios are what the model would predict, not a promise, and may not be feasible.",))
    if report.calibrated is not None and report.calibrated.coverage is None:
        told.append(("Intervals are as good as the calibration data is like the rows explained.",))
    if report.narrative:
        told.append(("The section “In words” is text from the service; its figures are not checked here.",))
    return told
