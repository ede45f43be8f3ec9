"""An auth manager for Airflow that tells DAGs apart, which Airflow's simple one does not."""

from __future__ import annotations

from typing import Any

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

DAG = "loans"


class OneDag(SimpleAuthManager):
    """Lets everybody read the XComs of one DAG, and anything else of any."""

    def is_authorized_dag(self, *, access_entity: Any = None, details: Any = None, **_: Any) -> bool:
        return access_entity is not DagAccessEntity.XCOM or (details is not None and details.id == DAG)
