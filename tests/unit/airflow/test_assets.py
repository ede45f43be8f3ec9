"""A model has one URI however its server is spelt, and the events of outlets say what a task told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import Asset, AssetAlias

from airflow_provider_cleartrace.assets.events import MAX_TEXT, describe
from airflow_provider_cleartrace.assets.files import file_uri
from airflow_provider_cleartrace.assets.model import cleartrace_model_asset

try:
    from airflow.sdk.execution_time.context import OutletEventAccessors
except ImportError:  # Airflow 2.11
    from airflow.utils.context import OutletEventAccessors

strict = pytest.mark.filterwarnings("error:The dataset URI.*:UserWarning")
"""What Airflow 3 refuses, 2.11 warns of."""


class TestUri:
    @pytest.mark.parametrize(
        ("base_url", "uri"),
        [
            ("https://api.example.com", "cleartrace://api.example.com/models/loans"),
            ("HTTPS://API.Example.com:443/", "cleartrace://api.example.com/models/loans"),
            ("https://api.example.com:8443", "cleartrace://api.example.com:8443/models/loans"),
            ("http://api.example.com", "cleartrace://api.example.com:80/models/loans"),
            ("http://127.0.0.1:8787", "cleartrace://127.0.0.1:8787/models/loans"),
            ("http://[::1]:8787", "cleartrace://[::1]:8787/models/loans"),
            ("https://example.com/cleartrace/", "cleartrace://example.com/cleartrace/models/loans"),
        ],
    )
    def test_is_one_for_each_server_however_it_is_spelt(self, base_url: str, uri: str) -> None:
        asset = cleartrace_model_asset("loans", base_url)
        assert asset.uri == asset.normalized_uri == uri

    @pytest.mark.parametrize(
        "written",
        ["CLEARTRACE://H/models/Loans", "cleartrace://h:443/models/Loans/", "cleartrace://h//models/Loans#a"],
    )
    def test_that_an_author_writes_becomes_the_same(self, written: str) -> None:
        assert Asset(uri=written).uri == "cleartrace://h/models/Loans"

    @strict
    @pytest.mark.parametrize(
        "wrong",
        [
            "cleartrace:///models/loans",
            "cleartrace://h",
            "cleartrace://h/loans",
            "cleartrace://h/models/",
            "cleartrace://h/models/-a",
            "cleartrace://h/models/loans?version=1",
            "cleartrace://h:port/models/loans",
        ],
    )
    def test_that_names_no_model_is_refused(self, wrong: str) -> None:
        with pytest.raises((ValueError, UserWarning)):
            Asset(uri=wrong)

    def test_of_the_hosted_service_is_the_default(self) -> None:
        assert cleartrace_model_asset("m").uri == "cleartrace://cleartrace-api.onrender.com/models/m"
        assert cleartrace_model_asset("m", extra={"team": "risk"}).extra == {"team": "risk"}


class TestFiles:
    @pytest.mark.parametrize(
        ("written", "uri"),
        [
            ("/data/new loans.csv", "file:///data/new%20loans.csv"),
            ("/data/loans.parquet#rows=0-1000", "file:///data/loans.parquet"),
            ("/data/parts/", "file:///data/parts"),
            ("s3://bucket/parts/", "s3://bucket/parts"),
            ("file:///data/loans.csv", "file:///data/loans.csv"),
        ],
    )
    def test_have_one_uri_however_a_task_names_them(self, written: str, uri: str) -> None:
        assert file_uri(written) == uri

    def test_by_a_relative_path_lie_in_the_worker_s_directory(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert file_uri("loans.csv") == (tmp_path / "loans.csv").as_uri()


MANIFEST = {
    "schema_version": 1,
    "model_id": "loans",
    "quality": 0.5,
    "n_clusters": 4,
    "fidelity": {"r2": 0.9, "by_class": [1, 2]},
    "persona_names": ["a", "b"],
    "narrative": "x" * (MAX_TEXT + 1),
}
FLAT = {"schema_version": 1, "model_id": "loans", "quality": 0.5, "n_clusters": 4, "fidelity_r2": 0.9}


class TestEvents:
    def described(self, outlets: list[Any], made: list[str]) -> Any:
        events = OutletEventAccessors()
        describe({"outlet_events": events}, outlets, MANIFEST, made)  # type: ignore[arg-type]
        return events

    def test_carry_scalars_alone_beside_what_the_author_added(self) -> None:
        outlet = cleartrace_model_asset("loans")
        events = OutletEventAccessors()
        events[outlet].extra["ticket"] = "R-7"
        describe({"outlet_events": events}, [outlet], MANIFEST, [])  # type: ignore[arg-type]
        assert events[outlet].extra == {"ticket": "R-7", **FLAT}

    def test_of_an_alias_are_of_what_was_made(self) -> None:
        alias = AssetAlias("latest")
        events = self.described([alias], ["cleartrace://h/models/loans", "s3://bucket/personas.json"])
        accessor = events[alias]
        added = getattr(accessor, "asset_alias_events", None) or accessor.dataset_alias_events
        assert [event.extra if hasattr(event, "extra") else event["extra"] for event in added] == [FLAT] * 2

    def test_are_of_declared_outlets_alone(self) -> None:
        assert len(self.described([], ["cleartrace://h/models/loans"])) == 0
