"""The methods by which Airflow's OpenLineage provider asks an operator what it reads and makes."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_cleartrace.assets.files import file_uri
from airflow_provider_cleartrace.assets.model import model_uri

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage


class ModelLineage:
    """A task around a model: the files it reads and writes, the model it uses or makes.

    All is derived from the operator's arguments and from what the finished task told, the same in every mode.
    The service is not asked, and nothing that goes wrong here reaches the task.
    """

    makes_model: ClassVar[bool] = False
    """Whether the task makes its model, rather than using one that exists."""

    log: Any

    _worked_on: tuple[str, str] | None = None
    """Id and URI of the model, once the task knows them."""

    _told: Mapping[str, Any] = {}
    """The manifest of the finished task."""

    _column_sources: Mapping[str, Sequence[str]] = {}
    """For each column of the output the columns of the data that it comes from, once the task knows them."""

    @abc.abstractmethod
    def _server_url(self) -> str:
        """Where the model's server is, as the connection says."""

    def read_uris(self) -> list[str]:
        """What the task reads: its data, and the model that it uses, or trains without data of its own."""
        data = _files(self, "data")
        return data if self.makes_model and data else [*self._model_uris(), *data]

    def made_uris(self) -> list[str]:
        """What the task makes: its model, where it makes one, and its output file."""
        return [*(self._model_uris() if self.makes_model else []), *_files(self, "output_uri")]

    def _model_uris(self) -> list[str]:
        if self._worked_on is not None:
            return [self._worked_on[1]]
        if model_id := getattr(self, "model_id", None):
            return [model_uri(model_id, self._server_url())]
        return []

    def get_openlineage_facets_on_start(self) -> OperatorLineage[Any, Any] | None:
        """What is known before the task runs; a derived model id is not."""
        return self._lineage()

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any] | None:
        """What the task read and made, and its model's figures."""
        return self._lineage()

    def get_openlineage_facets_on_failure(self, task_instance: Any) -> OperatorLineage[Any, Any] | None:
        """What the task read and was to make."""
        return self._lineage()

    def _lineage(self) -> OperatorLineage[Any, Any] | None:
        try:
            from airflow.providers.openlineage.extractors import (  # noqa: PLC0415  (an optional extra)
                OperatorLineage,
            )

            from airflow_provider_cleartrace.lineage.columns import column_facets  # noqa: PLC0415  (as above)
            from airflow_provider_cleartrace.lineage.datasets import dataset_of  # noqa: PLC0415  (as above)
            from airflow_provider_cleartrace.lineage.facets import (  # noqa: PLC0415  (as above)
                FACET_NAME,
                model_facet,
            )
        except ImportError as error:
            self.log.debug("no lineage: %s", error)
            return None
        try:
            told = self._told if self.makes_model else {}  # others tell of their rows, not of the model
            model_id = self._worked_on[0] if self._worked_on else getattr(self, "model_id", None)
            facets = column_facets(self._column_sources, [dataset_of(uri) for uri in _files(self, "data")])
            return OperatorLineage(
                inputs=[dataset_of(uri) for uri in self.read_uris()],
                outputs=[dataset_of(uri, facets) for uri in self.made_uris()],
                run_facets={FACET_NAME: model_facet(model_id, getattr(self, "job", None), told)},
            )
        except Exception as error:  # a connection that cannot be read; its text may hold a secret
            self.log.info("no lineage: %s", type(error).__name__)
            return OperatorLineage()


def _files(operator: Any, parameter: str) -> list[str]:
    """The URI in a parameter of the operator, where it has it and it is given."""
    given = getattr(operator, parameter, None)
    return [file_uri(given)] if isinstance(given, str) and given else []
