"""Looks for secrets in all that a stack has written."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from tests.system.recovery.databases import PostgreSql, Sqlite

#: The name of what is no file: the tables of a database that may keep values compressed.
TABLES = "tables"


class Written:
    """Every file below the folders, the databases' own logs of what was there before included."""

    def __init__(self, folders: Sequence[Path], database: PostgreSql | Sqlite) -> None:
        self._folders = folders
        self._database = database

    def secrets(self, named: Mapping[str, str]) -> list[str]:
        """Tell which of the named secrets can be read where."""
        forms = {name: _forms(secret) for name, secret in named.items()}
        return [
            f"{name} in {place}"
            for place, content in self._contents()
            for name, written in forms.items()
            if any(form in content for form in written)
        ]

    def places_of(self, text: str) -> set[str]:
        """Tell where a text stands."""
        return {place for place, content in self._contents() if text.encode() in content}

    def _contents(self) -> Iterator[tuple[str, bytes]]:
        yield TABLES, self._database.dump()
        for folder in self._folders:
            for path in folder.rglob("*"):
                # Files come and go while the stack runs, and a socket is none.
                with contextlib.suppress(FileNotFoundError):
                    if path.is_file():
                        yield str(path), path.read_bytes()


def _forms(secret: str) -> set[bytes]:
    """A secret as it is, in a URL, in JSON, and in basic authentication without a login."""
    plain = secret.encode()
    return {
        plain,
        quote(secret, safe="").encode(),
        json.dumps(secret)[1:-1].encode(),
        base64.b64encode(plain).rstrip(b"="),
    }
