"""URIs as OpenLineage data sets, by its naming: a namespace for the store, a name for the thing in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

if TYPE_CHECKING:
    from airflow.providers.common.compat.openlineage.facet import Dataset, DatasetFacet


def dataset_of(uri: str, facets: Mapping[str, DatasetFacet] | None = None) -> Dataset:
    """The data set that a ``file://``, ``s3://`` or ``cleartrace://`` URI names.

    A local file is its absolute path in ``file``, an object its key in ``s3://<bucket>``, a model
    ``models/<model_id>`` in ``cleartrace://<host>``.
    """
    from airflow.providers.common.compat.openlineage.facet import (  # noqa: PLC0415  (an optional extra)
        Dataset,
    )

    scheme, _, rest = uri.partition("://")
    if scheme == "file":
        return Dataset(namespace="file", name=unquote(rest), facets=dict(facets or {}))
    store, _, name = rest.partition("/")
    return Dataset(namespace=f"{scheme}://{store}", name=name, facets=dict(facets or {}))


def convert_asset_to_openlineage(asset: Any, lineage_context: Any) -> Dataset:
    """The data set of a ``cleartrace://`` asset; Airflow's OpenLineage provider calls this."""
    return dataset_of(asset.uri)
