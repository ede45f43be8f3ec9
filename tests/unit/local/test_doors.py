"""Keys, signatures and flags: who gets in, and how the server is started."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from airflow_provider_cleartrace.local.auth import ANYONE, KeyRing
from airflow_provider_cleartrace.local.cli import main
from airflow_provider_cleartrace.local.folders import DataDirInUse, Folders
from airflow_provider_cleartrace.local.refusals import BadSignature, WrongKey
from airflow_provider_cleartrace.local.settings import Settings
from airflow_provider_cleartrace.local.store import Store
from airflow_provider_cleartrace.local.uploads import OwnUploads

SECRET = b"secret-of-this-server"


class TestKeyRing:
    def test_each_key_is_an_owner_that_does_not_give_the_key_away(self) -> None:
        ring = KeyRing(["one", "two"], SECRET)
        owners = {ring.owner("Bearer one"), ring.owner("bearer two")}
        assert len(owners) == 2
        assert all(re.fullmatch("[0-9a-f]{16}", owner) for owner in owners)
        assert KeyRing(["one"], b"another secret").owner("Bearer one") not in owners

    @pytest.mark.parametrize(
        "header", [None, "", "one", "Bearer", "Bearer on", "Bearer one two", "Basic one"]
    )
    def test_anything_else_is_refused(self, header: str | None) -> None:
        with pytest.raises(WrongKey):
            KeyRing(["one"], SECRET).owner(header)

    def test_without_keys_anyone_is_the_owner(self) -> None:
        assert KeyRing([], SECRET).owner(None) == ANYONE


class TestDataDirectory:
    def test_the_secret_is_made_once_and_private(self, tmp_path: Path) -> None:
        folders = Folders(tmp_path / "data")
        folders.prepare()
        first = folders.secret()
        assert len(first) == 32
        assert folders.secret() == first
        assert (tmp_path / "data" / "secret").stat().st_mode & 0o077 == 0

    def test_one_server_at_a_time(self, tmp_path: Path) -> None:
        folders = Folders(tmp_path / "data")
        folders.prepare()
        with folders.lock(), pytest.raises(DataDirInUse, match="--data-dir"):
            folders.lock()
        folders.lock().close()


class TestSignatures:
    def test_two_servers_do_not_accept_each_others(self, tmp_path: Path) -> None:
        folders = Folders(tmp_path / "data")
        folders.prepare()
        store = Store(folders.database)
        one, other = (
            OwnUploads(store, folders, secret, max_bytes=10, url_seconds=60)
            for secret in (b"1" * 32, b"2" * 32)
        )
        url = one.presign("owner", "m", "csv", "http://host:1/").upload_url
        assert url.startswith("http://host:1/uploads/owner/m?")
        found = re.search(r"expires=(\d+)&signature=(\w+)", url)
        assert found is not None
        given = {"file_format": "csv", "expires": found[1], "signature": found[2], "content_type": "text/csv"}
        one.verify("owner", "m", **given)
        with pytest.raises(BadSignature):
            other.verify("owner", "m", **given)
        with pytest.raises(BadSignature):
            one.verify("owner", "m2", **given)
        with pytest.raises(BadSignature):
            one.verify("owner", "m", **{**given, "signature": "sägnature"})


class TestFlags:
    def test_help_lists_every_limit(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            main(["serve", "--help"])
        shown = capsys.readouterr().out
        for setting in fields(Settings):
            if setting.metadata:
                assert "--" + setting.name.replace("_", "-") in shown

    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
    def test_without_a_key_only_loopback(self, host: str, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            main(["serve", "--data-dir", "unused", "--host", host])
        assert "loopback" in capsys.readouterr().err

    def test_a_limit_of_nothing_is_refused(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            main(["serve", "--data-dir", "unused", "--workers", "0"])
        assert "at least 1" in capsys.readouterr().err
