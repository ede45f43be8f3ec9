"""Tasks with outlets: a model that is trained, used, and waited for, and a training that fails."""

from __future__ import annotations

import json
import os
from pathlib import Path

from airflow.providers.common.compat.sdk import DAG, Asset, AssetAlias

from airflow_provider_cleartrace.assets.model import cleartrace_model_asset
from airflow_provider_cleartrace.operators.analysis import ClearTraceSegmentOperator
from airflow_provider_cleartrace.operators.inference import ClearTraceExplainOperator
from airflow_provider_cleartrace.operators.training import ClearTraceFitOperator
from airflow_provider_cleartrace.sensors.job import ClearTraceJobSensor

CREDIT = str(Path(__file__).parents[3] / "example_dags" / "data" / "german_credit.csv")
SERVER = json.loads(os.environ["AIRFLOW_CONN_CLEARTRACE_DEFAULT"])["host"]
OUTPUT = "{{ var.value.cleartrace_output }}"
FAST = {"mode": "fast", "n_hyperopt_steps": 1}

with DAG("model_outlets", schedule=None):
    fit = ClearTraceFitOperator(
        task_id="fit",
        data=CREDIT,
        target="good_credit",
        model_id="outlets-credit",
        config=FAST,
        deferrable=True,
        outlets=[cleartrace_model_asset("outlets-credit", SERVER)],
    )
    derived = ClearTraceFitOperator(
        task_id="derived",
        data=CREDIT,
        target="good_credit",
        config=FAST,
        outlets=[AssetAlias("latest-credit")],
    )
    failing = ClearTraceFitOperator(
        task_id="failing",
        data=f"{OUTPUT}/failing.csv",
        target="y",
        deferrable=True,
        outlets=[cleartrace_model_asset("outlets-failing", SERVER)],
    )
    segment = ClearTraceSegmentOperator(
        task_id="segment",
        model_id=fit.output["model_id"],
        n_search_steps=2,
        deferrable=True,
        output_uri=f"{OUTPUT}/segments.json",
        outlets=[Asset(uri="x-reports://segments")],
    )
    explain = ClearTraceExplainOperator(
        task_id="explain",
        model_id=fit.output["model_id"],
        data=CREDIT,
        output_uri=f"{OUTPUT}/explanations.parquet",
        outlets=[AssetAlias("explanations")],
    )
    wait = ClearTraceJobSensor(
        task_id="wait", model_id=fit.output["model_id"], poke_interval=1, deferrable=True
    )
