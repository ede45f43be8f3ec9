"""Each bad input ends in one clear typed error: in the client, on the wire and in the operator alike."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from airflow_provider_cleartrace.api.errors import (
    AuthenticationError,
    ConflictError,
    JobFailedError,
    NotFoundError,
    OuterProductError,
    TransportError,
    ValidationError,
)
from airflow_provider_cleartrace.client import ClearTrace
from airflow_provider_cleartrace.operators.training import ClearTraceFitOperator
from airflow_provider_cleartrace.storage.errors import StorageError
from tests.integration.airflow_tasks import context, run
from tests.integration.local_server import LocalServer

GOOD = b"age,city,income\n" + b"".join(b"%d,%s,%d\n" % (20 + n, b"ab"[n % 2 :][:1], n % 7) for n in range(40))


@dataclass(frozen=True)
class Case:
    """A file and a fit of it that cannot work; ``names`` is what every error must name."""

    name: str
    names: str
    error: type[Exception] | tuple[type[Exception], ...]
    content: bytes = GOOD
    file: str = "data.csv"
    fit: dict[str, Any] = field(default_factory=dict)

    @property
    def arguments(self) -> dict[str, Any]:
        return {"target": "income"} | self.fit


CASES = [
    Case("target missing", "nothing_like_it", ValidationError, fit={"target": "nothing_like_it"}),
    Case("unknown column", "no_such", ValidationError, fit={"feature_fields": ["age", "no_such"]}),
    Case("unknown config key", "n_hyperopt_stepz", ValidationError, fit={"n_hyperopt_stepz": 3}),
    Case("wrong config value", "mode", ValidationError, fit={"mode": "turbo"}),
    Case(
        "no schema for it",
        "no_such",
        JobFailedError,
        fit={"feature_schema": {"no_such": {"dtype": "category"}}},
    ),
    Case("text target for regression", "city", JobFailedError, fit={"target": "city", "task": "regression"}),
    Case("ragged CSV", "row 42", JobFailedError, content=GOOD + b"1,a,2,3\n"),
    Case("header only", "row", (ValidationError, JobFailedError), content=b"age,city,income\n"),
    Case(
        "duplicate columns",
        "age",
        (ValidationError, JobFailedError),
        content=GOOD.replace(b"city", b"age", 1),
    ),
    Case("a Parquet that is none", "Parquet", ValidationError, file="data.parquet"),
    Case("a pickle", "pickle", ValidationError, file="data.pkl"),
    Case("empty file", "empty", (ValidationError, StorageError), content=b""),
    Case("unsupported extension", ".xlsx", ValidationError, file="data.xlsx"),
]
cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@pytest.fixture
def path(case: Case, tmp_path: Path) -> Path:
    written = tmp_path / case.file
    written.write_bytes(case.content)
    return written


@pytest.fixture
def client(local_server: LocalServer):
    with ClearTrace(local_server.base_url, local_server.api_key, poll_interval=0.05) as made:
        yield made


def names_it(case: Case, error: BaseException) -> None:
    assert case.names in str(error)
    assert "Traceback" not in str(error)


def no_model_is_left(client: ClearTrace, model_id: str) -> None:
    with pytest.raises((NotFoundError, ConflictError)):
        client.load(model_id).predict([[30, "a"]])


@cases
def test_the_client_tells(case: Case, path: Path, client: ClearTrace) -> None:
    def upload_and_fit() -> None:
        client.upload_file(path)
        client.fit(**case.arguments)

    with pytest.raises(case.error) as caught:
        upload_and_fit()

    names_it(case, caught.value)
    if client.model_id:
        no_model_is_left(client, client.model_id)


@cases
def test_the_operator_tells(case: Case, path: Path, connection: LocalServer, client: ClearTrace) -> None:
    config = {
        key: value
        for key, value in case.fit.items()
        if key not in {"target", "feature_fields", "feature_schema"}
    }
    named = {key: value for key, value in case.arguments.items() if key not in config}
    model_id = f"bad-{uuid.uuid4().hex[:8]}"

    with pytest.raises(case.error) as caught:
        run(
            lambda: ClearTraceFitOperator(
                task_id="fit", data=str(path), model_id=model_id, config=config, deferrable=True, **named
            ),
            context("fit"),
        )

    names_it(case, caught.value)
    no_model_is_left(client, model_id)


@cases
def test_the_server_tells(case: Case, path: Path, local_server: LocalServer) -> None:
    file_format = {".csv": "csv", ".parquet": "parquet", ".pkl": "pkl"}.get(path.suffix, path.suffix)
    with local_server.client() as http:
        answer = http.post("/v1/uploads", json={"file_format": file_format})
        if answer.is_success:
            upload = answer.json()
            http.put(
                upload["upload_url"], content=case.content, headers={"Content-Type": upload["content_type"]}
            )
            answer = http.post("/v1/fit", json={"model_id": upload["model_id"], **case.arguments})
        while answer.is_success and answer.json()["status"] != "failed":
            time.sleep(0.05)
            answer = http.get(f"/v1/models/{upload['model_id']}/status")
            assert answer.json()["status"] != "completed"

    assert answer.status_code in {200, 422}
    told = json.dumps(answer.json())
    assert case.names in told or (file_format.startswith(".") and "file_format" in told)
    assert "Traceback" not in told


class TestBeforeTheData:
    """What is wrong with the way to the server, not with the data."""

    def test_a_wrong_key(self, local_server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
        with ClearTrace(local_server.base_url, "wrong") as client:
            client.load("any")
            with pytest.raises(AuthenticationError, match="key"):
                client.interpret()
        self.connect(monkeypatch, local_server.base_url, "wrong")
        with pytest.raises(AuthenticationError, match="key"):
            self.fit()
        with local_server.client("wrong") as http:
            assert http.get("/v1/models/any/status").status_code == 401

    def test_an_unreachable_host(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with (
            pytest.raises(TransportError, match=r"127\.0\.0\.1:9"),
            ClearTrace("http://127.0.0.1:9", "key", max_retries=0) as client,
        ):
            client.health()
        self.connect(monkeypatch, "http://127.0.0.1:9", "key")
        with pytest.raises(TransportError, match=r"127\.0\.0\.1:9"):
            self.fit()

    def connect(self, monkeypatch: pytest.MonkeyPatch, host: str, key: str) -> None:
        monkeypatch.setenv(
            "AIRFLOW_CONN_CLEARTRACE_DEFAULT",
            json.dumps(
                {"conn_type": "cleartrace", "host": host, "password": key, "extra": {"max_retries": 0}}
            ),
        )

    def fit(self) -> None:
        ClearTraceFitOperator(task_id="fit", model_id="any", target="y").execute(context())


class TestRows:
    """What is wrong with the rows a trained model is asked about."""

    @pytest.fixture
    def model_id(self, client: ClearTrace) -> str:
        frame = pd.DataFrame(
            {"age": range(40), "city": list("ab") * 20, "income": [n % 7 for n in range(40)]}
        )
        client.fit(frame, target="income", model_id="bad-rows", mode="fast")
        return "bad-rows"

    @pytest.mark.parametrize(
        ("call", "names"),
        [
            (lambda c: c.predict(pd.DataFrame({"age": [1]})), "city"),
            (lambda c: c.predict(pd.DataFrame({"age": [1], "city": ["a"], "zip": [1]})), "zip"),
            (lambda c: c.predict([[1, "a", 2]]), "3"),
            (lambda c: c.explain([[1]]), "1"),
            (lambda c: c.scenario([{"age": 1, "town": "a"}]), "town"),
            (lambda c: c.scenario([{"age": 1}], constraints={"town": {"immutable": True}}), "town"),
            (lambda c: c.scenario([{"age": 1}], constraints={"age": {"fixed": True}}), "fixed"),
            (lambda c: c.scenario([{"age": 1}], constraints={"city": {"monotonic": "increase"}}), "city"),
            (lambda c: c.scenario([{"age": 1}], desired_class=7), "desired_class"),
            (lambda c: c.predict_and_explain([[1, "a"]], rule_kwargs={"lift": 1}), "lift"),
            (lambda c: c.segment(min_clusters=9, max_clusters=3), "min_clusters"),
        ],
    )
    def test_the_thing_is_named(self, client: ClearTrace, model_id: str, call: Any, names: str) -> None:
        with pytest.raises(OuterProductError, match=names) as caught:
            call(client.load(model_id))
        assert isinstance(caught.value, ValidationError | JobFailedError)
