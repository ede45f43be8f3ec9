"""The example DAGs for real jobs, on one whole Airflow: they start together, each test waits for its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from example_dags.demo.stack import Stack
from tests.system.runs import Run, start

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

EXAMPLES = Path(__file__).parents[2] / "example_dags"

#: Files do not change here, and parsing all of them over and over would cost a core.
SETTINGS = {"AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "600"}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("examples") / "run", EXAMPLES, settings=SETTINGS) as running:
        yield running


@pytest.fixture(scope="module", autouse=True)
def runs(stack: Stack) -> dict[str, Run]:
    """The first run of each example, all under way at once: add yours here."""
    return {dag_id: start(stack, dag_id) for dag_id in ("drift",)}


def test_the_drift_example_follows_its_verdict(runs: dict[str, Run]) -> None:
    states = runs["drift"].ended()
    followed = {"stable": "promote", "drift": "review"}[runs["drift"].told("compare")["verdict"]]
    assert {name: states[name] for name in ("promote", "review")} == {
        name: "success" if name == followed else "skipped" for name in ("promote", "review")
    }
