"""Explained rows as files hold what every reader of JSON takes."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa

from airflow_provider_cleartrace.explanations.question import Question
from airflow_provider_cleartrace.operators.rules.writer import RulesWriter
from airflow_provider_cleartrace.storage.locations import locate
from airflow_provider_cleartrace.storage.parts import Parts
from tests.unit.explanations.scenes import breast_cancer, shared


def test_an_identity_that_is_not_finite_is_null_in_the_payloads(tmp_path: Path) -> None:
    made, explainer = shared(breast_cancer)
    explanations = explainer.explain(made.rows(2), Question(kind="fast"))
    writer = RulesWriter(Parts(locate(f"{tmp_path}/out/"), lambda: None), 0, first_row=0, plots=())
    writer.write(explanations, pa.record_batch({"limit": [float("inf"), 1.5]}))
    (payloads, *_) = writer.finish().files.values()

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    lines = (tmp_path / "out" / payloads.name).read_text().splitlines()
    assert [json.loads(line, parse_constant=refuse)["id"]["limit"] for line in lines] == [None, 1.5]
