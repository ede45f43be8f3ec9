"""What importing an operator adds to Airflow's own import, in fresh interpreters. Target: under 60 ms."""

from __future__ import annotations

import statistics
import subprocess
import sys

RUNS = 7
PROGRAM = """
import time
start = time.perf_counter()
from airflow.providers.common.compat.sdk import BaseHook, BaseOperator, BaseSensorOperator
from airflow.triggers.base import BaseTrigger
airflow = time.perf_counter()
import airflow_provider_cleartrace.operators.training
ours = time.perf_counter()
print(airflow - start, ours - airflow)
"""


def main() -> None:
    """Print the median of both, and their ratio."""
    pairs = []
    for _ in range(RUNS + 1):
        run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
        pairs.append([float(part) for part in run.stdout.split()[-2:]])
    airflow, ours = (statistics.median(column) * 1000 for column in zip(*pairs[1:], strict=True))
    print(f"Airflow's own import   {airflow:7.0f} ms")
    print(f"operators.training     {ours:7.0f} ms more ({ours / airflow:.1%})")


if __name__ == "__main__":
    main()
