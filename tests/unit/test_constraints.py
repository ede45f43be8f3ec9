"""What the Makefile builds on when it runs some tests with one set of pins alone."""

from __future__ import annotations

from pathlib import Path

import pytest

CONSTRAINTS = Path(__file__).parents[2] / "constraints"


def pins(name: str) -> dict[str, str]:
    lines = (CONSTRAINTS / name).read_text().splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


@pytest.mark.parametrize(
    "package",
    [
        *(
            "aiohttp",
            "boto3",
            "calibrated-explanations",
            "httpx",
            "Jinja2",
            "joblib",
            "matplotlib",
            "numpy",
            "optuna",
        ),
        *("pandas", "pyarrow", "pydantic", "scikit-learn", "scipy", "starlette", "uvicorn", "xgboost-cpu"),
    ],
)
def test_what_knows_no_airflow_stands_on_the_same_pins(package: str) -> None:
    assert pins("airflow-2.11.txt")[package] == pins("airflow-3.3.txt")[package]
