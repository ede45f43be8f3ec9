"""Tasks that tell what a model has learned about a data set: personas and a narrative."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from airflow_provider_cleartrace.api.errors import ValidationError
from airflow_provider_cleartrace.api.models import JobResult, SchemaResult
from airflow_provider_cleartrace.client import ClearTrace
from airflow_provider_cleartrace.operators.arguments import check_count
from airflow_provider_cleartrace.operators.columns import text_columns
from airflow_provider_cleartrace.operators.jobs.operator import ClearTraceJobOperator
from airflow_provider_cleartrace.operators.jobs.submission import JobRequest
from airflow_provider_cleartrace.operators.jobs.unchanged import check_unchanged
from airflow_provider_cleartrace.operators.manifest import LISTED
from airflow_provider_cleartrace.storage.errors import StorageError
from airflow_provider_cleartrace.storage.filters import RowFilter
from airflow_provider_cleartrace.storage.locations import Location
from airflow_provider_cleartrace.storage.publishing import publish_bytes
from airflow_provider_cleartrace.storage.reading import read_frame

if TYPE_CHECKING:
    import pandas as pd

SHORT_NARRATIVE = 16 * 1024
"""Bytes of a narrative that still travel in the manifest; a longer one needs an ``output_uri``."""


class _AnalysisOperator(ClearTraceJobOperator):
    """What segmentation and narrative share: a trained model, a data set, a file for the result."""

    output_extension: str
    _fingerprint: str | None = None

    def __init__(
        self,
        *,
        model_id: str,
        data: str | None = None,
        filter: Sequence[Any] | None = None,
        output_uri: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model_id = model_id
        self.data = data
        self.filter = filter
        self.output_uri = output_uri

    def _shape(self) -> dict[str, Any]:
        """What shapes the result besides the model and the data (JSON)."""
        raise NotImplementedError

    def _check(self) -> None:
        """Refuse what cannot work before anything is computed for it."""
        self._output()
        if self._where() and not self.data:
            raise ValidationError(f"{self.task_id}: filter chooses rows of data, which is not given")

    def _where(self) -> RowFilter | None:
        return RowFilter.parse(self.filter) if self.filter else None

    def request(self) -> JobRequest:
        """The telling of this model on this data."""
        self._check()
        self._fingerprint = self.locate(self.data).fingerprint() if self.data else None
        shape = self._shape() | {"data": self._fingerprint, "filter": self.filter}
        return JobRequest(job=self.job, fingerprint=shape, model_id=self.model_id)

    def _read(self, **options: Any) -> pd.DataFrame:
        """The wanted rows of ``data``, if it is what the task has asked about."""
        location = self.locate(str(self.data))
        frame = read_frame(location, where=self._where(), **options)
        check_unchanged(location, self._fingerprint)
        return frame

    def _output(self) -> Location | None:
        """Where the result goes, checked before anything is computed for it."""
        if not self.output_uri:
            return None
        location = self.locate(self.output_uri)
        if location.suffix != self.output_extension:
            raise StorageError(f"{location.uri}: {self.output_extension} is written here")
        return location

    def _publish(self, content: str) -> dict[str, Any]:
        location = self._output()
        if location is None:
            return {}
        publish_bytes(location, content.encode())
        return {"output_uri": location.uri}


class ClearTraceSegmentOperator(_AnalysisOperator):
    """Groups rows by how the model explains them, and names the groups.

    Returns a manifest with ``model_id``, ``n_clusters``, ``quality``, ``rows`` and ``persona_names``;
    ``output_uri`` takes the whole result, one cluster id a row and every persona, as JSON.

    Args:
        model_id: A trained model.
        data: Path or URI of the rows; by default the training data.
        filter: Which rows of ``data`` are wanted: conditions ``[column, operator, value]``; see
            :class:`~.RowFilter`.
        target: Column of ``data`` with the outcomes, shown for each persona.
        min_clusters: Fewest clusters to try.
        max_clusters: Most clusters to try.
        n_search_steps: Number of candidate clusterings.
        use_agent: Let the service write persona texts with a language model, where it has one.
        kpi_field: Business name of the target.
        problem_context: What the personas are for.
        output_uri: A ``.json`` file for the whole result.
        **kwargs: See :class:`~.ClearTraceJobOperator`.
    """

    job = "segment"
    output_extension = ".json"
    template_fields: Sequence[str] = (
        "model_id",
        "data",
        "filter",
        "target",
        "kpi_field",
        "problem_context",
        "output_uri",
        "on_existing",
    )

    def __init__(
        self,
        *,
        target: str | None = None,
        min_clusters: int = 4,
        max_clusters: int = 10,
        n_search_steps: int = 50,
        use_agent: bool | None = None,
        kpi_field: str | None = None,
        problem_context: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_count("min_clusters", min_clusters, least=2)
        check_count("max_clusters", max_clusters, least=min_clusters)
        check_count("n_search_steps", n_search_steps, least=1)
        self.target = target
        self.min_clusters = min_clusters
        self.max_clusters = max_clusters
        self.n_search_steps = n_search_steps
        self.use_agent = use_agent
        self.kpi_field = kpi_field
        self.problem_context = problem_context

    def _shape(self) -> dict[str, Any]:
        return {
            "target": self.target,
            "clusters": [self.min_clusters, self.max_clusters],
            "n_search_steps": self.n_search_steps,
            "use_agent": self.use_agent,
            "kpi_field": self.kpi_field,
            "problem_context": self.problem_context,
        }

    def _check(self) -> None:
        super()._check()
        if self.target and not self.data:
            raise ValidationError(f"{self.task_id}: target names a column of data, which is not given")

    def submit(self, client: ClearTrace, model_id: str) -> JobResult:
        """Start the segmentation."""
        client.load(model_id)
        frame, values = self._rows(client.get_schema()) if self.data else (None, None)
        return cast(
            JobResult,
            client.segment(
                data=frame,
                target_values=values,
                min_clusters=self.min_clusters,
                max_clusters=self.max_clusters,
                n_search_steps=self.n_search_steps,
                use_agent=self.use_agent,
                kpi_field=self.kpi_field,
                problem_context=self.problem_context,
                wait=False,
            ),
        )

    def _rows(self, schema: SchemaResult) -> tuple[pd.DataFrame, pd.Series[Any] | None]:
        """The features of ``data`` and, where a target is named, its values."""
        columns = list(dict.fromkeys([*schema.feature_names, *([self.target] if self.target else [])]))
        rows = self._read(columns=columns, texts=text_columns(schema))
        return rows[schema.feature_names], rows[self.target] if self.target else None

    def result(self, client: ClearTrace, receipt: Mapping[str, Any]) -> dict[str, Any]:
        """The segmentation in figures; the whole of it goes to ``output_uri``."""
        segments = client.get_segments()
        return {
            "n_clusters": segments.n_clusters,
            "quality": segments.quality,
            "rows": len(segments.cluster_ids),
            "persona_names": [persona.persona_name for persona in segments.personas][:LISTED],
            **self._publish(segments.model_dump_json(indent=1)),
        }


class ClearTraceNarrativeOperator(_AnalysisOperator):
    """Has a model's behaviour on a data set told in plain language.

    Returns a manifest with ``model_id`` and, while it is short, the ``narrative``; ``output_uri`` takes any.

    Args:
        model_id: A trained model.
        data: Path or URI of the rows to tell about.
        filter: Which of them are wanted: conditions ``[column, operator, value]``; see :class:`~.RowFilter`.
        kpi_name: Business name of the target.
        problem_context: What the reader should know about the data.
        max_tool_calls: Most look-ups a language model may make, where one writes.
        output_uri: A ``.md`` file for the text.
        **kwargs: See :class:`~.ClearTraceJobOperator`.
    """

    job = "narrative"
    output_extension = ".md"
    template_fields: Sequence[str] = (
        "model_id",
        "data",
        "filter",
        "kpi_name",
        "problem_context",
        "output_uri",
        "on_existing",
    )

    def __init__(
        self,
        *,
        data: str,
        kpi_name: str,
        problem_context: str | None = None,
        max_tool_calls: int = 6,
        **kwargs: Any,
    ) -> None:
        super().__init__(data=data, **kwargs)
        check_count("max_tool_calls", max_tool_calls, least=0)
        self.kpi_name = kpi_name
        self.problem_context = problem_context
        self.max_tool_calls = max_tool_calls

    def _shape(self) -> dict[str, Any]:
        return {
            "kpi_name": self.kpi_name,
            "problem_context": self.problem_context,
            "max_tool_calls": self.max_tool_calls,
        }

    def submit(self, client: ClearTrace, model_id: str) -> JobResult:
        """Start the narrative."""
        texts = text_columns(client.load(model_id).get_schema())
        return cast(
            JobResult,
            client.narrative(
                self._read(texts=texts),
                kpi_name=self.kpi_name,
                context=self.problem_context,
                max_tool_calls=self.max_tool_calls,
                wait=False,
            ),
        )

    def result(self, client: ClearTrace, receipt: Mapping[str, Any]) -> dict[str, Any]:
        """The text, or where it lies."""
        text = client.get_narrative().narrative
        size = len(text.encode())
        if size > SHORT_NARRATIVE and not self.output_uri:
            self.log.warning("the narrative has %d bytes, too many for XCom: give an output_uri", size)
        return {
            "narrative": text if size <= SHORT_NARRATIVE else None,
            "bytes": size,
            **self._publish(text),
        }
