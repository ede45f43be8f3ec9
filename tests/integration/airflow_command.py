"""An empty Airflow of its own, driven by its command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.local_server import LocalServer

ROOT = Path(__file__).parents[2]


def airflow_asks_people() -> bool:
    """Whether this Airflow has human-in-the-loop tasks."""
    try:
        import airflow.providers.standard.operators.hitl  # noqa: F401
    except Exception:
        return False
    return True


below_3_1 = pytest.mark.skipif(airflow_asks_people(), reason="tests/system runs it on a whole Airflow")


class Airflow:
    """Runs ``airflow`` with a home, a folder of DAGs, and ``cleartrace_default`` leading to a server.

    Attributes:
        home: where its database is.
        output: for what its DAGs write: the variable ``cleartrace_output``.
    """

    def __init__(self, home: Path, server: LocalServer, dags: Path, **settings: str) -> None:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
        inherited.pop("PYTHONDONTWRITEBYTECODE", None)
        self.home = home
        self.output = home / "output"
        self._environment = inherited | {
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
            "AIRFLOW_CONN_CLEARTRACE_DEFAULT": json.dumps(
                {"conn_type": "cleartrace", "host": server.base_url, "password": server.api_key}
            ),
            "AIRFLOW_VAR_CLEARTRACE_OUTPUT": str(self.output),
            **settings,
        }

    def __call__(self, *arguments: str, fails: bool = False) -> str:
        """Run a command of Airflow's, and give what it printed."""
        return self._run("-m", "airflow", *arguments, fails=fails)

    def python(self, program: str, *arguments: str) -> str:
        """Run a program beside it, with its settings and its database."""
        return self._run("-c", program, *arguments)

    def _run(self, *command: str, fails: bool = False) -> str:
        run = subprocess.run(
            [sys.executable, *command],
            env=self._environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=300,
        )
        told = run.stdout + run.stderr
        assert fails or run.returncode == 0, told[-5000:]
        return told
