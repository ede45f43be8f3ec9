"""What Airflow is told about this provider; one constant feeds every version's connection form."""

from __future__ import annotations

from typing import Any

CONNECTION_TYPE = "cleartrace"

FORM_FIELDS: dict[str, dict[str, Any]] = {
    "timeout": {
        "label": "Request timeout (s)",
        "description": "Seconds one request may take. Waiting for a job has its own limit, on the task.",
        "schema": {"type": ["number", "null"], "default": 300},
    },
    "poll_interval": {
        "label": "Poll interval (s)",
        "description": "Seconds before the second look at a job; later looks come less often.",
        "schema": {"type": ["number", "null"], "default": 2},
    },
    "max_retries": {
        "label": "Retries",
        "description": "How often a request that failed for a passing reason is sent again.",
        "schema": {"type": ["integer", "null"], "default": 3},
    },
    "verify": {
        "label": "TLS verification",
        "description": "true, false, or the path of a CA bundle.",
        "schema": {"type": ["string", "null"], "default": "true"},
    },
    "paths": {
        "label": "Path overrides (JSON)",
        "description": 'Paths of operations that differ on your server, such as {"fit": "/v1/fit"}.',
        "schema": {"type": ["string", "null"]},
    },
    "model_page": {
        "label": "Model page",
        "description": "URL of a model's page, with {model_id} in it; links of tasks lead there.",
        "schema": {"type": ["string", "null"]},
    },
}
"""The connection's extra fields: read by Airflow 3.2+ as they stand, turned into widgets for 2.11."""

FIELD_BEHAVIOUR: dict[str, Any] = {
    "hidden-fields": ["login", "schema"],
    "relabeling": {"host": "API URL", "password": "API key"},
    "placeholders": {
        "host": "https://cleartrace-api.onrender.com",
        "password": "the key that ClearTrace gave you",
    },
}

_PACKAGE = "airflow_provider_cleartrace"
_OPERATOR_MODULES = [
    f"{_PACKAGE}.operators.{name}"
    for name in (
        "training",
        "predict",
        "explain",
        "interpret",
        "scenario",
        "analysis",
        "calibrated",
        "report",
        "compare",
    )
]

_ASSET_URIS = [
    {
        "schemes": ["cleartrace"],
        "handler": f"{_PACKAGE}.assets.model.sanitize_uri",
        "factory": f"{_PACKAGE}.assets.model.cleartrace_model_asset",
        "to_openlineage_converter": f"{_PACKAGE}.lineage.datasets.convert_asset_to_openlineage",
    }
]
"""Airflow 3 reads them as ``asset-uris``, 2.11 as ``dataset-uris``."""

PROVIDER_INFO: dict[str, Any] = {
    "package-name": "airflow-provider-cleartrace",
    "name": "ClearTrace",
    "description": "Train, distil, explain and narrate models on tables with ClearTrace.",
    "integrations": [
        {
            "integration-name": "ClearTrace",
            "external-doc-url": "https://cleartrace-api.onrender.com",
            "tags": ["service"],
        }
    ],
    "hooks": [{"integration-name": "ClearTrace", "python-modules": [f"{_PACKAGE}.hooks.cleartrace"]}],
    "operators": [{"integration-name": "ClearTrace", "python-modules": _OPERATOR_MODULES}],
    "sensors": [{"integration-name": "ClearTrace", "python-modules": [f"{_PACKAGE}.sensors.job"]}],
    "triggers": [
        {
            "integration-name": "ClearTrace",
            "python-modules": [f"{_PACKAGE}.triggers.{name}" for name in ("job", "ready")],
        }
    ],
    "task-decorators": [
        {
            "name": f"cleartrace_{name}",
            "class-name": f"{_PACKAGE}.decorators.training.cleartrace_{name}_task",
        }
        for name in ("fit", "distill")
    ],
    "extra-links": [
        f"{_PACKAGE}.links.model.ClearTraceModelLink",
        f"{_PACKAGE}.links.report.ClearTraceReportLink",
    ],
    "config": {
        "cleartrace": {
            "description": "The ClearTrace tab in Airflow's UI.",
            "options": {
                "reports_aws_conn_id": {
                    "description": "The connection that the API server reads reports on S3 with; without one,"
                    " boto3's own credential chain.",
                    "version_added": "0.1.0",
                    "type": "string",
                    "example": "aws_default",
                    "default": "",
                }
            },
        }
    },
    "asset-uris": _ASSET_URIS,
    "dataset-uris": _ASSET_URIS,
    "connection-types": [
        {
            "connection-type": CONNECTION_TYPE,
            "hook-class-name": f"{_PACKAGE}.hooks.cleartrace.ClearTraceHook",
            "hook-name": "ClearTrace",
            "conn-fields": FORM_FIELDS,
            "ui-field-behaviour": FIELD_BEHAVIOUR,
        }
    ],
}
