"""The text that ends the demo: what the tasks' manifests say, for someone who has never seen one."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from example_dags.demo.api import TaskInstance, TaskKey

WIDTH = 100
INDENT = "  "
TOP_DRIVERS = 6
BAR_LENGTH = 30


class MissingResult(RuntimeError):
    """A task did not return what the demo promises to show."""

    def __init__(self, task_id: str, key: str) -> None:
        super().__init__(f"The task {task_id!r} returned nothing under {key!r}.")


def task_table(tasks: Sequence[TaskInstance], deferred: Mapping[TaskKey, float]) -> str:
    """Return a line for each task: state, seconds from start to end, and how many of them it was deferred."""
    width = max(len("task"), *(len(task.label) for task in tasks))
    lines = [f"{'task':<{width}}  {'state':<16}{'duration':>10}{'deferred':>10}"]
    lines += [
        f"{task.label:<{width}}  {task.state or 'none':<16}{_seconds(task.duration):>10}"
        f"{_seconds(deferred.get(task.key)):>10}"
        for task in tasks
    ]
    return "\n".join(lines)


def render(manifests: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the summary of a run of the DAG ``credit_risk``.

    Args:
        manifests: What the tasks returned, by task id. ``interpret`` has ``drivers``, the name and share of
            each feature, largest first; ``scenario`` an ``example`` with ``baseline_prediction``,
            ``prediction`` and ``changes``, from feature to ``from`` and ``to``; ``segment`` the ``personas``,
            each with ``persona_name`` and ``persona_description``; ``narrative`` the ``narrative``;
            ``explain`` the ``output`` and the number of ``rows``.

    Raises:
        MissingResult: One of these is absent or empty.
    """
    sections = {
        "What drives the decision": _drivers(_required(manifests, "interpret", "drivers")),
        "One way to another decision": _scenario(_required(manifests, "scenario", "example")),
        "Who the applicants are": _personas(_required(manifests, "segment", "personas")),
        "In words": _paragraphs(_required(manifests, "narrative", "narrative")),
        "Explanations, row by row": [
            f"{_required(manifests, 'explain', 'rows')} rows in {_required(manifests, 'explain', 'output')}"
        ],
    }
    return "\n\n".join(_section(title, lines) for title, lines in sections.items())


def _required(manifests: Mapping[str, Mapping[str, Any]], task_id: str, key: str) -> Any:
    value = (manifests.get(task_id) or {}).get(key)
    if not value:
        raise MissingResult(task_id, key)
    return value


def _section(title: str, lines: Iterable[str]) -> str:
    return "\n".join([title, "-" * len(title), *((INDENT + line).rstrip() for line in lines)])


def _drivers(drivers: Sequence[tuple[str, float]]) -> list[str]:
    shown = drivers[:TOP_DRIVERS]
    width = max(len(name) for name, _ in shown)
    largest = max(share for _, share in shown)
    return [
        f"{name:<{width}}  {share:6.1%}  {'#' * max(1, round(BAR_LENGTH * share / largest))}"
        for name, share in shown
    ]


def _scenario(example: Mapping[str, Any]) -> list[str]:
    changes = [
        f"{feature}: {change['from']} -> {change['to']}" for feature, change in example["changes"].items()
    ]
    return [f"prediction: {example['baseline_prediction']:.2f} -> {example['prediction']:.2f}", *changes]


def _personas(personas: Iterable[Mapping[str, Any]]) -> list[str]:
    return [
        line
        for persona in personas
        for line in textwrap.wrap(
            f"{persona['persona_name']}: {persona['persona_description']}",
            width=WIDTH - len(INDENT),
            subsequent_indent=INDENT,
        )
    ]


def _paragraphs(text: str) -> list[str]:
    return [
        line for part in text.splitlines() for line in textwrap.wrap(part, width=WIDTH - len(INDENT)) or [""]
    ]


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} s"
