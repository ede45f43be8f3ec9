"""A checksum of what is read on its way to somewhere else."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from typing import BinaryIO


class DigestedFile(io.RawIOBase):
    """A file of known size that is read from start to end, perhaps more than once.

    Args:
        file: The open file.
        size: Its bytes; no more are handed on.
        check: Told the SHA-256 of all bytes (hex) before the last of them are handed on, so that whoever
            receives a file without its ``Content-Length`` drops it where this raises. Also called where the
            file ends too early.
    """

    def __init__(self, file: BinaryIO, size: int, check: Callable[[str], None]) -> None:
        self._file = file
        self._size = size
        self._check = check
        self._start()

    def _start(self) -> None:
        self._digest = hashlib.sha256()
        self._left = self._size

    def read(self, size: int = -1) -> bytes:
        """Hand bytes on."""
        wanted = self._left if size < 0 else min(size, self._left)
        block = self._file.read(wanted)
        self._digest.update(block)
        self._left -= len(block)
        if wanted and not (self._left and block):
            self._check(self.sha256)
        return block

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Start again."""
        if (offset, whence) != (0, io.SEEK_SET):
            raise io.UnsupportedOperation("only the start can be sought")
        self._start()
        return self._file.seek(0)

    @property
    def sha256(self) -> str:
        """Hex digest of everything since the last start."""
        return self._digest.hexdigest()
