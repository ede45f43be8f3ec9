"""Which columns of the data each column of an output comes from, for OpenLineage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow.providers.common.compat.openlineage.facet import Dataset, DatasetFacet

MOST_FEATURES = 500
"""Features up to which columns are told: an event is one message, which grows by some 500 bytes for each."""


def column_sources(
    columns: Sequence[str], features: Sequence[str], copied: Sequence[str], numbered: str
) -> dict[str, Sequence[str]]:
    """Sources of the columns of what a model says of rows.

    A copied column comes from itself, ``driver_<feature>`` and ``agop_<feature>`` from their feature, the row
    number from none, everything else from all features.
    """
    if len(features) > MOST_FEATURES:
        return {}
    own = {f"{kind}_{name}": [name] for kind in ("driver", "agop") for name in features}
    own |= {numbered: []} | {name: [name] for name in copied}
    return {column: own.get(column, features) for column in columns if own.get(column) != []}


def column_facets(
    sources: Mapping[str, Sequence[str]], datasets: Sequence[Dataset]
) -> dict[str, DatasetFacet]:
    """The facet ``columnLineage`` of an output that was made from a data set; none where nothing is known."""
    from airflow.providers.common.compat.openlineage.facet import (  # noqa: PLC0415  (an optional extra)
        ColumnLineageDatasetFacet,
        Fields,
        InputField,
    )

    if not sources or not datasets:
        return {}
    data = datasets[0]
    fields = {
        column: Fields(
            inputFields=[InputField(namespace=data.namespace, name=data.name, field=name) for name in names],
            transformationDescription="copied" if list(names) == [column] else "what the model says",
            transformationType="IDENTITY" if list(names) == [column] else None,
        )
        for column, names in sources.items()
    }
    return {"columnLineage": ColumnLineageDatasetFacet(fields=fields)}
