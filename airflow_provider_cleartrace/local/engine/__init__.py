"""The engine of ClearTrace Local: models on tables, and what explains them. Pure numerics."""

from __future__ import annotations

from airflow_provider_cleartrace.local.engine.distillation import distill
from airflow_provider_cleartrace.local.engine.errors import InputError, ModelFileError
from airflow_provider_cleartrace.local.engine.explanation import Explanation, explain
from airflow_provider_cleartrace.local.engine.fit_config import FitConfig
from airflow_provider_cleartrace.local.engine.model import Model
from airflow_provider_cleartrace.local.engine.schema import Column, ModelSchema, infer_schema
from airflow_provider_cleartrace.local.engine.table import Table
from airflow_provider_cleartrace.local.engine.training import fit

__all__ = [
    "Column",
    "Explanation",
    "FitConfig",
    "InputError",
    "Model",
    "ModelFileError",
    "ModelSchema",
    "Table",
    "distill",
    "explain",
    "fit",
    "infer_schema",
]
