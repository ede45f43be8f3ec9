"""What Airflow is told about this provider; one constant feeds every version's connection form."""

from __future__ import annotations

from typing import Any

PROVIDER_INFO: dict[str, Any] = {
    "package-name": "airflow-provider-cleartrace",
    "name": "ClearTrace",
    "description": "Train, distil, explain and narrate models on tables with ClearTrace.",
}
