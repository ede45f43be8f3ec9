"""Local rules: which ones the reference's rows have, and which current rows they hold for."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_cleartrace.comparison.errors import ComparisonError
from airflow_provider_cleartrace.storage.layouts import RULES

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

Condition = tuple[str, str, str]
"""Feature, operator, and value as JSON."""

Rule = frozenset[Condition] | str
"""Its conditions, in whatever order they are told; the text of a rule that is told without any."""

MAX_RULES = 100_000
"""Different rules that are held: some tens of megabytes. Rules are made of quantiles and levels, not rows."""

OPERATORS = ("<=", "<", ">", ">=", "==", "!=", "between", "in", "is missing")


class RuleBook:
    """The rules of an output's rows.

    Attributes:
        rows: rows with any rule.
    """

    def __init__(self, uri: str) -> None:
        self.rules: set[Rule] = set()
        self.rows = 0
        self._uri = uri

    @property
    def features(self) -> list[str]:
        """The features that conditions are about."""
        told = (rule for rule in self.rules if not isinstance(rule, str))
        return sorted({feature for rule in told for feature, _, _ in rule})

    @property
    def can_be_tried(self) -> bool:
        """Whether each rule is told by conditions that this module knows how to try."""
        return all(
            not isinstance(rule, str) and all(operator in OPERATORS for _, operator, _ in rule)
            for rule in self.rules
        )

    def add(self, batch: pa.RecordBatch) -> list[set[Rule]]:
        """Take the rules of a batch; gives those of each row.

        Raises:
            ComparisonError: there are too many different ones.
        """
        told = list(row_rules(batch, self._uri))
        self.rows += sum(map(bool, told))
        self.rules.update(*told)
        if len(self.rules) > MAX_RULES:
            raise ComparisonError(
                f"{self._uri}: more than {MAX_RULES} different rules; explain with fewer rules a row"
                " (rule_kwargs), or without"
            )
        return told


class RuleMatches:
    """Counts rows that a rule book speaks of.

    Args:
        book: The reference's rules.
        uri: The current output, for messages.
        by_values: Whether the batches hold the features, so that conditions can be tried.

    Attributes:
        sharing: rows with a rule of their own that is in the book.
        matched: rows for which a rule of the book holds.
    """

    def __init__(self, book: RuleBook, uri: str, *, by_values: bool) -> None:
        self.sharing = 0
        self.matched = 0
        self.own = RuleBook(uri)
        self._book = book
        self._uri = uri
        self._by_values = by_values

    def add(self, batch: pa.RecordBatch) -> None:
        """Count a batch."""
        self.sharing += sum(not self._book.rules.isdisjoint(own) for own in self.own.add(batch))
        if self._by_values:
            self.matched += int(self._holds(batch).sum())

    def _holds(self, batch: pa.RecordBatch) -> NDArray[np.bool_]:
        """For which rows a rule holds."""
        import numpy as np  # noqa: PLC0415  (loads where rows are touched, never with a DAG)

        known: dict[Condition, Any] = {}
        held = np.zeros(batch.num_rows, dtype=bool)
        for rule in self._book.rules:
            if held.all():
                break
            if isinstance(rule, str):
                continue
            met = np.ones(batch.num_rows, dtype=bool)
            for condition in rule:
                if condition not in known:
                    known[condition] = _met(batch, condition, self._uri)
                met &= known[condition]
            held |= met
        return held


def row_rules(batch: pa.RecordBatch, uri: str) -> Iterator[set[Rule]]:
    """The rules of each row; nested in Parquet and JSON Lines, a JSON text in CSV.

    Raises:
        ComparisonError: the column holds something else.
    """
    for cell in batch.column(RULES).to_pylist():
        try:
            told = json.loads(cell) if isinstance(cell, str) else cell
            yield {_rule(rule) for rule in told or ()}
        except (ValueError, TypeError, KeyError, AttributeError):
            raise ComparisonError(f"{uri}: the column {RULES!r} holds no lists of rules") from None


def _rule(told: Mapping[str, Any]) -> Rule:
    conditions = frozenset(
        (str(each["feature"]), str(each["operator"]), json.dumps(json.loads(each["value"] or "null")))
        for each in told["conditions"] or ()
    )
    return conditions or str(told["text"])


def _met(batch: pa.RecordBatch, condition: Condition, uri: str) -> Any:
    """Which rows meet a condition; a missing value meets none but "is missing"."""
    import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)
    import pyarrow.compute as pc  # noqa: PLC0415

    feature, operator, told = condition
    column: Any = batch.column(feature)
    if operator == "is missing":
        return pc.is_null(column, nan_is_null=True).to_numpy(zero_copy_only=False)
    value = json.loads(told)
    listed = value if isinstance(value, list) else [value]
    try:
        kind = _comparable(listed[0], operator)
        values, bounds = column.cast(kind), [pa.scalar(_as(kind, each), kind) for each in listed]
        compare: dict[str, Any] = {
            "<=": pc.less_equal, "<": pc.less, ">": pc.greater, ">=": pc.greater_equal,
            "==": pc.equal, "!=": pc.not_equal,
        }  # fmt: skip
        if operator == "between":
            met = pc.and_(pc.greater(values, bounds[0]), pc.less_equal(values, bounds[1]))
        elif operator == "in":
            met = pc.is_in(values, value_set=pa.array([each.as_py() for each in bounds], kind))
        else:
            met = compare[operator](values, bounds[0])
    except (pa.ArrowException, ValueError, TypeError, IndexError):
        raise ComparisonError(
            f"{uri}: the values of {feature!r} are not of the kind that the reference's rules compare with"
        ) from None
    return pc.fill_null(met, False).to_numpy(zero_copy_only=False)


def _comparable(value: Any, operator: str) -> Any:
    """The type in which a column is compared with a rule's value: an order of texts is one of dates."""
    import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)

    if isinstance(value, bool):
        return pa.bool_()
    if isinstance(value, int | float):
        return pa.float64()
    return pa.string() if operator in {"==", "!=", "in"} else pa.timestamp("us")


def _as(kind: Any, value: Any) -> Any:
    import pyarrow as pa  # noqa: PLC0415  (pyarrow loads where files are touched, never with a DAG)

    return dt.datetime.fromisoformat(value) if pa.types.is_timestamp(kind) else value
