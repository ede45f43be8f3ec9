"""``make demo`` as a person runs it: it ends well, shows every result, and leaves nothing running."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from example_dags.demo.processes import processes_of
from tests.integration import credit_risk_files

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]


def test_the_demo_shows_every_result_and_ends(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "example_dags.demo", "run", "--folder", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        capture_output=True,
        text=True,
        timeout=800,
    )

    assert run.returncode == 0, (run.stdout + run.stderr)[-6000:]
    for part in (
        "upload     success",
        "scenario   success",
        "What drives the decision",
        "A way to approval for ",
        "Who the applicants are",
        "# Good credit: what the model has learned",
        "1000 rows in",
    ):
        assert part in run.stdout
    lines = run.stdout.splitlines()
    waits = [line for line in lines if line.startswith(("fit ", "segment ", "narrative "))]
    assert len(waits) == 3
    # A task that Airflow had to retry found its job done, and did not wait again.
    assert sum(len(re.findall(r"\d s\b", line)) == 2 for line in waits) >= 2
    (folder,) = (tmp_path / "run" / "output").iterdir()
    credit_risk_files.assert_whole(folder)
    assert processes_of(str(tmp_path / "run")) == []
