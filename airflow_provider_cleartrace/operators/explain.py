"""A task that predicts and explains the rows of a file or folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_cleartrace.api.errors import ServerError
from airflow_provider_cleartrace.api.models import RowRules, SchemaResult
from airflow_provider_cleartrace.client import AsyncClearTrace
from airflow_provider_cleartrace.operators.arguments import check_count, one_of
from airflow_provider_cleartrace.operators.provenance import check_apart
from airflow_provider_cleartrace.operators.rows.answers import (
    Answers,
    Asked,
    floats,
    in_order_of,
    per_feature,
    predictions,
    texts,
)
from airflow_provider_cleartrace.operators.rows.operator import RowsOperator
from airflow_provider_cleartrace.operators.rows.reasons import FIELDS, ReasonTable, Unwanted
from airflow_provider_cleartrace.storage.reading import read_frame

if TYPE_CHECKING:
    import pyarrow as pa

REASONS = 4
"""Reasons given by default: as many as a lender's notice of adverse action usually names."""

Layout = Literal["wide", "long"]


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
        check_count("top_k", top_k, least=1)
        if rule_kwargs is not None and not isinstance(rule_kwargs, Mapping):
            raise ValueError(f"rule_kwargs must be a mapping of settings, not {rule_kwargs!r}")
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
        if self.reasons is None:
            return
        entries: Sequence[Mapping[Any, Any]]
        if isinstance(self.reasons, str):
            table = self.locate(self.reasons)
            check_apart(self.locate(self.output_uri), table)
            frame = read_frame(table, columns=FIELDS, texts=FIELDS)
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
