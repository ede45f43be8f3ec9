"""Tasks that put a trained model to work, by one import path; each has a module of its own."""

from __future__ import annotations

from airflow_provider_cleartrace.operators.explain import ClearTraceExplainOperator
from airflow_provider_cleartrace.operators.interpret import ClearTraceInterpretOperator
from airflow_provider_cleartrace.operators.predict import ClearTracePredictOperator
from airflow_provider_cleartrace.operators.scenario import ClearTraceScenarioOperator

__all__ = [
    "ClearTraceExplainOperator",
    "ClearTraceInterpretOperator",
    "ClearTracePredictOperator",
    "ClearTraceScenarioOperator",
]
