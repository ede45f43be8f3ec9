"""What is wrong with a file or a place for one."""

from __future__ import annotations


class StorageError(ValueError):
    """A file or folder cannot be read or written as asked; the message names it, never its content."""
