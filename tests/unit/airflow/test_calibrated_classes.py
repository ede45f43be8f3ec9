"""What a calibrated explainer takes a model for, whatever its server tells."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_cleartrace.api.errors import ValidationError
from airflow_provider_cleartrace.api.models import SchemaResult
from airflow_provider_cleartrace.client import ClearTrace
from airflow_provider_cleartrace.hooks.calibrated import explainer_for


def schema(**more: Any) -> SchemaResult:
    return SchemaResult.model_validate(
        {"feature_names": ["x"], "columns": {"x": {"dtype": "number"}}, "target": "y"} | more
    )


@pytest.mark.parametrize(
    ("told", "targets", "given", "classes"),
    [
        ({"classes": ["no", "yes"]}, ["yes"], None, ("no", "yes")),
        ({"classes": []}, [0, 1, 0], None, None),
        ({}, [0, 1, None, 1], None, (0, 1)),
        ({}, ["b", "a", "c"], None, ("a", "b", "c")),
        ({}, [0.5, 1.5, 2.5, float("nan")], None, None),
        ({}, [3, 1, 2], [1, 2, 3], (1, 2, 3)),
    ],
    ids=["told", "told regression", "two numbers", "texts", "many numbers", "given"],
)
def test_classes_are_those_given_or_told_or_those_that_a_target_must_have(
    told: dict[str, Any], targets: list[Any], given: list[Any] | None, classes: Any
) -> None:
    with ClearTrace("http://127.0.0.1:9") as client:
        explainer = explainer_for(client, schema(**told), target="y", targets=targets, classes=given)
    assert explainer.classes == classes


def test_another_target_than_the_model_s_is_refused() -> None:
    with ClearTrace("http://127.0.0.1:9") as client, pytest.raises(ValidationError, match="'y', not on 'z'"):
        explainer_for(client, schema(), target="z", targets=[0, 1])
