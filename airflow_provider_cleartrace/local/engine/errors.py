"""What the engine raises when the caller, or a stored file, is at fault."""

from __future__ import annotations


class InputError(ValueError):
    """Something the caller can mend: a column, a key or a value. The message names it and says what to do."""


class ModelFileError(ValueError):
    """A stored model cannot be read: a file is missing, damaged, or of another format version."""
