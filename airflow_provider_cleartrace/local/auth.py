"""Who asks: bearer keys compared in constant time, and the owner a key stands for."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

from airflow_provider_cleartrace.local.refusals import WrongKey

ANYONE = "anyone"
"""The owner of everything on a server that was started without a key."""

_OWNER_DIGITS = 16
"""64 bits tell a server's keys apart, and name a folder without giving the key away."""


class KeyRing:
    """The keys a server accepts. Each key owns its models: another key does not see them.

    ``secret`` is the server's own: it keeps an owner, which is a folder name and part of an upload URL, from
    being a hash that a guessed key could be tried against.
    """

    def __init__(self, keys: Iterable[str], secret: bytes) -> None:
        self._secret = secret
        self._digests = tuple(self._digest(key) for key in keys)

    @property
    def is_open(self) -> bool:
        """Whether the server asks for no key at all."""
        return not self._digests

    def owner(self, authorization: str | None) -> str:
        """Give the owner that an ``Authorization`` header stands for.

        Raises:
            WrongKey: no bearer key, or none of this server's.
        """
        if self.is_open:
            return ANYONE
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise WrongKey("this server needs an API key: send 'Authorization: Bearer <key>'")
        offered = self._digest(key.strip())
        # Every digest is compared, so that the time taken does not tell which key was nearly right.
        matches = [hmac.compare_digest(offered, known) for known in self._digests]
        if not any(matches):
            raise WrongKey("the API key is not one of this server's")
        return offered.hex()[:_OWNER_DIGITS]

    def _digest(self, key: str) -> bytes:
        return hmac.new(self._secret, b"owner:" + key.encode(), hashlib.sha256).digest()
