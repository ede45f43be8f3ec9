"""The JSON Schema of explanations, as it ships in the package."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any, Literal

Shape = Literal["line", "payload", "explanation", "collection"]


def json_schema(shape: Shape = "line") -> dict[str, Any]:
    """The schema of one shape.

    Args:
        shape: ``line`` of the operator's file, ``payload`` as of ``build_rules_payload()``, or what
            ``to_json()`` gives of an ``explanation`` or a ``collection``.
    """
    package = resources.files("airflow_provider_cleartrace.explanations")
    document: dict[str, Any] = json.loads(package.joinpath("schema.json").read_text(encoding="utf-8"))
    return document | {"$ref": f"#/$defs/{shape}"}
