"""What an output is made of, and by whom: the server, the state of its model, the try of the task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_cleartrace.api.models import SchemaResult
from airflow_provider_cleartrace.storage.claims import Claimant
from airflow_provider_cleartrace.storage.errors import StorageError
from airflow_provider_cleartrace.storage.locations import Location

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_cleartrace.client import ClearTrace


def claimant_of(context: Context) -> Claimant:
    """The running try of a task instance."""
    ti = context["ti"]
    return Claimant((ti.dag_id, ti.task_id, ti.run_id, ti.map_index), ti.try_number)


def model_state(client: ClearTrace, model_id: str, schema: SchemaResult) -> dict[str, Any]:
    """What tells a model from every other one, and from itself before it was trained anew under its id.

    The wire has no version of a model. Its global drivers are what training has found out: other data or
    other options give other ones, to the last digit. The schema adds what the server tells besides:
    ClearTrace Local tells the options and the figures of the training.

    Args:
        client: attached to the model.
        model_id: the model.
        schema: what it says of itself.
    """
    return {
        "server": client.session.settings.base_url,
        "model_id": model_id,
        "schema": schema.model_dump(mode="json"),
        "global_drivers": client.interpret().global_drivers.tolist(),
    }


def check_apart(target: Location, *read: Location) -> None:
    """Refuse an output that would replace what it is made from, by whatever path.

    Raises:
        StorageError: it would, or lie within it.
    """
    for place in read:
        if place.real.covers(target.real) or target.real.covers(place.real):
            raise StorageError(
                f"{target.uri}: the output would replace the data it is made from, or lie within it"
            )
