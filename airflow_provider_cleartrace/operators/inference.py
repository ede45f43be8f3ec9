"""Tasks that put a trained model to work on rows, and write what it says of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_cleartrace.api.errors import ServerError
from airflow_provider_cleartrace.api.models import RowRules, ScenarioResult, SchemaResult
from airflow_provider_cleartrace.client import AsyncClearTrace
from airflow_provider_cleartrace.operators.answers import (
    Answers,
    Asked,
    classes_of,
    floats,
    in_order_of,
    per_feature,
    predictions,
    texts,
)
from airflow_provider_cleartrace.operators.base import ClearTraceOperator
from airflow_provider_cleartrace.operators.manifest import LISTED
from airflow_provider_cleartrace.operators.reasons import FIELDS, ReasonTable, Unwanted
from airflow_provider_cleartrace.operators.row_operator import RowsOperator, one_of
from airflow_provider_cleartrace.storage.reading import read_frame
from airflow_provider_cleartrace.storage.writing import format_of_output, table_writer

if TYPE_CHECKING:
    import pyarrow as pa
    from airflow.providers.common.compat.sdk import Context

SCENARIO_BATCH_ROWS = 50
"""Rows searched in one request: a search takes some hundredths of a second a row."""

REASONS = 4
"""Reasons given by default: as many as a lender's notice of adverse action usually names."""

Layout = Literal["wide", "long"]


class ClearTracePredictOperator(RowsOperator):
    """Predicts the rows of a file or folder.

    Writes the rows' identity and ``prediction`` (a value, or the probability of class 1), or one
    ``probability_<class>`` for each of more than two classes. Returns a manifest with ``output_uri`` and
    the counts of rows.

    Args:
        **kwargs: As in :class:`~.RowsOperator`.
    """

    def asked_for(self) -> dict[str, Any]:
        """Nothing but predictions."""
        return {"operation": "predict"}

    def nothing(self, schema: SchemaResult, rows: pa.RecordBatch) -> Answers:
        """The columns of no predictions."""
        import numpy as np  # noqa: PLC0415  (loads where rows are touched, never with a DAG)

        classes = len(classes_of(schema)) if (schema.model_extra or {}).get("task") == "multiclass" else 0
        return Answers(predictions(schema, np.empty((0, classes) if classes else 0)))

    async def ask(self, client: AsyncClearTrace, schema: SchemaResult, rows: pa.RecordBatch) -> Answers:
        """Predict one batch."""
        asked = Asked.of(rows)
        return Answers(predictions(schema, asked.settled(await client.predict(asked.rows), "predict")))


class ClearTraceExplainOperator(RowsOperator):
    """Predicts and explains the rows of a file or folder.

    Writes the rows' identity, ``prediction``, one ``driver_<feature>`` and ``agop_<feature>`` a feature; with
    personas or rules asked for, ``persona``, ``persona_cluster_id`` and ``rules`` instead of the AGOP.

    Args:
        use_sqrt: Give the AGOP as the size of the gradient rather than its square.
        raw_gradient: Give drivers as the gradient itself, otherwise times (value - training mean).
        with_persona: Add each row's persona.
        rule_kwargs: Add each row's local rules, by these settings (``{}`` for the defaults).
        layout: ``wide`` has one line a row; ``long`` one for each row and feature, with the columns
            ``feature``, ``driver`` and ``agop``.
        reasons: Reason codes to add: a list of ``{"feature", "direction", "code", "text"}``, or the path or
            URI of a table with these columns. Needs ``raw_gradient=False``.
        top_k: Most reasons of a row.
        unwanted: Which predictions are unwanted: ``low`` or ``high``.
        **kwargs: As in :class:`~.RowsOperator`.
    """

    template_fields: Sequence[str] = (*RowsOperator.template_fields, "reasons")

    def __init__(
        self,
        *,
        use_sqrt: bool = True,
        raw_gradient: bool = True,
        with_persona: bool = False,
        rule_kwargs: Mapping[str, Any] | None = None,
        layout: Layout = "wide",
        reasons: str | Sequence[Mapping[str, Any]] | None = None,
        top_k: int = REASONS,
        unwanted: Unwanted = "low",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        one_of("layout", layout, ("wide", "long"))
        one_of("unwanted", unwanted, ("low", "high"))
        if layout == "long" and (rule_kwargs is not None or reasons):
            raise ValueError("rules and reasons are told once a row: they need layout='wide'")
        if reasons and raw_gradient:
            raise ValueError(
                "reasons need raw_gradient=False: gradients per unit do not compare between features"
            )
        if top_k < 1:
            raise ValueError(f"top_k must be at least 1, not {top_k}")
        self.use_sqrt = use_sqrt
        self.raw_gradient = raw_gradient
        self.with_persona = with_persona
        self.rule_kwargs = rule_kwargs
        self.layout = layout
        self.reasons = reasons
        self.top_k = top_k
        self.unwanted: Unwanted = unwanted
        self._reasons: ReasonTable | None = None

    @property
    def _with_agop(self) -> bool:
        """Whether the plain explanation is asked for; the other operation gives no AGOP."""
        return not self.with_persona and self.rule_kwargs is None

    def asked_for(self) -> dict[str, Any]:
        """Everything that shapes an explanation."""
        return {
            "operation": "explain",
            "use_sqrt": self.use_sqrt,
            "raw_gradient": self.raw_gradient,
            "with_persona": self.with_persona,
            "rule_kwargs": self.rule_kwargs,
            "layout": self.layout,
            "reasons": None if self._reasons is None else sorted(map(str, self._reasons.entries.items())),
            "top_k": self.top_k,
            "unwanted": self.unwanted,
        }

    def prepare(self, schema: SchemaResult) -> None:
        """Read the table of reasons."""
        if not self.reasons:
            return
        entries: Sequence[Mapping[Any, Any]]
        if isinstance(self.reasons, str):
            frame = read_frame(self.locate(self.reasons), columns=FIELDS, texts=FIELDS)
            entries = frame.astype(object).where(frame.notna(), None).to_dict("records")
        else:
            entries = self.reasons
        self._reasons = ReasonTable.parse(entries, schema, self.top_k, self.unwanted)

    def nothing(self, schema: SchemaResult, rows: pa.RecordBatch) -> Answers:
        """The columns of no explanations."""
        import numpy as np  # noqa: PLC0415  (loads where rows are touched, never with a DAG)

        per_row = np.empty((0, len(schema.feature_names)))
        return self._answers(
            schema,
            rows,
            np.empty(0),
            per_row,
            per_row if self._with_agop else None,
            persona=[] if self.with_persona else None,
            persona_cluster_id=[] if self.with_persona else None,
            rules=None if self.rule_kwargs is None else [],
        )

    async def ask(self, client: AsyncClearTrace, schema: SchemaResult, rows: pa.RecordBatch) -> Answers:
        """Explain one batch."""
        asked = Asked.of(rows)
        options: Any = {"use_sqrt": self.use_sqrt, "raw_gradient": self.raw_gradient}
        features, count = schema.feature_names, rows.num_rows
        if self._with_agop:
            told = await client.explain(asked.rows, **options)
            agop = in_order_of(features, told.feature_names, told.local_agop, "explain")
            drivers = in_order_of(features, told.feature_names, told.local_drivers, "explain")
            return self._answers(
                schema,
                rows,
                asked.settled(told.predictions, "explain: predictions"),
                asked.settled(drivers, "explain: local_drivers"),
                asked.settled(agop, "explain: local_agop"),
            )
        full = await client.predict_and_explain(
            asked.rows, with_persona=self.with_persona, rule_kwargs=self.rule_kwargs, **options
        )
        what = "predict_and_explain"
        drivers = in_order_of(features, full.feature_names, full.local_drivers, what)
        lists = {
            "persona": (self.with_persona, full.persona),
            "persona_cluster_id": (self.with_persona, full.persona_cluster_id),
            "local_rules": (self.rule_kwargs is not None, full.local_rules),
        }
        for name, (wanted, entries) in lists.items():
            if wanted and (entries is None or len(entries) != asked.rows.num_rows):
                raise ServerError(f"{what}: the answer has no {name} for each row")
        return self._answers(
            schema,
            rows,
            asked.settled(full.predictions, f"{what}: predictions"),
            asked.settled(drivers, f"{what}: local_drivers"),
            None,
            persona=full.persona[:count] if self.with_persona and full.persona else None,
            persona_cluster_id=full.persona_cluster_id[:count]
            if self.with_persona and full.persona_cluster_id
            else None,
            rules=full.local_rules[:count] if self.rule_kwargs is not None and full.local_rules else None,
        )

    def _answers(
        self,
        schema: SchemaResult,
        rows: pa.RecordBatch,
        predicted: Any,
        drivers: Any,
        agop: Any,
        *,
        persona: Sequence[Any] | None = None,
        persona_cluster_id: Sequence[int] | None = None,
        rules: Sequence[RowRules] | None = None,
    ) -> Answers:
        import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)

        features = schema.feature_names
        columns = predictions(schema, predicted)
        if self.layout == "wide":
            columns |= per_feature("driver", features, drivers)
            columns |= {} if agop is None else per_feature("agop", features, agop)
        if persona is not None:
            columns["persona"] = texts(persona)
            columns["persona_cluster_id"] = pa.array(persona_cluster_id, pa.int64())
        if rules is not None:
            columns["rules"] = rules_column(rules)
        if self._reasons is not None:
            columns |= self._reasons.columns(rows, features, drivers)
        return Answers(columns) if self.layout == "wide" else _long(columns, features, drivers, agop)


def _long(columns: Mapping[str, pa.Array], features: Sequence[str], drivers: Any, agop: Any) -> Answers:
    """One entry for each row and feature; what is told once a row is repeated."""
    import numpy as np  # noqa: PLC0415  (loads where rows are touched, never with a DAG)
    import pyarrow as pa  # noqa: PLC0415

    about = np.repeat(np.arange(len(drivers)), len(features)).tolist()
    repeated = {name: column.take(pa.array(about, pa.int64())) for name, column in columns.items()}
    names = pa.DictionaryArray.from_arrays(
        np.tile(np.arange(len(features), dtype=np.int32), len(drivers)), pa.array(features, pa.string())
    )
    repeated |= {"feature": names.dictionary_decode(), "driver": floats(drivers.reshape(-1))}
    if agop is not None:
        repeated["agop"] = floats(agop.reshape(-1))
    return Answers(repeated, about=about)


def rules_column(rules: Sequence[RowRules]) -> pa.Array:
    """The rules of each row as a list of structs; the value of a condition is JSON, for it has any type."""
    import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)

    condition = [("feature", pa.string()), ("operator", pa.string()), ("value", pa.string())]
    figures = ("support", "confidence", "lift", "coverage")
    rule_type = pa.struct(
        [
            ("text", pa.string()),
            ("conditions", pa.list_(pa.struct(condition))),
            *((name, pa.float64()) for name in figures),
        ]
    )
    listed = [
        [
            {
                "text": rule.text,
                "conditions": [
                    {"feature": c.feature, "operator": c.operator, "value": json.dumps(c.value)}
                    for c in rule.conditions
                ],
                **{name: getattr(rule, name) for name in figures},
            }
            for rule in row
        ]
        for row in rules
    ]
    return pa.array(listed, pa.list_(rule_type))


class ClearTraceScenarioOperator(RowsOperator):
    """Searches, for each row of a file or folder, the smallest edits that move it to the wanted class.

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
        **kwargs: As in :class:`~.RowsOperator`.
    """

    template_fields: Sequence[str] = (*RowsOperator.template_fields, "constraints")

    def __init__(
        self,
        *,
        desired_class: int = 1,
        n_walks: int = 500,
        max_steps: int = 30,
        epsilon: float = 0.2,
        random_state: int | None = 42,
        constraints: Mapping[str, Mapping[str, Any]] | None = None,
        batch_rows: int | None = SCENARIO_BATCH_ROWS,
        **kwargs: Any,
    ) -> None:
        super().__init__(batch_rows=batch_rows, **kwargs)
        self.desired_class = desired_class
        self.n_walks = n_walks
        self.max_steps = max_steps
        self.epsilon = epsilon
        self.random_state = random_state
        self.constraints = constraints

    def asked_for(self) -> dict[str, Any]:
        """Everything that shapes a search; with a seed it also depends on a row's place in its request."""
        return {"operation": "scenario", "batch_rows": self.batch_rows} | self._options()

    def _options(self) -> dict[str, Any]:
        return {
            "desired_class": self.desired_class,
            "n_walks": self.n_walks,
            "max_steps": self.max_steps,
            "epsilon": self.epsilon,
            "random_state": self.random_state,
            "constraints": self.constraints,
        }

    def nothing(self, schema: SchemaResult, rows: pa.RecordBatch) -> Answers:
        """The columns of no scenarios."""
        return _scenarios(ScenarioResult(results=[]))

    async def ask(self, client: AsyncClearTrace, schema: SchemaResult, rows: pa.RecordBatch) -> Answers:
        """Search one batch."""
        found = await client.scenario(rows, **self._options())
        if sorted(item.query_index for item in found) != list(range(rows.num_rows)):
            raise ServerError(f"scenario: {rows.num_rows} rows were sent, and the answer is not about each")
        in_order = sorted(found.results, key=lambda item: item.query_index)
        return _scenarios(ScenarioResult(results=in_order))


def _scenarios(found: ScenarioResult) -> Answers:
    import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)

    entries = [
        (item, rank, candidate) for item in found for rank, candidate in enumerate(item.scenarios or [None])
    ]
    changes = [
        json.dumps(candidate.model_dump(by_alias=True)["changes"]) if candidate else None
        for _, _, candidate in entries
    ]
    return Answers(
        about=[item.query_index for item, _, _ in entries],
        counts={
            "rows_solved": sum(len(item) > 0 for item in found),
            "rows_already_there": sum(item.already_at_desired_class for item in found),
        },
        columns={
            "scenario": pa.array([rank if candidate else None for _, rank, candidate in entries], pa.int64()),
            "n_changes": pa.array([c.n_changes if c else None for _, _, c in entries], pa.int64()),
            "changes": texts(changes),
            "prediction": pa.array([c.prediction if c else None for _, _, c in entries], pa.float64()),
            "baseline_prediction": floats([item.baseline_prediction for item, _, _ in entries]),
            "already_at_desired_class": pa.array(
                [item.already_at_desired_class for item, _, _ in entries], pa.bool_()
            ),
            "reason": texts([None if c else item.reason for item, _, c in entries]),
        },
    )


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
            format_of_output(target)
        with self.hook.get_conn() as client:
            self._works_on(context, client, self.model_id)
            told = client.load(self.model_id).interpret()
        shares = [float(share) for share in told.global_drivers]
        ranked = sorted(zip(told.feature_names, shares, strict=True), key=lambda pair: -pair[1])
        features, ordered = [name for name, _ in ranked], [share for _, share in ranked]
        if target is not None:
            import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)

            batch = pa.RecordBatch.from_pydict({"feature": texts(features), "share": floats(ordered)})
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
