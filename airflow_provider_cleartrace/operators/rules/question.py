"""What a CalibratedExplain task asks of each row, from its arguments."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_cleartrace.explanations.errors import ExplanationError
from airflow_provider_cleartrace.operators.arguments import named_columns

if TYPE_CHECKING:
    from airflow_provider_cleartrace.explanations.question import Question


def question_of(
    *,
    kind: Any,
    confidence: float | None,
    percentiles: Sequence[float | None] | None,
    threshold: Any,
    filters: Sequence[str],
    conjunctions: Mapping[str, int] | None,
    features_to_ignore: Sequence[str],
    focus_columns: Sequence[str] | None,
    with_plots: bool,
) -> Question:
    """The question; its arguments are those of :class:`~.ClearTraceCalibratedExplainOperator`.

    Raises:
        ExplanationError: an argument that fits no model, or plots of what has none.
    """
    from airflow_provider_cleartrace.explanations.conjunctions import (  # noqa: PLC0415  (loads numpy)
        Conjunctions,
    )
    from airflow_provider_cleartrace.explanations.plots import check as check_plots  # noqa: PLC0415  (as above)
    from airflow_provider_cleartrace.explanations.question import (  # noqa: PLC0415  (as above)
        Question,
        percentiles_of,
    )

    if with_plots:
        check_plots(kind)
    asked = None if confidence is None else percentiles_of(confidence)
    if percentiles is not None:
        if len(percentiles) != 2:
            raise ExplanationError(f"percentiles must be (low, high), not {percentiles}")
        low, high = percentiles
        asked = (-math.inf if low is None else low, math.inf if high is None else high)
    return Question(
        kind=kind,
        percentiles=asked,
        threshold=tuple(threshold) if isinstance(threshold, list) else threshold,
        filters=(filters,) if isinstance(filters, str) else tuple(filters),
        conjunctions=None if conjunctions is None else Conjunctions.parse(conjunctions),
        features_to_ignore=tuple(named_columns("features_to_ignore", features_to_ignore)),
        focus_columns=None if focus_columns is None else tuple(named_columns("focus_columns", focus_columns)),
    )
