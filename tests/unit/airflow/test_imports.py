"""Parsing a DAG costs little: the heavy libraries load in the task that needs them."""

from __future__ import annotations

import json
import subprocess
import sys

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
import importlib, json, sys
from airflow.providers.common.compat.sdk import BaseHook, BaseOperator, BaseSensorOperator, Connection
from airflow.triggers.base import BaseTrigger
try:
    from airflow.providers.standard.operators.branch import BranchMixIn
except ImportError:
    from airflow.operators.branch import BranchMixIn
known, added = set(sys.modules), {}
for module in sys.argv[1:]:
    importlib.import_module(module)
    added[module] = sorted({name.partition(".")[0] for name in set(sys.modules) - known})
    known = set(sys.modules)
print(json.dumps(added))
"""


def test_importing_a_module_adds_no_heavy_library_to_airflow_s_own() -> None:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, *MODULES], capture_output=True, text=True, check=True
    )

    added = json.loads(run.stdout.splitlines()[-1])
    assert list(added) == list(MODULES)
    assert {module: set(names) & set(HEAVY) for module, names in added.items()} == {
        module: set() for module in MODULES
    }


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
