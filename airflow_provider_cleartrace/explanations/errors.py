"""What can be wrong with a request for calibrated explanations."""

from __future__ import annotations


class ExplanationError(ValueError):
    """The data, the options or the model's answers do not allow honest explanations."""
