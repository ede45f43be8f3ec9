"""``make up`` as a program: started in a folder of its own, read, ended."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from example_dags.demo.api import AirflowApi

CHECKOUT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Up:
    """The running program, and what it has printed for the person at the terminal."""

    program: subprocess.Popen[str]
    folder: Path
    url: str
    user: str
    password: str
    cleartrace_url: str
    cleartrace_key: str

    @property
    def output(self) -> Path:
        """Where the DAGs write."""
        return self.folder / "up" / "output"

    def api(self, password: str | None = None) -> AirflowApi:
        """Airflow's API, for who knows the printed password or another one."""
        port = urlsplit(self.url).port
        assert port is not None
        return AirflowApi("127.0.0.1", port, self.user, password or self.password)


@contextlib.contextmanager
def up(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """What ``make up`` starts; a test that fails ends it too."""
    command = (sys.executable, "-m", "example_dags.demo", "up", "--folder", str(folder))
    with subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) as program:
        try:
            yield program
        finally:
            program.terminate()


@contextlib.contextmanager
def ready(folder: Path) -> Iterator[Up]:
    """The program from when it says what to open."""
    with up(folder) as program:
        printed = read_until(program, "Ctrl-C")
        told = [
            printed_value(printed, name)
            for name in ("Airflow", "user", "password", "ClearTrace Local", "API key")
        ]
        yield Up(program, folder, *told)


def printed_value(printed: str, name: str) -> str:
    (value,) = re.findall(rf"^ +{name} +(\S+)$", printed, re.MULTILINE)
    return str(value)


def read_until(program: subprocess.Popen[str], word: str) -> str:
    """What the program has printed when the word comes, or all it ever did."""
    assert program.stdout is not None
    printed = ""
    for line in program.stdout:
        printed += line
        if word in line:
            return printed
    pytest.fail(f"{word!r} was not printed: {printed}")
