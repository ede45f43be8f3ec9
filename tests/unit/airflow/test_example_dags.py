"""Every example can be parsed, on any Airflow, without a connection, and costs the DAG processor little."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.airflow.test_imports import HEAVY

EXAMPLES = Path(__file__).parents[3] / "example_dags"
PROGRAM = """
import json, sys
try:
    from airflow.dag_processing.dagbag import DagBag
except ImportError:  # Airflow 2
    from airflow.models.dagbag import DagBag
known = {name.partition(".")[0] for name in sys.modules}
bag = DagBag(sys.argv[1])
files = {dag.fileloc for dag in bag.dags.values()}
loaded = {name.partition(".")[0] for name in sys.modules} - known
print(json.dumps([sorted(files), bag.import_errors, sorted(loaded)]))
"""


@pytest.fixture(scope="module")
def parsed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The files that DAGs were found in, the errors, and the packages that were loaded."""
    settings = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_CONN")}
    home = str(tmp_path_factory.mktemp("airflow"))
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(EXAMPLES)],
        env=settings | {"AIRFLOW_HOME": home, "AIRFLOW__CORE__LOAD_EXAMPLES": "False"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads(run.stdout.splitlines()[-1])


def test_each_file_is_parsed_to_a_dag_without_a_connection(parsed: Any) -> None:
    files, errors, _ = parsed
    assert list(errors.values()) == []
    assert files == sorted(map(str, EXAMPLES.glob("*.py")))


def test_parsing_loads_no_heavy_library(parsed: Any) -> None:
    _, _, loaded = parsed
    assert set(loaded) & set(HEAVY) == set()
