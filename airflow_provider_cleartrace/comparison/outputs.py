"""Two explained outputs, held against each other in one pass through each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from airflow_provider_cleartrace.comparison.alike import check_alike
from airflow_provider_cleartrace.comparison.drivers import local_drivers
from airflow_provider_cleartrace.comparison.measures import (
    index_by_chance,
    population_stability_index,
    shares_of,
    total_variation,
)
from airflow_provider_cleartrace.comparison.models import (
    Bin,
    DriverDrift,
    PersonaDrift,
    PersonaShare,
    PredictionDrift,
    RuleDrift,
)
from airflow_provider_cleartrace.comparison.quantiles import Histogram, Spool, quantile_edges
from airflow_provider_cleartrace.comparison.rules import RuleBook, RuleMatches
from airflow_provider_cleartrace.comparison.tally import Tally, tally
from airflow_provider_cleartrace.storage.layouts import (
    PROBABILITY,
    RULES,
    Layout,
    Readable,
    layout_of,
)

BINS = 10
"""Bins of predictions: deciles of the reference, as scorecards are monitored by."""


@dataclass(frozen=True)
class Found:
    """What two outputs tell."""

    reference_rows: int
    current_rows: int
    predictions: tuple[PredictionDrift, ...]
    drivers: DriverDrift | None
    personas: PersonaDrift | None
    rules: RuleDrift | None


@dataclass(frozen=True)
class Pair:
    """Two outputs that can be compared; ``of`` looks at their columns and refuses the others."""

    reference: Readable
    current: Readable
    layouts: tuple[Layout, Layout]

    @classmethod
    def of(cls, reference: Readable, current: Readable) -> Pair:
        """Look at the columns of both.

        Raises:
            ComparisonError: they are about different things.
            StorageError: one has no rows or predictions.
        """
        layouts = layout_of(reference), layout_of(current)
        check_alike((reference.uri, layouts[0]), (current.uri, layouts[1]))
        return cls(reference, current, layouts)

    @property
    def figures(self) -> set[str]:
        """The figures that the columns of both will give; a match rate depends on the rules as well."""
        names = {"psi"}
        if self._both("features"):
            names |= {"driver_rank_correlation", "driver_shift"}
        if self._both("persona"):
            names |= {"persona_psi", "persona_shift"}
        if self._both("rules"):
            names |= {"rule_match_rate", "shared_rule_rate"}
        return names

    def _both(self, part: str) -> bool:
        return all(getattr(layout, part) for layout in self.layouts)

    def compare(self, bins: int = BINS) -> Found:
        """Read the reference, then the current output, each once.

        Raises:
            ComparisonError: there are no rows, or a value is missing.
        """
        one, other = self.layouts
        labels = one.predictions
        with Spool(len(labels)) as spool:
            book = RuleBook(self.reference.uri) if self._both("rules") else None
            first = tally(
                self.reference,
                one,
                predictions=spool.write,
                rows=None if book is None else book.add,
                columns=(RULES,) if book is not None else (),
            )
            edges = [quantile_edges(spool, column, bins) for column in range(len(labels))]
            before, after = Histogram(edges), Histogram(edges)
            for values in spool.blocks():
                before.add(values)
        why = None if book is None else self._why_no_match_rate(book)
        matches = None if book is None else RuleMatches(book, self.current.uri, by_values=why is None)
        tried = () if book is None else (RULES, *(book.features if why is None else ()))
        second = tally(
            self.current,
            replace(other, predictions=labels),
            predictions=after.add,
            rows=None if matches is None else matches.add,
            columns=tried,
        )
        return Found(
            reference_rows=first.rows,
            current_rows=second.rows,
            predictions=_predictions(labels, (first, second), (before, after)),
            drivers=local_drivers(first, second) if self._both("features") else None,
            personas=_personas(first, second) if self._both("persona") else None,
            rules=None if book is None or matches is None else _rules(book, matches, second.rows, why),
        )

    def _why_no_match_rate(self, book: RuleBook) -> str | None:
        if not book.can_be_tried:
            return "a rule of the reference is told by its text alone, or has an unknown operator"
        missing = [name for name in book.features if name not in self.current.columns]
        if missing:
            return f"the current output has no column {missing[0]!r}: explain it with columns=['*']"
        return None


def _predictions(
    labels: Sequence[str], tallies: tuple[Tally, Tally], histograms: tuple[Histogram, Histogram]
) -> tuple[PredictionDrift, ...]:
    found = []
    for place, name in enumerate(labels):
        before, after = (histogram.counts[place] for histogram in histograms)
        bounds = [None, *histograms[0].edges[place].tolist(), None]
        found.append(
            PredictionDrift(
                label=name.removeprefix(PROBABILITY) if name.startswith(PROBABILITY) else None,
                psi=population_stability_index(before, after),
                psi_by_chance=index_by_chance(before, after),
                reference_mean=float(tallies[0].predicted[place] / tallies[0].rows),
                current_mean=float(tallies[1].predicted[place] / tallies[1].rows),
                bins=tuple(
                    Bin(low=low, high=high, reference_rows=then, current_rows=now)
                    for low, high, then, now in zip(
                        bounds, bounds[1:], before.tolist(), after.tolist(), strict=False
                    )
                ),
            )
        )
    return tuple(found)


def _personas(first: Tally, second: Tally) -> PersonaDrift:
    import numpy as np  # noqa: PLC0415  (loads where figures are computed, never with a DAG)

    names = sorted({*first.personas, *second.personas}, key=lambda name: (name is None, name or ""))
    counts = [np.array([side.personas[name] for name in names], dtype=np.int64) for side in (first, second)]
    shares = [shares_of(side) for side in counts]
    told = [
        PersonaShare(
            persona=name,
            reference_rows=int(counts[0][place]),
            current_rows=int(counts[1][place]),
            reference_share=float(shares[0][place]),
            current_share=float(shares[1][place]),
            share_difference=float(shares[1][place] - shares[0][place]),
        )
        for place, name in enumerate(names)
    ]
    return PersonaDrift(
        psi=population_stability_index(counts[0], counts[1]),
        psi_by_chance=index_by_chance(counts[0], counts[1]),
        shift=total_variation(shares[0], shares[1]),
        personas=tuple(sorted(told, key=lambda each: -abs(each.share_difference))),
    )


def _rules(book: RuleBook, matches: RuleMatches, rows: int, why: str | None) -> RuleDrift:
    return RuleDrift(
        reference_rules=len(book.rules),
        current_rules=len(matches.own.rules),
        reference_rows_with_rules=book.rows,
        current_rows_with_rules=matches.own.rows,
        match_rate=matches.matched / rows if why is None else None,
        shared_rate=matches.sharing / rows,
        why_no_match_rate=why,
    )
