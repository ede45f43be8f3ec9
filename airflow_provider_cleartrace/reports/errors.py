"""What is wrong with what a report is asked for."""

from __future__ import annotations


class ReportError(ValueError):
    """A report cannot be made as asked; the message names the input and what to do, never a row of data."""
