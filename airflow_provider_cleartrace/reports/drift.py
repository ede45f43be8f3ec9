"""What a Compare task found, as a part of a report: its own figures, with every text safe to show."""

from __future__ import annotations

from airflow_provider_cleartrace.comparison import models as found
from airflow_provider_cleartrace.reports.errors import ReportError
from airflow_provider_cleartrace.reports.texts import Text
from airflow_provider_cleartrace.storage.locations import Location


class Side(found.Side):
    """One of the two that were compared."""

    output: Text | None = None
    model_id: Text | None = None
    calibrated: Text | None = None


class PredictionDrift(found.PredictionDrift):
    """How predictions moved, of all rows or for one class."""

    label: Text | None


class DriverShift(found.DriverShift):
    """How one feature's part moved."""

    feature: Text


class DriverDrift(found.DriverDrift):
    """How drivers moved, the largest shift of share first."""

    features: tuple[DriverShift, ...]


class PersonaShare(found.PersonaShare):
    """How many rows have a persona, then and now."""

    persona: Text | None


class PersonaDrift(found.PersonaDrift):
    """How rows moved between personas, the largest shift first."""

    personas: tuple[PersonaShare, ...]


class RuleDrift(found.RuleDrift):
    """What the reference's rules say of the current rows."""

    why_no_match_rate: Text | None = None


class Crossing(found.Crossing):
    """A figure beyond its threshold."""

    figure: Text


class Comparison(found.Comparison):
    """Everything that a comparison finds."""

    reference: Side
    current: Side
    figures: dict[Text, float]
    thresholds: dict[Text, float]
    crossed: tuple[Crossing, ...]
    predictions: tuple[PredictionDrift, ...] = ()
    drivers: DriverDrift | None = None
    global_drivers: DriverDrift | None = None
    personas: PersonaDrift | None = None
    rules: RuleDrift | None = None


def read_comparison(location: Location) -> Comparison:
    """Read the JSON of a Compare task.

    Raises:
        ReportError: it is another file, or one of a newer schema.
        StorageError: it cannot be read.
    """
    content = location.read_bytes()
    try:
        return Comparison.model_validate_json(content)
    except ValueError:
        raise ReportError(
            f"{location.uri}: not the JSON of a comparison, or one of a newer version"
        ) from None
