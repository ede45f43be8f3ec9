"""What a finished task says in the asset events of its outlets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import Asset, AssetAlias

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

MAX_TEXT = 1024
"""Characters of the longest text in an event: ids, paths and figures fit, a narrative belongs into a file."""


def flat_extra(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The scalars of a manifest, those of an object under ``<its name>_<their name>``.

    Lists and objects in an event's extra get lost on some Airflow versions.
    """
    told: dict[str, Any] = {}
    for name, value in manifest.items():
        if isinstance(value, Mapping):
            told |= {f"{name}_{inner}": one for inner, one in value.items() if _fits(one)}
        elif _fits(value):
            told[name] = value
    return told


def _fits(value: Any) -> bool:
    return isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= MAX_TEXT)


def describe(
    context: Context, outlets: Iterable[Any], manifest: Mapping[str, Any], made: Iterable[str]
) -> None:
    """Add a manifest to the events that Airflow records when the task succeeds.

    Args:
        context: Of the task that finishes.
        outlets: What its author declared: an asset gets the manifest as the extra of its event, an alias gets
            an event for each thing the task made. Nothing else gets an event.
        manifest: What the task returns.
        made: URIs of what it made.
    """
    extra = flat_extra(manifest)
    for outlet in outlets:
        if isinstance(outlet, AssetAlias):
            for uri in made:
                context["outlet_events"][outlet].add(Asset(uri=uri), extra=extra)
        elif isinstance(outlet, Asset):
            context["outlet_events"][outlet].extra.update(extra)
