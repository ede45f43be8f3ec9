"""What a model's server tells of it, as facts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_cleartrace.reports.facts import Feature, Figure, Model, Setting, figures, is_number

MOST_FEATURES = 250
"""Features in the model card; of more, the first are listed and all are counted."""


def model_facts(model_id: str, schema: Mapping[str, Any], server: str | None = None) -> Model:
    """The model card.

    Args:
        model_id: the model.
        schema: the server's answer: ``feature_names``, ``columns``, and where told ``target``, ``task``,
            ``classes``, ``metrics``, ``fidelity``, ``config``, ``explained``, ``notes`` and ``warnings``.
        server: where the model lives.
    """
    names = [str(name) for name in schema.get("feature_names") or ()]
    columns = schema.get("columns") or {}
    told = [schema.get("explained"), *(schema.get("notes") or ()), *(schema.get("warnings") or ())]
    fidelity = schema.get("fidelity")
    config = schema.get("config")
    return Model(
        model_id=model_id,
        server=server,
        target=schema.get("target"),
        task=schema.get("task"),
        classes=tuple(map(str, schema.get("classes") or ())),
        n_features=len(names),
        features=tuple(_feature(name, columns.get(name) or {}) for name in names[:MOST_FEATURES]),
        metrics=figures(schema.get("metrics")),
        fidelity=(Figure(name="fidelity", value=fidelity),) if is_number(fidelity) else figures(fidelity),
        config=tuple(
            Setting(name=name, value=str(value))
            for name, value in (config.items() if isinstance(config, Mapping) else ())
            if isinstance(value, bool | int | float | str)
        ),
        notes=tuple(str(note) for note in told if note),
    )


def _feature(name: str, column: Mapping[str, Any]) -> Feature:
    levels = column.get("categories")
    known = {
        to: column[key]
        for to, key in (
            ("missing_share", "missing_share"),
            ("minimum", "min"),
            ("mean", "mean"),
            ("maximum", "max"),
        )
        if is_number(column.get(key))
    }
    return Feature(
        name=name, kind=str(column.get("dtype", "")), levels=len(levels) if levels else None, **known
    )
