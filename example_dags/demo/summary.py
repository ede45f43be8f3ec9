"""The text that ends the demo, for someone who sees a model explained for the first time."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

from example_dags.demo.api import TaskInstance, TaskKey
from example_dags.demo.results import Results, Scenario

WIDTH = 100
INDENT = "  "
TOP_DRIVERS = 6
BAR_LENGTH = 30


def task_table(tasks: Sequence[TaskInstance], deferred: Mapping[TaskKey, float]) -> str:
    """Return a line for each task: state, seconds from start to end, and how many of them it was deferred."""
    width = max(len("task"), *(len(task.label) for task in tasks))
    lines = [f"{'task':<{width}}  {'state':<16}{'duration':>10}{'deferred':>10}"]
    lines += [
        f"{task.label:<{width}}  {task.state or 'none':<16}{_seconds(task.duration):>10}"
        f"{_seconds(deferred.get(task.key)):>10}".rstrip()
        for task in tasks
    ]
    return "\n".join(lines)


def render(results: Results) -> str:
    """Return the summary of a run's results."""
    sections = {
        "What drives the decision": _drivers(results.drivers),
        f"A way to approval for {results.solved} of {results.declined} declined applications; one of them": (
            _scenario(results.scenario)
        ),
        "Who the applicants are": [f"- {name}: {description}" for name, description in results.personas],
        "In words": results.narrative.splitlines(),
        "Every decision explained": [f"{results.explained_rows} rows in {results.explanations}"],
    }
    return "\n\n".join(_section(title, lines) for title, lines in sections.items())


def _section(title: str, lines: Sequence[str]) -> str:
    return "\n".join([title, "-" * len(title), *(wrapped for line in lines for wrapped in _wrapped(line))])


def _wrapped(line: str) -> list[str]:
    # A path or a bar stays whole, a list item hangs, and a blank line stays one.
    return textwrap.wrap(
        line,
        width=WIDTH,
        initial_indent=INDENT,
        subsequent_indent=INDENT * (2 if line.startswith("- ") else 1),
        break_long_words=False,
        break_on_hyphens=False,
    ) or [""]


def _drivers(drivers: Sequence[tuple[str, float]]) -> list[str]:
    shown = drivers[:TOP_DRIVERS]
    width = max(len(name) for name, _ in shown)
    largest = max(share for _, share in shown)
    return [
        f"{name:<{width}} {share:6.1%}  {'#' * round(BAR_LENGTH * share / largest)}" for name, share in shown
    ]


def _scenario(scenario: Scenario) -> list[str]:
    return [
        f"application {scenario.application}: the prediction rises from {scenario.baseline_prediction:.2f}"
        f" to {scenario.prediction:.2f} with",
        *(f"  {feature}: {value} -> {needed}" for feature, (value, needed) in scenario.changes.items()),
    ]


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} s"
