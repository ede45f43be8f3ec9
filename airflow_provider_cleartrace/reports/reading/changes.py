"""What changed since an earlier report, from the facts of both."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from airflow_provider_cleartrace.reports.errors import ReportError
from airflow_provider_cleartrace.reports.facts import Changes, DriverMove, Moved, Report, Run
from airflow_provider_cleartrace.storage.locations import Location

LISTED_MOVES = 12
"""Drivers in the comparison, the strongest of now first."""

MOST_LOOKED_AT = 100
"""Files of a folder that are tried for an earlier report: DAGs that run more often may write there too."""


def find_previous(place: Location, own: Location, run: Run) -> Report | None:
    """The earlier report: a JSON file, or in a folder the last one of the same name, in the order of paths.

    In a folder, only reports of the same task of the same DAG count as earlier ones of ``run``. None where
    the folder has none yet, or the file is not there.

    Raises:
        ReportError: the file is no report.
    """
    if not place.is_folder():
        if not place.is_file():
            return None
        try:
            return Report.from_bytes(place.read_bytes())
        except ValueError:
            raise ReportError(f"{place.uri}: not the JSON of a report, or one of a newer version") from None
    found = [place.child(name) for name in place.names() if name.rpartition("/")[2] == own.name]
    earlier = [each for each in found if each.path < own.path or not place.covers(own)]
    for each in reversed(earlier[-MOST_LOOKED_AT:]):
        with contextlib.suppress(ValueError):
            report = Report.from_bytes(each.read_bytes())
            if report.run and (report.run.dag_id, report.run.task_id) == (run.dag_id, run.task_id):
                return report
    return None


def compare(earlier: Report, now: Report) -> Changes:
    """The figures, drivers, personas and reasons of two reports beside each other."""
    return Changes(
        earlier_made_at=earlier.made_at,
        earlier_run=earlier.run,
        earlier_model_id=earlier.model.model_id,
        same_model=earlier.model.model_id == now.model.model_id,
        same_data=_same_data(earlier, now),
        figures=_moved(_figures(earlier), _figures(now)),
        drivers=_driver_moves(earlier, now),
        personas=_moved(_persona_shares(earlier), _persona_shares(now)),
        reasons=_moved(_reason_shares(earlier), _reason_shares(now)),
    )


def _same_data(earlier: Report, now: Report) -> bool | None:
    prints = [
        next((source.fingerprint for source in report.sources if source.role == "data"), None)
        for report in (earlier, now)
    ]
    return None if None in prints else prints[0] == prints[1]


def _figures(report: Report) -> dict[str, float | None]:
    """The figures that are compared, by their name in the JSON."""
    predictions: Any = report.predictions
    scenarios: Any = report.scenarios
    calibrated: Any = report.calibrated
    told: dict[str, float | None] = {}
    for part, names in (
        (predictions, ("rows", "mean", "median", "below_share")),
        (scenarios, ("solved_share", "mean_edits")),
        (calibrated, ("mean_width", "coverage")),
    ):
        told |= {
            f"{type(part).__name__.lower()}.{name}": getattr(part, name) for name in names if part is not None
        }
    told |= {f"metric.{figure.name}": figure.value for figure in report.model.metrics}
    return told | {f"fidelity.{figure.name}": figure.value for figure in report.model.fidelity}


def _persona_shares(report: Report) -> dict[str, float | None]:
    return {} if report.segments is None else {each.name: each.share for each in report.segments.personas}


def _reason_shares(report: Report) -> dict[str, float | None]:
    return {} if report.reasons is None else {each.code: each.share for each in report.reasons.listed}


def _moved(before: Mapping[str, float | None], after: Mapping[str, float | None]) -> tuple[Moved, ...]:
    """Every figure of either side; none where one side has nothing at all to compare with."""
    if not before or not after:
        return ()
    names = dict.fromkeys([*after, *before])
    pairs = [(name, before.get(name), after.get(name)) for name in names]
    return tuple(
        Moved(name=name, before=old, after=new, difference=None if old is None or new is None else new - old)
        for name, old, new in pairs
        if old is not None or new is not None
    )


def _driver_moves(earlier: Report, now: Report) -> tuple[DriverMove, ...]:
    if earlier.drivers is None or now.drivers is None:
        return ()
    before = {driver.feature: driver for driver in earlier.drivers.listed}
    after = {driver.feature: driver for driver in now.drivers.listed}
    leading = [*list(after)[:LISTED_MOVES], *list(before)[:LISTED_MOVES]]
    return tuple(
        DriverMove(
            feature=name,
            rank_before=before[name].rank if name in before else None,
            rank_after=after[name].rank if name in after else None,
            share_before=before[name].share if name in before else None,
            share_after=after[name].share if name in after else None,
        )
        for name in dict.fromkeys(leading)
    )
