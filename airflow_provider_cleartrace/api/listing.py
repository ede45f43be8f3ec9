"""The answer of ``list_models``, which ClearTrace Local has beyond the documented wire: a key's models."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from airflow_provider_cleartrace.api.models import Result, StatusResult

LISTED_MODELS: Final = 100
"""The most models of one answer: the status page asks for it every few seconds."""


class ListedDriver(Result):
    """One global driver; ``share`` is its part of the drivers of all features."""

    feature: str
    share: float


class ListedModel(StatusResult):
    """A model with the status of its last job; ``updated`` is when that was submitted, started or ended.

    What follows is of the trained model, and null without one: ``drivers`` are its largest, largest first.
    """

    created: datetime
    updated: datetime
    task: str | None = None
    target: str | None = None
    n_features: int | None = None
    drivers: list[ListedDriver] | None = None


class ModelList(Result):
    """The models that changed last; ``total`` counts those of the key that are not listed, too."""

    models: list[ListedModel]
    total: int
