"""The page at /docs: the OpenAPI document as plain HTML, with nothing fetched from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from typing import Any

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
details { border: 1px solid #8884; border-radius: .4rem; margin: .5rem 0; padding: .4rem .8rem; }
summary { cursor: pointer; } code, pre { font: 14px/1.45 ui-monospace, monospace; }
pre { overflow: auto; background: #8881; padding: .6rem; } b.method { display: inline-block; width: 4.5rem; }
"""


def docs_page(document: Mapping[str, Any]) -> str:
    """Write an OpenAPI document as one self-contained HTML page."""
    info = document["info"]
    schemas: Mapping[str, Any] = document.get("components", {}).get("schemas", {})
    calls = "".join(
        _call(method, path, call, schemas)
        for path, methods in document["paths"].items()
        for method, call in methods.items()
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(info["title"])}</title>'
        f"<style>{_STYLE}</style><h1>{escape(info['title'])} {escape(info['version'])}</h1>"
        f"<p>{escape(info['description'])}</p>"
        '<p>The same for programs: <a href="openapi.json">openapi.json</a>.</p>'
        f"{calls}</html>"
    )


def _call(method: str, path: str, call: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    parts = [f"<p>{escape(call.get('description', ''))}</p>"]
    parameters = [
        f"<li><code>{escape(one['name'])}</code> ({escape(one['in'])}) "
        f"{escape(one.get('description', ''))}</li>"
        for one in call.get("parameters", ())
    ]
    if parameters:
        parts.append(f"<p>Parameters</p><ul>{''.join(parameters)}</ul>")
    body = call.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    if body:
        parts.append(f"<p>Body</p>{_schema(body, schemas)}")
    for status, response in call.get("responses", {}).items():
        schema = response.get("content", {}).get("application/json", {}).get("schema")
        shown = _schema(schema, schemas) if schema and status.startswith("2") else ""
        parts.append(f"<p>{escape(status)}: {escape(response.get('description', ''))}</p>{shown}")
    return (
        f'<details><summary><b class="method">{escape(method.upper())}</b> <code>{escape(path)}</code> '
        f"{escape(call.get('summary', ''))}</summary>{''.join(parts)}</details>"
    )


def _schema(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    reference = str(schema.get("$ref", "")).rpartition("/")[2]
    shown = schemas.get(reference, schema)
    name = f"<code>{escape(reference)}</code> {escape(shown.get('description', ''))}" if reference else ""
    return f"<p>{name}</p><pre>{escape(json.dumps(shown.get('properties', shown), indent=2))}</pre>"
