"""The documented calls on a trained model, each written once as a flow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_provider_cleartrace.api import models, operations
from airflow_provider_cleartrace.api.errors import ValidationError
from airflow_provider_cleartrace.api.operations import Operation
from airflow_provider_cleartrace.client import frames
from airflow_provider_cleartrace.client.exchange import Flow
from airflow_provider_cleartrace.client.session import Session, build_body, call, check_length, encoded


def _about(
    operation: Operation[Any], body: type[models.SamplesBody], rows: frames.Rows, **options: Any
) -> tuple[bytes, int]:
    """The JSON that asks about some rows, and their number.

    The rows themselves are let go: as Python numbers they take twice as much as in JSON, and would be
    held for as long as the server works.
    """
    asked = build_body(body, samples=rows.values, feature_names=rows.names, **options)
    return encoded(operation, asked), len(rows.values)


def predict(session: Session, /, X: Any) -> Flow[models.Array]:
    """Predict rows.

    Args:
        X: DataFrame, 2-D array or nested list, n rows.

    Returns:
        (n,) values, or probabilities of class 1; (n, k) probabilities for k > 2 classes.
    """
    content, rows = _about(operations.PREDICT, models.SamplesBody, frames.rows_from(X))
    result = yield from call(session, operations.PREDICT, model_id=session.attached(), body=content)
    check_length(operations.PREDICT, len(result.predictions), rows)
    return result.predictions


def explain(
    session: Session,
    /,
    X: Any,
    *,
    feature_names: Sequence[str] | None = None,
    use_sqrt: bool = True,
    raw_gradient: bool = True,
) -> Flow[models.ExplanationResult]:
    """Predict rows and attribute each prediction to the features.

    Args:
        X: DataFrame, 2-D array or nested list, n rows by d features.
        feature_names: Names of the columns; a DataFrame brings its own.
        use_sqrt: Give ``local_agop`` as the size of the gradient rather than its square.
        raw_gradient: Give drivers as the gradient itself, otherwise times (value - training mean).
    """
    content, rows = _about(
        operations.EXPLAIN,
        models.ExplainBody,
        frames.rows_from(X, feature_names=feature_names),
        use_sqrt=use_sqrt,
        raw_gradient=raw_gradient,
    )
    result = yield from call(session, operations.EXPLAIN, model_id=session.attached(), body=content)
    check_length(operations.EXPLAIN, len(result.local_drivers), rows)
    return result


def predict_and_explain(
    session: Session,
    /,
    X: Any,
    *,
    feature_names: Sequence[str] | None = None,
    use_sqrt: bool = False,
    raw_gradient: bool = True,
    with_persona: bool = False,
    rule_kwargs: Mapping[str, Any] | None = None,
) -> Flow[models.PredictAndExplainResult]:
    """Predict rows with drivers, and where asked for personas and local rules.

    Args:
        X: As in :func:`explain`.
        feature_names: As in :func:`explain`.
        use_sqrt: As in :func:`explain`.
        raw_gradient: As in :func:`explain`.
        with_persona: Add each row's persona and its cluster id.
        rule_kwargs: Settings of the local rules; ``{}`` for the defaults, None for no rules.
    """
    operation = operations.PREDICT_AND_EXPLAIN
    content, rows = _about(
        operation,
        models.PredictAndExplainBody,
        frames.rows_from(X, feature_names=feature_names),
        use_sqrt=use_sqrt,
        raw_gradient=raw_gradient,
        with_persona=with_persona,
        rule_kwargs=None if rule_kwargs is None else dict(rule_kwargs),
    )
    result = yield from call(session, operation, model_id=session.attached(), body=content)
    check_length(operation, len(result.local_drivers), rows)
    return result


def interpret(session: Session, /) -> Flow[models.InterpretResult]:
    """Global importance of the features, from the AGOP."""
    return (yield from call(session, operations.INTERPRET, model_id=session.attached()))


def get_schema(session: Session, /) -> Flow[models.SchemaResult]:
    """The columns, types and categories the model was trained on."""
    return (yield from call(session, operations.GET_SCHEMA, model_id=session.attached()))


def scenario(
    session: Session,
    /,
    queries: Any,
    *,
    feature_names: Sequence[str] | None = None,
    desired_class: int = 1,
    n_walks: int = 500,
    max_steps: int = 30,
    epsilon: float = 0.2,
    random_state: int | None = 42,
    constraints: Mapping[str, Mapping[str, Any]] | None = None,
) -> Flow[models.ScenarioResult]:
    """Search the smallest edits that move a row's prediction to the wanted class.

    Args:
        queries: DataFrame, 2-D array, nested list, or list of ``{feature: value}`` dicts.
        feature_names: Names of the columns; needed for an array or nested list.
        desired_class: Index of the class to reach.
        n_walks: Number of random walks for each row.
        max_steps: Most steps of one walk.
        epsilon: Step size, in standard deviations of a column.
        random_state: Seed; None for a fresh one.
        constraints: Per feature any of ``immutable``, ``monotonic``, ``value_range``, ``allowed_values``.
    """
    rows = frames.rows_from(queries, feature_names=feature_names, what="queries")
    if rows.names is None:
        raise ValidationError("queries without column names need feature_names")
    body = build_body(
        models.ScenarioBody,
        queries=rows.values,
        feature_names=rows.names,
        desired_class=desired_class,
        n_walks=n_walks,
        max_steps=max_steps,
        epsilon=epsilon,
        random_state=random_state,
        constraints=None if constraints is None else {key: dict(rule) for key, rule in constraints.items()},
    )
    result = yield from call(session, operations.SCENARIO, model_id=session.attached(), body=body)
    check_length(operations.SCENARIO, len(result), len(rows.values))
    return result
