"""Tasks that put a trained model to work on rows, and write what it says of them."""

from __future__ import annotations

import abc
import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_cleartrace.api.errors import ValidationError
from airflow_provider_cleartrace.api.models import SchemaResult
from airflow_provider_cleartrace.client import ClearTrace
from airflow_provider_cleartrace.operators.base import ClearTraceOperator
from airflow_provider_cleartrace.operators.columns import text_columns
from airflow_provider_cleartrace.operators.manifest import LISTED
from airflow_provider_cleartrace.storage.errors import StorageError
from airflow_provider_cleartrace.storage.reading import BATCH_ROWS, read_batches
from airflow_provider_cleartrace.storage.writing import TableWriter, check_output, table_writer

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from airflow.providers.common.compat.sdk import Context

ROW = "row"
"""Column that numbers the input's rows from 0, where no id columns are named."""

SCENARIO_BATCH_ROWS = 50
"""Rows searched in one request: a search takes some hundredths of a second a row."""


@dataclass(frozen=True)
class Answers:
    """What a model says of a batch, by column; ``about`` is the batch row of each entry where rows repeat."""

    columns: Mapping[str, pa.Array]
    about: Sequence[int] | None = None

    def joined(self, identity: pa.RecordBatch) -> pa.RecordBatch:
        """The answers with their rows' identity in front."""
        import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)

        rows = identity if self.about is None else identity.take(pa.array(self.about, pa.int64()))
        if clash := set(rows.schema.names) & set(self.columns):
            raise ValidationError(f"the id column {min(clash)!r} has the name of an output column")
        return pa.RecordBatch.from_arrays(
            [*rows.columns, *self.columns.values()], names=[*rows.schema.names, *self.columns]
        )


class _RowsOperator(ClearTraceOperator, abc.ABC):
    """Reads rows batch by batch, has the model speak of them, and writes that with the rows' identity."""

    template_fields: Sequence[str] = ("model_id", "data", "output_uri", "id_columns")

    def __init__(
        self,
        *,
        model_id: str,
        data: str,
        output_uri: str,
        id_columns: Sequence[str] | None = None,
        batch_rows: int = BATCH_ROWS,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if batch_rows < 1:
            raise ValueError(f"batch_rows must be at least 1, not {batch_rows}")
        self.model_id = model_id
        self.data = data
        self.output_uri = output_uri
        self.id_columns = id_columns
        self.batch_rows = batch_rows

    @abc.abstractmethod
    def say(self, client: ClearTrace, schema: SchemaResult, rows: pd.DataFrame) -> Answers:
        """What the model says of one batch."""

    def figures(self) -> dict[str, Any]:
        """What the task adds to the manifest."""
        return {}

    def execute(self, context: Context) -> dict[str, Any]:
        """Score all rows; the output appears when the last one is done."""
        source, target = self.locate(self.data), self.locate(self.output_uri)
        check_output(target)
        if source.path == target.path and source.is_local == target.is_local:
            raise StorageError(f"{target.uri}: the output would replace the data it is made from")
        ids = _distinct(self.id_columns)
        rows = 0
        with self.hook.get_conn() as client, ExitStack() as stack:
            self._works_on(context, client, self.model_id)
            schema = client.load(self.model_id).get_schema()
            columns = [*ids, *(name for name in schema.feature_names if name not in ids)]
            writer: TableWriter | None = None
            texts = [*ids, *text_columns(schema)]
            for batch in read_batches(source, columns=columns, texts=texts, batch_rows=self.batch_rows):
                if not batch.num_rows:
                    continue
                identity = _identity(batch, ids, rows)
                answers = self.say(client, schema, batch.select(schema.feature_names).to_pandas())
                written = answers.joined(identity)
                if writer is None:
                    writer = stack.enter_context(table_writer(target, written.schema))
                writer.write(written)
                rows += batch.num_rows
            if writer is None:
                raise StorageError(f"{source.uri}: the file has no rows")
        self.log.info("%d rows of %s to %s", rows, source.uri, target.uri)
        return self._manifest(
            context,
            model_id=self.model_id,
            data=source.uri,
            output_uri=target.uri,
            rows=rows,
            rows_written=writer.rows,
            columns=writer.schema.names[:LISTED],
            n_columns=len(writer.schema.names),
            **self.figures(),
        )


def _distinct(id_columns: Sequence[str] | None) -> list[str]:
    names = [id_columns] if isinstance(id_columns, str) else list(id_columns or [])
    if len(set(names)) != len(names):
        raise ValidationError(f"id_columns names a column twice: {', '.join(map(repr, names))}")
    return names


def _identity(batch: pa.RecordBatch, ids: Sequence[str], first: int) -> pa.RecordBatch:
    """The id columns of a batch, or its row numbers, counted through the input from ``first``."""
    import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)

    if ids:
        return batch.select(list(ids))
    numbers = pa.array(range(first, first + batch.num_rows), pa.int64())
    return pa.RecordBatch.from_arrays([numbers], names=[ROW])


def _floats(values: Any) -> pa.Array:
    """Numbers as a column of doubles; NaN, which JSON carried as null, is null again."""
    import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)

    return pa.array(values, pa.float64(), from_pandas=True)


def _texts(values: Sequence[Any]) -> pa.Array:
    import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)

    return pa.array([None if value is None else str(value) for value in values], pa.string())


def _predictions(schema: SchemaResult, predictions: Any) -> dict[str, pa.Array]:
    """One column ``prediction``, or one ``probability_<class>`` for each of more than two classes."""
    if predictions.ndim == 1:
        return {"prediction": _floats(predictions)}
    classes = (schema.model_extra or {}).get("classes") or range(predictions.shape[1])
    return {f"probability_{label}": _floats(predictions[:, index]) for index, label in enumerate(classes)}


def _per_feature(prefix: str, names: Sequence[str], values: Any) -> dict[str, pa.Array]:
    return {f"{prefix}_{name}": _floats(values[:, index]) for index, name in enumerate(names)}


class ClearTracePredictOperator(_RowsOperator):
    """Predicts the rows of a file.

    Writes the rows' identity and ``prediction`` (a value, or the probability of class 1), or one
    ``probability_<class>`` for each of more than two classes. Returns a manifest with ``output_uri`` and
    ``rows``.

    Args:
        model_id: A trained model.
        data: Path or URI of the rows; columns the model does not use are ignored.
        output_uri: A ``.parquet``, ``.csv`` or ``.jsonl`` file; it appears whole or not at all.
        id_columns: Columns of ``data`` that identify a row; taken as texts from a CSV. By default
            the rows are numbered as ``row``.
        batch_rows: Most rows of one request.
    """

    def say(self, client: ClearTrace, schema: SchemaResult, rows: pd.DataFrame) -> Answers:
        """Predict one batch."""
        return Answers(_predictions(schema, client.predict(rows)))


class ClearTraceExplainOperator(_RowsOperator):
    """Predicts and explains the rows of a file.

    Writes the rows' identity, ``prediction``, one ``driver_<feature>`` and ``agop_<feature>`` a feature; with
    personas or rules asked for, ``persona``, ``persona_cluster_id`` and ``rules`` (JSON) instead of the AGOP.

    Args:
        use_sqrt: Give the AGOP as the size of the gradient rather than its square.
        raw_gradient: Give drivers as the gradient itself, otherwise times (value - training mean).
        with_persona: Add each row's persona.
        rule_kwargs: Add each row's local rules, by these settings (``{}`` for the defaults).
        **kwargs: As in :class:`ClearTracePredictOperator`.
    """

    def __init__(
        self,
        *,
        use_sqrt: bool = True,
        raw_gradient: bool = True,
        with_persona: bool = False,
        rule_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.use_sqrt = use_sqrt
        self.raw_gradient = raw_gradient
        self.with_persona = with_persona
        self.rule_kwargs = rule_kwargs

    def say(self, client: ClearTrace, schema: SchemaResult, rows: pd.DataFrame) -> Answers:
        """Explain one batch."""
        if self.with_persona or self.rule_kwargs is not None:
            return self._with_rules(client, schema, rows)
        told = client.explain(rows, use_sqrt=self.use_sqrt, raw_gradient=self.raw_gradient)
        return Answers(
            _predictions(schema, told.predictions)
            | _per_feature("driver", told.feature_names, told.local_drivers)
            | _per_feature("agop", told.feature_names, told.local_agop)
        )

    def _with_rules(self, client: ClearTrace, schema: SchemaResult, rows: pd.DataFrame) -> Answers:
        import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)

        told = client.predict_and_explain(
            rows,
            use_sqrt=self.use_sqrt,
            raw_gradient=self.raw_gradient,
            with_persona=self.with_persona,
            rule_kwargs=self.rule_kwargs,
        )
        columns = _predictions(schema, told.predictions)
        columns |= _per_feature("driver", told.feature_names, told.local_drivers)
        if told.persona is not None:
            columns["persona"] = _texts(told.persona)
        if told.persona_cluster_id is not None:
            columns["persona_cluster_id"] = pa.array(told.persona_cluster_id, pa.int64())
        if told.local_rules is not None:
            columns["rules"] = _texts(
                [json.dumps([rule.model_dump() for rule in rules]) for rules in told.local_rules]
            )
        return Answers(columns)


class ClearTraceScenarioOperator(_RowsOperator):
    """Searches, for each row of a file, the smallest edits that move its prediction to the wanted class.

    Writes one entry a scenario, fewest changes first: the row's identity, ``scenario`` (its rank from 0),
    ``n_changes``, ``changes`` (JSON ``{feature: {"from": ..., "to": ...}}``), ``prediction`` after them,
    ``baseline_prediction``, ``already_at_desired_class``. A row without a scenario has one entry with the
    ``reason``. The manifest counts ``rows``, ``rows_solved`` and ``rows_already_there``.

    Args:
        desired_class: Index of the class to reach.
        n_walks: Random walks for each row.
        max_steps: Most steps of one walk.
        epsilon: Step size, in standard deviations of a column.
        random_state: Seed; None for a fresh one.
        constraints: Per feature any of ``immutable``, ``monotonic``, ``value_range``, ``allowed_values``.
        **kwargs: As in :class:`ClearTracePredictOperator`.
    """

    template_fields: Sequence[str] = (*_RowsOperator.template_fields, "constraints")

    def __init__(
        self,
        *,
        desired_class: int = 1,
        n_walks: int = 500,
        max_steps: int = 30,
        epsilon: float = 0.2,
        random_state: int | None = 42,
        constraints: Mapping[str, Mapping[str, Any]] | None = None,
        batch_rows: int = SCENARIO_BATCH_ROWS,
        **kwargs: Any,
    ) -> None:
        super().__init__(batch_rows=batch_rows, **kwargs)
        self.desired_class = desired_class
        self.n_walks = n_walks
        self.max_steps = max_steps
        self.epsilon = epsilon
        self.random_state = random_state
        self.constraints = constraints
        self._solved = 0
        self._already = 0

    def say(self, client: ClearTrace, schema: SchemaResult, rows: pd.DataFrame) -> Answers:
        """Search one batch."""
        import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)

        found = client.scenario(
            rows,
            desired_class=self.desired_class,
            n_walks=self.n_walks,
            max_steps=self.max_steps,
            epsilon=self.epsilon,
            random_state=self.random_state,
            constraints=self.constraints,
        )
        self._solved += sum(len(item) > 0 for item in found)
        self._already += sum(item.already_at_desired_class for item in found)
        entries = [
            (item, rank, candidate)
            for item in found
            for rank, candidate in enumerate(item.scenarios or [None])
        ]
        return Answers(
            about=[item.query_index for item, _, _ in entries],
            columns={
                "scenario": pa.array(
                    [rank if candidate else None for _, rank, candidate in entries], pa.int64()
                ),
                "n_changes": pa.array(
                    [candidate.n_changes if candidate else None for _, _, candidate in entries], pa.int64()
                ),
                "changes": _texts(
                    [
                        json.dumps(candidate.model_dump(by_alias=True)["changes"]) if candidate else None
                        for _, _, candidate in entries
                    ]
                ),
                "prediction": _floats(
                    [candidate.prediction if candidate else None for _, _, candidate in entries]
                ),
                "baseline_prediction": _floats([item.baseline_prediction for item, _, _ in entries]),
                "already_at_desired_class": pa.array(
                    [item.already_at_desired_class for item, _, _ in entries], pa.bool_()
                ),
                "reason": _texts([None if candidate else item.reason for item, _, candidate in entries]),
            },
        )

    def figures(self) -> dict[str, Any]:
        """How many rows have a way to the wanted class."""
        return {"rows_solved": self._solved, "rows_already_there": self._already}


class ClearTraceInterpretOperator(ClearTraceOperator):
    """Asks a model which features drive it.

    Returns a manifest with ``top_features`` and their ``top_shares`` (largest first, at most 20);
    ``output_uri`` takes all of them, as columns ``feature`` and ``share``.

    Args:
        model_id: A trained model.
        output_uri: A ``.parquet``, ``.csv`` or ``.jsonl`` file for all features.
    """

    template_fields: Sequence[str] = ("model_id", "output_uri")

    def __init__(self, *, model_id: str, output_uri: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model_id = model_id
        self.output_uri = output_uri

    def execute(self, context: Context) -> dict[str, Any]:
        """Ask, rank and write."""
        target = self.locate(self.output_uri) if self.output_uri else None
        if target is not None:
            check_output(target)
        with self.hook.get_conn() as client:
            self._works_on(context, client, self.model_id)
            told = client.load(self.model_id).interpret()
        shares = [float(share) for share in told.global_drivers]
        ranked = sorted(zip(told.feature_names, shares, strict=True), key=lambda pair: -pair[1])
        features, ordered = [name for name, _ in ranked], [share for _, share in ranked]
        if target is not None:
            import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)

            batch = pa.RecordBatch.from_pydict({"feature": _texts(features), "share": _floats(ordered)})
            with table_writer(target, batch.schema) as writer:
                writer.write(batch)
        return self._manifest(
            context,
            model_id=self.model_id,
            n_features=len(features),
            top_features=features[:LISTED],
            top_shares=ordered[:LISTED],
            output_uri=target.uri if target else None,
        )
