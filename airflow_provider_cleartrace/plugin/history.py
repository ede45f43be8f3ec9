"""How a DAG's models changed from run to run: ranks of their drivers, and their metrics."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from airflow_provider_cleartrace.plugin.manifests import Told, shares

DRIVERS = "driver ranks"
METRICS = "metrics"


@dataclass(frozen=True)
class Cell:
    """A figure of one run; ``moved`` where it is another than in the run before that has it."""

    text: str
    moved: bool = False


@dataclass(frozen=True)
class Trail:
    """A table of what one task told in several runs: a row for each name, a column for each run."""

    task: str
    kind: str
    columns: list[Told]
    rows: list[tuple[str, list[Cell | None]]]


def trails(told: Iterable[Told], run_ids: Sequence[str]) -> list[Trail]:
    """A trail for each task that told drivers or metrics; runs in the given order, the newest first."""
    order = {run_id: place for place, run_id in enumerate(run_ids)}
    newest_first = sorted(told, key=lambda each: order[each.run_id])
    by_task: dict[str, list[Told]] = {}
    for each in newest_first:
        by_task.setdefault(each.label, []).append(each)
    made = [make(task, columns) for make in (_drivers, _metrics) for task, columns in by_task.items()]
    return [trail for trail in made if trail.rows]


def _drivers(task: str, told: list[Told]) -> Trail:
    columns = [each for each in told if each.manifest.top_features]
    ranked = [
        {feature: (rank, share) for rank, (feature, share) in enumerate(shares(each), start=1)}
        for each in columns
    ]

    def cells(feature: str) -> list[Cell | None]:
        ranks = [one[feature][0] if feature in one else None for one in ranked]
        return [
            Cell(f"{place[feature][0]} ({place[feature][1]:.1%})", _moved(rank, ranks[column + 1 :]))
            if (rank := ranks[column]) is not None
            else None
            for column, place in enumerate(ranked)
        ]

    return Trail(task, DRIVERS, columns, [(feature, cells(feature)) for feature in _names(ranked)])


def _metrics(task: str, told: list[Told]) -> Trail:
    columns = [each for each in told if each.figures]
    named = [each.figures for each in columns]

    def cells(name: str) -> list[Cell | None]:
        texts = [one.get(name) for one in named]
        return [
            None if text is None else Cell(text, _moved(text, texts[column + 1 :]))
            for column, text in enumerate(texts)
        ]

    return Trail(task, METRICS, columns, [(name, cells(name)) for name in _names(named)])


def _names(told: Iterable[Mapping[str, object]]) -> list[str]:
    """Every name, in the order of the newest run that has it."""
    return list(dict.fromkeys(itertools.chain.from_iterable(told)))


def _moved(value: object, earlier: Iterable[object]) -> bool:
    """Whether the last value before this one is another; the first of all has moved from nothing."""
    before = next((one for one in earlier if one is not None), value)
    return before != value
