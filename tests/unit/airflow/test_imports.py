"""Parsing a DAG costs little: the heavy libraries load in the task that needs them."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = (
    "numpy",
    "pandas",
    "pyarrow",
    "boto3",
    "botocore",
    "sklearn",
    "scipy",
    "matplotlib",
    "fastapi",
    "openlineage",
)
MODULES = (
    "airflow_provider_cleartrace",
    "airflow_provider_cleartrace.assets.model",
    "airflow_provider_cleartrace.hooks.cleartrace",
    "airflow_provider_cleartrace.lineage.datasets",
    "airflow_provider_cleartrace.links.model",
    "airflow_provider_cleartrace.operators.training",
    "airflow_provider_cleartrace.operators.inference",
    "airflow_provider_cleartrace.operators.analysis",
    "airflow_provider_cleartrace.operators.calibrated",
    "airflow_provider_cleartrace.operators.compare",
    "airflow_provider_cleartrace.operators.report",
    "airflow_provider_cleartrace.plugin.tabs",
    "airflow_provider_cleartrace.sensors.job",
    "airflow_provider_cleartrace.triggers.job",
    "airflow_provider_cleartrace.triggers.ready",
    "airflow_provider_cleartrace.decorators.training",
)
PROGRAM = """
import sys
from airflow.providers.common.compat.sdk import BaseHook, BaseOperator, BaseSensorOperator, Connection
from airflow.providers.common.compat.sdk import BranchMixIn
from airflow.triggers.base import BaseTrigger
before = set(sys.modules)
import importlib
importlib.import_module(sys.argv[1])
print("added", *sorted({name.partition(".")[0] for name in set(sys.modules) - before}))
"""


@pytest.mark.parametrize("module", MODULES)
def test_importing_a_module_adds_no_heavy_library_to_airflow_s_own(module: str) -> None:
    run = subprocess.run([sys.executable, "-c", PROGRAM, module], capture_output=True, text=True, check=True)

    marker, *added = run.stdout.splitlines()[-1].split()
    assert marker == "added"
    assert not set(added) & set(HEAVY)


def test_no_module_of_ours_uses_a_deprecated_import() -> None:
    run = subprocess.run(
        [
            sys.executable,
            "-W",
            "error::DeprecationWarning:airflow_provider_cleartrace",
            "-c",
            f"import importlib; [importlib.import_module(m) for m in {MODULES}]",
        ],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert "DeprecatedImportWarning" not in run.stderr
