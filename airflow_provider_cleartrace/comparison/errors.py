"""What cannot be compared."""

from __future__ import annotations


class ComparisonError(ValueError):
    """Two things cannot be held against each other as asked; the message names the file or model, and why."""
