"""Which requests share a model id, and which never do."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_cleartrace.api.errors import OuterProductError
from airflow_provider_cleartrace.api.models import MODEL_ID_PATTERN
from airflow_provider_cleartrace.operators.identity import derived_model_id
from airflow_provider_cleartrace.operators.manifest import manifest


def context(**fields: Any) -> dict[str, Any]:
    ti = {"dag_id": "dag", "task_id": "fit", "run_id": "r1", "map_index": -1, "try_number": 1}
    return {"ti": SimpleNamespace(**ti | fields)}


FINGERPRINT = {"data": "sha256:aa", "target": "y", "config": {"mode": "fast"}}


def test_a_retry_asks_for_the_same_model() -> None:
    assert derived_model_id(context(), fingerprint=FINGERPRINT) == derived_model_id(
        context(try_number=2), fingerprint=dict(reversed(FINGERPRINT.items()))
    )


@pytest.mark.parametrize(
    ("fields", "fingerprint", "generation"),
    [
        ({"run_id": "r2"}, FINGERPRINT, 0),
        ({"dag_id": "other"}, FINGERPRINT, 0),
        ({"task_id": "other"}, FINGERPRINT, 0),
        ({"map_index": 3}, FINGERPRINT, 0),
        ({}, FINGERPRINT | {"data": "sha256:bb"}, 0),
        ({}, FINGERPRINT | {"config": {"mode": "default"}}, 0),
        ({}, FINGERPRINT, 1),
    ],
)
def test_another_request_asks_for_another_model(
    fields: dict[str, Any], fingerprint: dict[str, Any], generation: int
) -> None:
    first = derived_model_id(context(), fingerprint=FINGERPRINT)
    assert derived_model_id(context(**fields), fingerprint=fingerprint, generation=generation) != first


@pytest.mark.parametrize("dag_id", ["group.sub", "übung / 1", "-x-", "a" * 300, "日本"])
def test_every_id_is_one_safe_path_segment(dag_id: str) -> None:
    assert re.match(MODEL_ID_PATTERN, derived_model_id(context(dag_id=dag_id), fingerprint={}))


def test_a_manifest_that_xcom_cannot_take_is_refused() -> None:
    with pytest.raises(OuterProductError, match="bytes"):
        manifest(text="x" * 50_000)


def test_a_manifest_names_its_version_and_leaves_out_what_is_unknown() -> None:
    assert manifest(a=1, b=None) == {"schema_version": 1, "a": 1}
