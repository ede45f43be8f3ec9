"""The library's plots of factual and alternative explanations, as SVG."""

from __future__ import annotations

import copy
import importlib.util
import logging
import re
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from airflow_provider_cleartrace.explanations.errors import ExplanationError

MOST_RULES = 12
"""Rules that one plot shows, of the largest weight: more cannot be read."""

_NAME, _EXTENSION = "plot", ".svg"

_DATE = re.compile(rb"\s*<dc:date>[^<]*</dc:date>")
"""The time of drawing, which would make two files of the same plot differ."""

_SALT = "cleartrace"
"""What matplotlib makes the ids in a file from, in place of a random number."""


def check(kind: str) -> None:
    """Refuse plots that cannot be drawn, before an explanation is computed.

    Raises:
        ExplanationError: the kind has no plots, or matplotlib is not there.
    """
    if kind == "fast":
        raise ExplanationError("there are plots of factual and alternative explanations, not of fast ones")
    if importlib.util.find_spec("matplotlib") is None:
        raise ExplanationError("plots need matplotlib: install the extra 'report'")


def draw(told: Any, rules: Mapping[str, Any]) -> bytes:
    """One explanation as SVG: the same bytes for the same explanation.

    Args:
        told: the library's explanation.
        rules: the rules dictionary to show, with texts for people.

    Raises:
        ExplanationError: a fast explanation, one without rules, or matplotlib is not there.
    """
    kind = _KINDS.get(type(told).__name__, "fast")
    check(kind)
    if not rules["rule"]:
        raise ExplanationError("an explanation without rules has no plot")
    import matplotlib  # noqa: PLC0415  (the extra "report")

    matplotlib.use("Agg", force=False)
    from calibrated_explanations import plotting  # noqa: PLC0415  (loads matplotlib's parts)

    shown = copy.copy(told)
    shown.rules = {name: list(value) if isinstance(value, tuple) else value for name, value in rules.items()}
    shown.has_rules, shown.has_conjunctive_rules, shown.conjunctive_rules = True, False, None
    order = sorted(range(len(rules["rule"])), key=lambda index: abs(rules["weight"][index]))[-MOST_RULES:]
    with tempfile.TemporaryDirectory() as folder, _alone():
        common: dict[str, Any] = {
            "title": _NAME,
            "path": f"{folder}/",
            "show": False,
            "save_ext": [_EXTENSION],
            # The library's newer drawing cuts long texts off.
            "use_legacy": True,
        }
        values, texts = list(rules["value"]), list(rules["rule"])
        if kind == "alternative":
            bounds = {name: list(rules[f"predict{end}"]) for name, end in _BOUNDS}
            plotting.plot_alternative(
                shown, values, told.prediction, bounds, order[::-1], len(order), texts, **common
            )
        else:
            quantity = told.is_regression() and not told.is_thresholded()
            plot = plotting.plot_regression if quantity else plotting.plot_probabilistic
            weights = list(rules["weight"])
            plot(shown, values, told.prediction, weights, order, len(order), texts, idx=told.index, **common)
        return _DATE.sub(b"", Path(folder, _NAME + _EXTENSION).read_bytes())


_KINDS = {"FactualExplanation": "factual", "AlternativeExplanation": "alternative"}
_BOUNDS = (("predict", ""), ("low", "_low"), ("high", "_high"))


@contextmanager
def _alone() -> Iterator[None]:
    """Leave matplotlib's settings and figures as they were, without complaints that are nobody's to mend."""
    from matplotlib import pyplot as plt  # noqa: PLC0415  (the extra "report")

    fonts = logging.getLogger("matplotlib.font_manager")
    level, figures = fonts.level, plt.get_fignums()
    fonts.setLevel(logging.CRITICAL)
    try:
        with plt.rc_context({"svg.hashsalt": _SALT}), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        fonts.setLevel(level)
        for number in set(plt.get_fignums()).difference(figures):
            plt.close(number)
