"""Terms that a report uses, explained for its readers; those that it does not use are left out."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from airflow_provider_cleartrace.reports.facts import Report
from airflow_provider_cleartrace.reports.wording.terms import Audience

_TECHNICAL = {
    "driver": (
        "Driver",
        "What a feature does to a prediction, from the model's gradient. A global driver is the feature's"
        " share of the model's sensitivity over its training data.",
    ),
    "auc": (
        "AUC",
        "The chance that a row of the class has a higher probability than a row of the other: 0.5 is chance,"
        " 1 is perfect.",
    ),
    "r2": (
        "R²",
        "The share of the target's variance that the predictions explain; 1 is perfect, 0 is the mean.",
    ),
    "calibration_error": (
        "Calibration error",
        "Mean distance of told probabilities from observed shares, over bins of predictions.",
    ),
    "fidelity": (
        "Fidelity",
        "How closely a distilled student gives the predictions of its teacher; 1 is alike.",
    ),
    "psi": (
        "PSI",
        "Population stability index: the sum over bins of (c \N{MINUS SIGN} r) · ln(c / r)."
        " Usual bounds are 0.1 and 0.25; below the one by chance it says nothing.",
    ),
    "rank_correlation": ("Rank correlation", "Spearman's: 1 where features rank alike on both sides."),
    "shift": ("Shift", "Half the sum of the absolute differences of shares: 0 is none, 1 is all."),
    "persona": ("Persona", "A cluster of rows whose explanations are alike; separation is from 0 to 1."),
    "scenario": ("Scenario", "Values of a row with few edits for which the model predicts the wanted class."),
    "coverage": ("Coverage", "The share of held-out targets that lie within their intervals."),
    "interval": ("Interval", "Where the calibrated prediction may lie, given the calibration data."),
    "pp": ("pp", "Percentage points: the difference of two percentages."),
    "fingerprint": ("Fingerprint", "SHA-256 of a file: another value means other content."),
}

_BUSINESS = {
    "driver": (
        "Weight and effect",
        "Weight is how much the model reacts to a piece of information over all cases. Effect is what it does"
        " to one case.",
    ),
    "auc": (
        "AUC",
        "How often the model puts the right one of two cases first: 50% is guessing, 100% is perfect.",
    ),
    "r2": ("R²", "Which part of the differences between cases the model foresees: 1 is all, 0 is none."),
    "calibration_error": (
        "Calibration error",
        "How far a predicted percentage is from what then happened, on average.",
    ),
    "fidelity": ("Agreement", "How closely the explained model follows the original one; 1 is alike."),
    "psi": (
        "PSI",
        "A measure of how far a distribution has moved: below 0.1 little, above 0.25 much. A value like"
        " that by chance says nothing.",
    ),
    "rank_correlation": ("Likeness of order", "1 where the same things matter most, in the same order."),
    "shift": (
        "Weight that moved",
        "0% where nothing gained or lost weight, 100% where all of it is elsewhere.",
    ),
    "persona": ("Group", "Cases that the model judges for similar reasons."),
    "scenario": ("Way", "A few changes of a case after which the model would predict the wanted outcome."),
    "coverage": ("Within their range", "How many of the cases held out really ended within the range told."),
    "interval": ("Range", "Where the true prediction may lie, as far as the data supports it."),
    "pp": ("pp", "Percentage points: the difference of two percentages."),
    "fingerprint": ("Fingerprint", "A checksum of a file: another value means other content."),
}

GLOSSARY: Mapping[Audience, Mapping[str, tuple[str, str]]] = MappingProxyType(
    {"technical": _TECHNICAL, "business": _BUSINESS}
)


def explained_terms(report: Report, audience: Audience) -> list[tuple[str, str]]:
    """The terms that a report uses with what they mean, in the order of its sections."""
    used = _used(report)
    return [told for name, told in GLOSSARY[audience].items() if used[name]]


def _used(report: Report) -> dict[str, bool]:
    drift = report.comparison
    metrics = " ".join(figure.name for figure in report.model.metrics)
    calibrated = report.calibrated
    return {
        "driver": report.drivers is not None or bool(report.rows),
        "auc": "auc" in metrics,
        "r2": "r2" in metrics,
        "calibration_error": "calibration_error" in metrics
        or (calibrated is not None and calibrated.calibration_error is not None),
        "fidelity": bool(report.model.fidelity),
        "psi": drift is not None and bool(drift.predictions or drift.personas),
        "rank_correlation": drift is not None and bool(drift.drivers or drift.global_drivers),
        "shift": drift is not None and bool(drift.drivers or drift.global_drivers or drift.personas),
        "persona": report.segments is not None,
        "scenario": report.scenarios is not None,
        "coverage": calibrated is not None and calibrated.coverage is not None,
        "interval": calibrated is not None,
        "pp": report.changes is not None or drift is not None,
        "fingerprint": bool(report.sources),
    }
