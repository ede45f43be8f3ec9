"""Which requests share a model id, and which never do."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_cleartrace.api.errors import OuterProductError
from airflow_provider_cleartrace.api.models import MODEL_ID_PATTERN
from airflow_provider_cleartrace.operators.identity import Series, derived_model_id
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


@pytest.mark.parametrize(
    ("try_number", "max_tries", "series"),
    [
        (1, 2, Series(0, first_try=True)),
        (2, 2, Series(0, first_try=False)),
        (3, 4, Series(2, first_try=True)),  # cleared after two tries
        (4, 4, Series(2, first_try=False)),
        (1, 0, Series(0, first_try=True)),  # a task that has fewer retries than when it was cleared
    ],
)
def test_a_clear_begins_a_series_of_tries_and_a_retry_does_not(
    try_number: int, max_tries: int, series: Series
) -> None:
    assert Series.of(context(try_number=try_number, max_tries=max_tries), retries=2) == series


def test_a_series_that_starts_over_has_an_id_of_its_own() -> None:
    first = derived_model_id(context(), fingerprint=FINGERPRINT)
    assert derived_model_id(context(), fingerprint=FINGERPRINT, series=0) == first
    assert derived_model_id(context(), fingerprint=FINGERPRINT, series=2) != first


def test_ids_of_the_first_release_are_found_by_later_ones() -> None:
    assert derived_model_id(context(), fingerprint=FINGERPRINT) == "dag-fit-214623cf2e54"


def test_a_manifest_that_xcom_cannot_take_is_refused() -> None:
    with pytest.raises(OuterProductError, match="bytes"):
        manifest(text="x" * 50_000)


def test_a_manifest_names_its_version_and_leaves_out_what_is_unknown() -> None:
    assert manifest(a=1, b=None) == {"schema_version": 1, "a": 1}
