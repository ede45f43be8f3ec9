"""The stack that the scenarios share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from example_dags.demo.stack import Stack
from tests.system.recovery.bench import TEACHER_PASSWORD, Bench
from tests.system.recovery.databases import database
from tests.system.recovery.held_teacher import held_teacher

DAGS = Path(__file__).parents[1] / "dags"

#: One more process than is needed, so that jobs run and jobs wait.
CLEARTRACE_FLAGS = ("--workers", "2", "--access-log", "--allow-predict-host", "127.0.0.1")

#: A triggerer that is silent for so long is taken for dead: less than the default, for the tests wait for it.
SETTINGS = {
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "20",
}


@pytest.fixture(scope="package")
def shared_bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("recovery")
    with (
        database() as tables,
        held_teacher() as teacher,
        Stack(
            folder / "run",
            DAGS,
            cleartrace_flags=CLEARTRACE_FLAGS,
            settings={**SETTINGS, **tables.settings},
        ) as stack,
    ):
        rows = "".join(f"{i % 17},{i % 5}\n" for i in range(60))
        (stack.output / "rows.csv").write_text(f"income,debt\n{rows}", encoding="utf-8")
        connection = {"connection_id": "teacher", "conn_type": "http", "host": teacher.url}
        stack.api.request("POST", "/connections", {**connection, "password": TEACHER_PASSWORD})
        yield Bench(stack, teacher, tables)


@pytest.fixture
def bench(shared_bench: Bench) -> Iterator[Bench]:
    """The shared bench, its teacher held back, its requests counted from zero."""
    shared_bench.begin()
    yield shared_bench
    shared_bench.end()
