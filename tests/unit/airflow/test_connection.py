"""A connection gives the same settings however it was entered, and its form is one constant everywhere."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest
from airflow.providers.common.compat.sdk import Connection

from airflow_provider_cleartrace.api.errors import ValidationError
from airflow_provider_cleartrace.hooks.cleartrace import ClearTraceHook
from airflow_provider_cleartrace.hooks.connection import settings_from
from airflow_provider_cleartrace.hooks.teacher import teacher_from_connection
from airflow_provider_cleartrace.provider_info import FIELD_BEHAVIOUR, FORM_FIELDS, PROVIDER_INFO

KEY = "k/ey+canary"
PAGE = "https://console.example.com/models?id={model_id}"
EXTRA = {
    "timeout": 30,
    "poll_interval": 0.5,
    "max_retries": 1,
    "verify": False,
    "paths": {"fit": "/v2/fit"},
    "model_page": PAGE,
}
AS_STRINGS = {
    "timeout": "30",
    "poll_interval": "0.5",
    "max_retries": "1",
    "verify": "false",
    "paths": '{"fit": "/v2/fit"}',
    "model_page": PAGE,
}


def settings(**fields: Any):
    extra = fields.pop("extra", {})
    connection = Connection(conn_id="c", conn_type="cleartrace", **fields)
    return settings_from(connection, extra)


class TestForms:
    @pytest.mark.parametrize(
        "value",
        [
            json.dumps({"conn_type": "cleartrace", "host": "http://h:8787", "password": KEY, "extra": EXTRA}),
            json.dumps(
                {
                    "conn_type": "cleartrace",
                    "host": "http://h:8787",
                    "password": KEY,
                    "extra": json.dumps(AS_STRINGS),
                }
            ),
            json.dumps(
                {
                    "conn_type": "cleartrace",
                    "host": "h",
                    "schema": "http",
                    "port": 8787,
                    "password": KEY,
                    "extra": {f"extra__cleartrace__{name}": text for name, text in AS_STRINGS.items()},
                }
            ),
            f"cleartrace://:{quote(KEY, safe='')}@{quote('http://h:8787', safe='')}/?"
            f"__extra__={quote(json.dumps(EXTRA))}",
            f"cleartrace://:{quote(KEY, safe='')}@h:8787/http?__extra__={quote(json.dumps(AS_STRINGS))}",
        ],
        ids=["json", "json-strings", "json-parts-prefixed", "uri-whole-url", "uri-parts"],
    )
    def test_every_form_gives_the_same_settings(self, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
        monkeypatch.setenv("AIRFLOW_CONN_C", value)

        read = ClearTraceHook("c").settings()

        assert (read.base_url, read.api_key) == ("http://h:8787", KEY)
        assert (read.timeout, read.poll_interval, read.max_retries) == (30.0, 0.5, 1)
        assert read.verify is False
        assert read.paths == {"fit": "/v2/fit"}
        assert read.model_page == PAGE

    def test_a_connection_survives_the_trip_through_its_uri(self, monkeypatch: pytest.MonkeyPatch) -> None:
        first = Connection(
            conn_id="c", conn_type="cleartrace", host="https://h/api", password=KEY, extra=json.dumps(EXTRA)
        )
        monkeypatch.setenv("AIRFLOW_CONN_C", first.get_uri())

        again = ClearTraceHook("c").settings()

        assert (again.base_url, again.api_key, again.timeout) == ("https://h/api", KEY, 30.0)

    def test_a_bare_host_is_https(self) -> None:
        assert settings(host="h").base_url == "https://h"
        assert settings(host="h", port=8443).base_url == "https://h:8443"
        assert settings(host="http://h:1", port=2).base_url == "http://h:1"
        assert settings(host="http://[::1]", port=8787).base_url == "http://[::1]:8787"

    def test_what_the_client_refuses_is_named_with_the_connection(self) -> None:
        with pytest.raises(ValidationError, match=r"connection 'c': verify: .*/nope\.pem"):
            settings(host="h", extra={"verify": "/nope.pem"})

    def test_what_is_left_out_has_the_client_s_defaults(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("OUTERPRODUCT_API_URL", raising=False)
        monkeypatch.delenv("OUTERPRODUCT_API_KEY", raising=False)
        read = settings(extra={"timeout": "", "verify": " ", "somebody_elses": {"kept": 1}})
        assert read.base_url == "https://cleartrace-api.onrender.com"
        assert (read.timeout, read.poll_interval, read.max_retries, read.verify) == (300, 2, 3, True)

    @pytest.mark.parametrize(
        ("text", "value"), [("true", True), ("No", False), ("0", False), (__file__, __file__)]
    )
    def test_verify_is_a_flag_or_a_path(self, text: str, value: object) -> None:
        assert settings(host="h", extra={"verify": text}).verify == value

    @pytest.mark.parametrize(
        ("extra", "name"),
        [
            ({"timeout": "soon"}, "timeout"),
            ({"timeout": "nan"}, "timeout"),
            ({"timeout": True}, "timeout"),
            ({"max_retries": 2.7}, "max_retries"),
            ({"max_retries": "inf"}, "max_retries"),
            ({"paths": "[1]"}, "paths"),
            ({"paths": "{"}, "paths"),
            ({"model_page": 1}, "model_page"),
        ],
    )
    def test_a_field_that_cannot_be_read_is_named_with_its_connection(
        self, extra: dict[str, Any], name: str
    ) -> None:
        with pytest.raises(ValidationError, match=f"connection 'c'.*'{name}'"):
            settings(host="h", password=KEY, extra=extra)


def test_a_renewed_key_is_for_its_own_server_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "AIRFLOW_CONN_C", '{"conn_type": "cleartrace", "host": "https://one.test", "password": "new"}'
    )
    hook = ClearTraceHook("c")

    assert hook.renewed_key("https://one.test", "old") == "new"
    assert hook.renewed_key("https://other.test", "old") is None


class TestModelPage:
    def test_of_a_model_is_that_of_clear_trace_local_by_default(self) -> None:
        assert settings(host="http://h:8787/api/").model_url("a.b-1") == "http://h:8787/api/#a.b-1"

    def test_is_what_the_connection_says_with_the_id_quoted(self) -> None:
        read = settings(host="http://h", password=KEY, extra={"model_page": f" {PAGE} "})
        assert read.model_url("a/b c&d") == "https://console.example.com/models?id=a%2Fb%20c%26d"

    @pytest.mark.parametrize(
        ("page", "reason"),
        [
            ("https://console.example.com/models", "with {model_id} in it"),
            ("javascript:alert('{model_id}')", "must be an http"),
            ("/models/{model_id}", "must be an http"),
            ("https://user:canary@console.example.com/{model_id}", "no credentials"),
            ("https://canary@console.example.com/{model_id}", "no credentials"),
            ("https://{model_id}.example.com/canary", "behind its host"),
            ("https://[canary/{model_id}", "is no URL"),
        ],
    )
    def test_that_is_none_is_refused_without_its_text(self, page: str, reason: str) -> None:
        with pytest.raises(ValidationError, match=f"connection 'c': model_page .*{reason}") as refused:
            settings(host="http://h", extra={"model_page": page})
        assert "canary" not in str(refused.value)


class TestForm:
    def test_the_provider_s_info_is_the_one_constant(self) -> None:
        (entry,) = PROVIDER_INFO["connection-types"]
        assert entry["connection-type"] == ClearTraceHook.conn_type
        assert entry["conn-fields"] is FORM_FIELDS
        assert entry["ui-field-behaviour"] is FIELD_BEHAVIOUR

    def test_the_2_11_form_has_the_same_fields(self) -> None:
        pytest.importorskip("flask_appbuilder")
        widgets = ClearTraceHook.get_connection_form_widgets()
        assert set(widgets) == set(FORM_FIELDS)
        assert ClearTraceHook.get_ui_field_behaviour() == {
            "hidden_fields": FIELD_BEHAVIOUR["hidden-fields"],
            "relabeling": FIELD_BEHAVIOUR["relabeling"],
            "placeholders": FIELD_BEHAVIOUR["placeholders"],
        }

    def test_every_field_is_one_the_settings_read(self) -> None:
        assert set(FORM_FIELDS) == set(EXTRA)


class TestTeacher:
    def test_a_password_is_a_bearer_token_and_headers_are_kept(self) -> None:
        connection = Connection(
            conn_id="t",
            conn_type="http",
            host="https://teacher/predict",
            password=KEY,
            extra=json.dumps({"headers": {"X-Team": "risk"}}),
        )
        teacher = teacher_from_connection(connection)
        assert teacher.url == "https://teacher/predict"
        assert teacher.headers == {"Authorization": f"Bearer {KEY}", "X-Team": "risk"}
        assert KEY not in repr(teacher)

    def test_with_a_login_it_is_basic_authentication(self) -> None:
        connection = Connection(conn_id="t", conn_type="http", host="h", login="u", password="p")
        assert teacher_from_connection(connection).headers == {"Authorization": "Basic dTpw"}

    @pytest.mark.parametrize("fields", [{}, {"host": "h", "extra": '{"headers": 1}'}])
    def test_what_is_missing_is_named(self, fields: dict[str, Any]) -> None:
        with pytest.raises(ValidationError, match="connection 't'"):
            teacher_from_connection(Connection(conn_id="t", conn_type="http", **fields))
