"""Apache Airflow provider for ClearTrace, the service for explainable models on tables."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"

__all__ = ["__version__", "get_provider_info"]


def get_provider_info() -> dict[str, Any]:
    """Tell Airflow what this distribution provides (entry point ``apache_airflow_provider``)."""
    from airflow_provider_cleartrace.provider_info import PROVIDER_INFO  # noqa: PLC0415  (keeps the package import bare)

    return PROVIDER_INFO
