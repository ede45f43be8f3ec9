"""Two stacks at a time: a file's tests share one, and so do those of a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)  # before xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            shared = item.path if item.path.parent == HERE else item.path.parent
            item.add_marker(pytest.mark.xdist_group(shared.name))
