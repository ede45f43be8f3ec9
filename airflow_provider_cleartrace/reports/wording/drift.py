"""What a report says of a comparison: the verdict, and tables of what was beside what is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from airflow_provider_cleartrace.comparison.thresholds import FIGURES
from airflow_provider_cleartrace.reports.drift import Comparison, DriverDrift
from airflow_provider_cleartrace.reports.texts import NONE
from airflow_provider_cleartrace.reports.wording.figure_names import DRIFT_FIGURES
from airflow_provider_cleartrace.reports.wording.figures import Part, decimal, number, percent, points
from airflow_provider_cleartrace.reports.wording.terms import TERMS, Audience

LISTED_SHIFTS = 12
"""Features, personas or classes in a table, those that moved most first; the JSON has all of them."""

_VERDICTS = {"drift": "verdict_drift", "stable": "verdict_stable", "not judged": "verdict_none"}

_SHARES = frozenset(
    {"driver_shift", "global_driver_shift", "persona_shift", "rule_match_rate", "shared_rule_rate"}
)
"""Figures from 0 to 1 that are a part of something."""


@dataclass(frozen=True)
class Grid:
    """A table: its title, the heads of its columns, and its lines, each of them named by its first cell.

    ``marked`` are the first cells of the lines to look at.
    """

    title: str
    head: tuple[str, ...]
    lines: tuple[tuple[Part, ...], ...]
    marked: frozenset[Part] = frozenset()


@dataclass(frozen=True)
class DriftWords:
    """The wording of a comparison; predictions and widths are written as in the rest of the report."""

    audience: Audience
    told: Comparison
    prediction: Callable[[float | None], Part]
    width: Callable[[float | None], Part]

    @property
    def _terms(self) -> Mapping[str, str]:
        return TERMS[self.audience]

    def verdict(self) -> str:
        """The verdict with the figures that led to it."""
        crossed = ", ".join(self.figure_name(crossing.figure) for crossing in self.told.crossed)
        return f"{self._terms[_VERDICTS[self.told.verdict]]}{crossed}."

    def figure_name(self, name: str) -> str:
        """A figure in words."""
        known = DRIFT_FIGURES.get(name)
        return name if known is None else known[self.audience == "business"]

    def notes(self) -> list[str]:
        """How to read the tables, and why a figure is not there."""
        told, terms = self.told, self._terms
        notes = []
        if told.predictions or told.personas is not None:
            notes.append(terms["by_chance_note"])
        if told.drivers is not None or told.global_drivers is not None:
            notes.append(terms["driver_shifts_note"])
        if told.rules is not None and told.rules.why_no_match_rate is not None:
            notes.append(": ".join((terms["rules_not_tried"], told.rules.why_no_match_rate)))
        return notes

    def tables(self) -> list[Grid]:
        """Every table that the comparison has figures for."""
        terms = self._terms
        grids = [
            self._figures(),
            self._predictions(),
            self._drivers(terms["driver_shifts"], self.told.drivers),
            self._drivers(terms["global_driver_shifts"], self.told.global_drivers),
            self._personas(),
            self._rules(),
            self._widths(),
            self._sides(),
        ]
        return [grid for grid in grids if grid.lines]

    def _figures(self) -> Grid:
        terms, told = self._terms, self.told
        crossed = {crossing.figure for crossing in told.crossed}
        by_chance = self._by_chance()
        lines = []
        for name, value in sorted(told.figures.items(), key=lambda item: self._concern(item[0])):
            written = percent if name in _SHARES else decimal
            bound, side = told.thresholds.get(name), FIGURES.get(name)
            state = NONE if bound is None else terms["crossed" if name in crossed else "kept"]
            lines.append(
                (
                    self.figure_name(name),
                    written(value),
                    decimal(by_chance.get(name)),
                    written(bound if side == "above" else None),
                    written(bound if side == "below" else None),
                    state,
                )
            )
        columns = ("name", "value", "by_chance", "at_most", "at_least", "threshold")
        marked = frozenset(map(self.figure_name, crossed))
        return Grid(terms["drift_figures"], tuple(terms[column] for column in columns), tuple(lines), marked)

    def _concern(self, figure: str) -> int:
        """What was crossed comes first, then what was judged."""
        if any(crossing.figure == figure for crossing in self.told.crossed):
            return 0
        return 1 if figure in self.told.thresholds else 2

    def _sides_of(self, *columns: str) -> tuple[str, ...]:
        """Heads of columns that tell both sides."""
        terms = self._terms
        return tuple(f"{terms[name]}, {terms[side]}" for name in columns for side in ("reference", "current"))

    def _by_chance(self) -> dict[str, float]:
        """What two samples of one population would have, of the figures that tell it."""
        told = self.told
        by_chance = {}
        if told.predictions:
            by_chance["psi"] = max(told.predictions, key=lambda each: each.psi).psi_by_chance
        if told.personas is not None:
            by_chance["persona_psi"] = told.personas.psi_by_chance
        return by_chance

    def _predictions(self) -> Grid:
        terms = self._terms
        moved = sorted(self.told.predictions, key=lambda each: -each.psi)[:LISTED_SHIFTS]
        return Grid(
            terms["prediction_shifts"],
            (
                terms["prediction"],
                self.figure_name("psi"),
                terms["by_chance"],
                *self._sides_of("mean"),
            ),
            tuple(
                (
                    terms["all_rows"] if each.label is None else each.label,
                    decimal(each.psi),
                    decimal(each.psi_by_chance),
                    self.prediction(each.reference_mean),
                    self.prediction(each.current_mean),
                )
                for each in moved
            ),
        )

    def _drivers(self, title: str, drift: DriverDrift | None) -> Grid:
        terms = self._terms
        moved = () if drift is None else [each for each in drift.features if _is_seen(each.share_difference)]
        return Grid(
            title,
            (terms["feature"], *self._sides_of("share"), terms["change"], *self._sides_of("rank")),
            tuple(
                (
                    each.feature,
                    percent(each.reference_share),
                    percent(each.current_share),
                    points(each.share_difference),
                    number(each.reference_rank),
                    number(each.current_rank),
                )
                for each in moved[:LISTED_SHIFTS]
            ),
        )

    def _personas(self) -> Grid:
        terms, drift = self._terms, self.told.personas
        return Grid(
            terms["persona_shares"],
            (terms["persona"], *self._sides_of("row_count", "share"), terms["change"]),
            tuple(
                (
                    terms["no_persona"] if each.persona is None else each.persona,
                    number(each.reference_rows),
                    number(each.current_rows),
                    percent(each.reference_share),
                    percent(each.current_share),
                    points(each.share_difference),
                )
                for each in (() if drift is None else drift.personas[:LISTED_SHIFTS])
            ),
        )

    def _rules(self) -> Grid:
        terms, told = self._terms, self.told.rules
        lines: tuple[tuple[Part, ...], ...] = ()
        if told is not None:
            lines = (
                (terms["n_rules"], number(told.reference_rules), number(told.current_rules)),
                (
                    terms["rows_with_rules"],
                    number(told.reference_rows_with_rules),
                    number(told.current_rows_with_rules),
                ),
                (self.figure_name("rule_match_rate"), NONE, percent(told.match_rate)),
                (self.figure_name("shared_rule_rate"), NONE, percent(told.shared_rate)),
            )
        return self._beside(terms["rule_drift"], lines)

    def _widths(self) -> Grid:
        terms, told = self._terms, self.told.intervals
        lines: tuple[tuple[Part, ...], ...] = ()
        if told is not None:
            then, now = told.reference, told.current
            lines = (
                (
                    terms["prediction_width"],
                    self.width(then.mean_prediction_width),
                    self.width(now.mean_prediction_width),
                ),
                (
                    terms["weight_width"],
                    self.width(then.mean_weight_width),
                    self.width(now.mean_weight_width),
                ),
                (terms["rows_with_rules"], number(then.rows), number(now.rows)),
                (terms["n_rules"], number(then.rules), number(now.rules)),
                (terms["open_rules"], number(then.open_rules), number(now.open_rules)),
            )
        return self._beside(terms["widths"], lines)

    def _sides(self) -> Grid:
        terms = self._terms
        then, now = self.told.reference, self.told.current
        lines = (
            (terms["output"], then.output or NONE, now.output or NONE),
            (terms["row_count"], number(then.rows), number(now.rows)),
            (terms["model_id"], then.model_id or NONE, now.model_id or NONE),
            (terms["calibrated_rules"], then.calibrated or NONE, now.calibrated or NONE),
        )
        given = tuple(line for line in lines if line[1:] != (NONE, NONE))
        return self._beside(terms["sides"], given)

    def _beside(self, title: str, lines: tuple[tuple[Part, ...], ...]) -> Grid:
        terms = self._terms
        sides = (terms["reference"].capitalize(), terms["current"].capitalize())
        return Grid(title, (terms["name"], *sides), lines)


def _is_seen(difference: float) -> bool:
    """Whether a difference of shares is one when it is written in points."""
    return round(difference * 100, 1) != 0
