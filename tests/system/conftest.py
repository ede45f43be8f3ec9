"""Stacks are shared: by the tests of a file, and by those of a folder below this one."""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

HERE = "tests/system/"


class ByStack(LoadFileScheduling):
    """Gives all tests of a stack to one process; the largest groups begin."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        folder = file.rpartition("/")[0]
        return folder if folder.startswith(HERE) else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByStack:
    """xdist's own way, marks for ``--dist loadgroup``, does nothing on pytest 9.2."""
    return ByStack(config, log)
