"""Sphinx settings: MyST pages, the API from docstrings, no network."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from airflow_provider_cleartrace import __version__  # noqa: E402  (the checkout, whether installed or not)

project = "airflow-provider-cleartrace"
author = "airflow-provider-cleartrace maintainers"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"{project} {release}"
html_show_sourcelink = False
html_show_copyright = False
html_static_path = ["_static"]
html_css_files = ["pages.css"]

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False

# A client's method drives a flow, so that autodoc finds the flow's return type: a generator. What the method
# returns is what the flow returns.
FLOW = re.compile(r"^~?(?:collections\.abc\.)?Generator\[.*?, ~?(?:\w+\.)*Answer \| None, (?P<value>.*)\]$")
# An array is annotated with how it travels as JSON.
ARRAY = re.compile(r"~?(?:typing\.)?Annotated\[[^\[\]]*_to_array[^\[\]]*\]")


def for_readers(
    _: Any, what: str, name: str, obj: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str | None, ...]:
    """Show what a method returns in place of the flow that it drives, and arrays as arrays."""
    if flow := FLOW.match(returns or ""):
        returns = flow["value"]
    return tuple(text and ARRAY.sub("numpy.ndarray", text) for text in (signature, returns))


def setup(app: Any) -> None:
    """Register the rewriting of signatures."""
    app.connect("autodoc-process-signature", for_readers)
