"""A checksum of what is read on its way to somewhere else."""

from __future__ import annotations

import hashlib
import io
from typing import BinaryIO


class DigestedFile(io.RawIOBase):
    """A file that is read from start to end, perhaps more than once; ``sha256`` is of the last time."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """Hand bytes on."""
        block = self._file.read(size)
        self._digest.update(block)
        return block

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Start again."""
        if (offset, whence) != (0, io.SEEK_SET):
            raise io.UnsupportedOperation("only the start can be sought")
        self._digest = hashlib.sha256()
        return self._file.seek(0)

    @property
    def sha256(self) -> str:
        """Hex digest of everything since the last start."""
        return self._digest.hexdigest()
