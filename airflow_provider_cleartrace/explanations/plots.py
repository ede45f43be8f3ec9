"""The library's plots of factual and alternative explanations, as SVG."""

from __future__ import annotations

import copy
import logging
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


def draw(told: Any, rules: Mapping[str, Any]) -> bytes:
    """One explanation as SVG.

    Args:
        told: the library's explanation.
        rules: the rules dictionary to show, with texts for people.

    Raises:
        ExplanationError: a fast explanation, one without rules, or matplotlib is not there.
    """
    try:
        import matplotlib  # noqa: PLC0415  (the extra "report")
    except ImportError:
        raise ExplanationError("plots need matplotlib: install the extra 'report'") from None
    if not rules["rule"]:
        raise ExplanationError("an explanation without rules has no plot")
    matplotlib.use("Agg", force=False)
    from calibrated_explanations import plotting  # noqa: PLC0415  (loads matplotlib's parts)

    shown = copy.copy(told)
    shown.rules = {name: list(value) if isinstance(value, tuple) else value for name, value in rules.items()}
    shown.has_rules, shown.has_conjunctive_rules, shown.conjunctive_rules = True, False, None
    order = sorted(range(len(rules["rule"])), key=lambda index: abs(rules["weight"][index]))[-MOST_RULES:]
    kind = type(told).__name__
    with tempfile.TemporaryDirectory() as folder, _quiet():
        common: dict[str, Any] = {
            "title": _NAME,
            "path": f"{folder}/",
            "show": False,
            "save_ext": [_EXTENSION],
            # The library's newer drawing cuts long texts off.
            "use_legacy": True,
        }
        values, texts = list(rules["value"]), list(rules["rule"])
        if kind == "AlternativeExplanation":
            bounds = {name: list(rules[f"predict{end}"]) for name, end in _BOUNDS}
            plotting.plot_alternative(
                shown, values, told.prediction, bounds, order[::-1], len(order), texts, **common
            )
        elif kind == "FactualExplanation":
            quantity = told.is_regression() and not told.is_thresholded()
            plot = plotting.plot_regression if quantity else plotting.plot_probabilistic
            weights = list(rules["weight"])
            plot(
                shown,
                values,
                told.prediction,
                weights,
                order,
                len(order),
                texts,
                idx=told.index,
                **common,
            )
        else:
            raise ExplanationError(
                "there are plots of factual and alternative explanations, not of fast ones"
            )
        return Path(folder, _NAME + _EXTENSION).read_bytes()


_BOUNDS = (("predict", ""), ("low", "_low"), ("high", "_high"))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the complaints about fonts and styles that are nobody's to mend."""
    fonts = logging.getLogger("matplotlib.font_manager")
    level = fonts.level
    fonts.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        fonts.setLevel(level)
