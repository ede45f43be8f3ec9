"""Airflow's four components and ClearTrace Local on this machine: settings, start-up, end."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from signal import Signals
from typing import Self

from example_dags.demo.api import HEALTHY, AirflowApi
from example_dags.demo.processes import Processes, end_leftovers

LOOPBACK = "127.0.0.1"
CLEARTRACE_LOCAL = "cleartrace-local"
ADMIN = "admin"

#: Four components on two busy cores were healthy after 20 to 40 s.
START_LIMIT = 300.0
START_POLL = 0.5

#: A DAG file that is new or changed is read at the next look at the folder. Reading the others over and over,
#: which is for files that make their DAGs out of something else, would keep a core busy.
LOOK_AT_FOLDER_SECONDS = 5
READ_UNCHANGED_SECONDS = 600

#: The log servers of scheduler and triggerer would listen on every interface; the logs are files at hand.
COMPONENTS = {
    "api-server": ("api-server",),
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
    "triggerer": ("triggerer", "--skip-serve-logs"),
}

#: An executor that hands tasks over to Celery needs workers, each started with a name of its own.
CELERY_WORKER = "celery-worker"
STARTED_BY_NAME = {CELERY_WORKER: ("celery", "worker", "--skip-serve-logs")}

#: A stack answers for its own settings: whatever the shell says about Airflow or ClearTrace would reach into
#: another installation (its database, its keys). Unwritten bytecode costs each process 2 to 3 s.
FOREIGN_PREFIXES = ("AIRFLOW", "_AIRFLOW", "CLEARTRACE", "OUTERPRODUCT", "PYTHONDONTWRITEBYTECODE")


class StackBusy(RuntimeError):
    """Another stack runs in the same folder."""


class StackNotReady(RuntimeError):
    """The stack started, but did not become healthy in time."""


class Stack:
    """A whole Airflow that lives in one folder, starts empty, and listens on loopback only.

    Args:
        folder: Holds everything the stack writes. It is emptied at the start and kept at the end.
        dags_folder: Where Airflow finds its DAGs.
        with_cleartrace: Also start ClearTrace Local and give Airflow the connection ``cleartrace_default``.
        cleartrace_flags: What ClearTrace Local is started with besides.
        settings: Environment variables of Airflow's processes besides the stack's own: another database than
            SQLite, say.
    """

    def __init__(
        self,
        folder: Path,
        dags_folder: Path,
        *,
        with_cleartrace: bool = True,
        cleartrace_flags: Sequence[str] = (),
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder.resolve()
        self.dags_folder = dags_folder.resolve()
        self.with_cleartrace = with_cleartrace
        self.airflow_home = self.folder / "airflow"
        self.logs = self.folder / "logs"
        #: DAGs write what they produce below it: the Airflow variable ``cleartrace_output``.
        self.output = self.folder / "output"
        self.cleartrace_data = self.folder / "cleartrace"
        self.user = ADMIN
        self.password = secrets.token_urlsafe(12)
        self.cleartrace_key = secrets.token_urlsafe(32)
        self._cleartrace_flags = tuple(cleartrace_flags)
        self._port, self.cleartrace_port = _free_ports(2)
        self.url = f"http://{LOOPBACK}:{self._port}"
        self.cleartrace_url = f"http://{LOOPBACK}:{self.cleartrace_port}"
        self.api = AirflowApi(LOOPBACK, self._port, self.user, self.password)
        self._airflow_environment = {**self._settings(), **(settings or {})}
        self._processes = Processes(str(self.folder), self.logs)
        self._held = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            undo.enter_context(_only_one(self.folder))
            # A stack whose parent was killed could not end its processes.
            end_leftovers(self._processes.owner)
            self._make_folders()
            undo.enter_context(self._processes)
            self._start()
            self._held = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def check(self) -> None:
        """Raise when a process of the stack has ended.

        Raises:
            ComponentFailed: It names the process and shows the end of its log.
        """
        self._processes.check()

    def start(self, component: str, *flags: str, name: str | None = None) -> None:
        """Start a component that was killed, or with another ``name`` one more of it."""
        name = name or component
        if component == CLEARTRACE_LOCAL:
            self._processes.start(name, self._cleartrace_command, self._cleartrace_environment)
        else:
            self._start_airflow(name, *(COMPONENTS | STARTED_BY_NAME)[component], *flags)

    def kill(self, name: str) -> None:
        """End a component without a chance to tidy up; it is not missed by :meth:`check`."""
        self._processes.kill(name)

    def send_signal(self, name: str, number: Signals) -> None:
        """Send a signal to all processes of a component."""
        self._processes.send_signal(name, number)

    def log_of(self, name: str) -> Path:
        """Return the file that holds what a component writes."""
        return self._processes.log_of(name)

    def _make_folders(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True, mode=0o700)
        for folder in (self.airflow_home, self.logs, self.output, self.cleartrace_data):
            folder.mkdir()
        self._password_file.touch(mode=0o600)
        self._password_file.write_text(json.dumps({self.user: self.password}), encoding="utf-8")

    def _start(self) -> None:
        if self.with_cleartrace:
            self.start(CLEARTRACE_LOCAL)
        self._start_airflow("db-migrate", "db", "migrate")
        self._processes.finish("db-migrate")
        for component in COMPONENTS:
            self.start(component)
        self.wait_until_ready()

    def _start_airflow(self, name: str, *arguments: str) -> None:
        self._processes.start(name, (sys.executable, "-m", "airflow", *arguments), self._airflow_environment)

    def wait_until_ready(self) -> None:
        """Wait until every component says that it is healthy.

        Raises:
            ComponentFailed: One of them ended.
            StackNotReady: It took too long.
        """
        deadline = time.monotonic() + START_LIMIT
        while True:
            self._processes.check()
            health = self.api.health()
            if self.with_cleartrace:
                health[CLEARTRACE_LOCAL] = _cleartrace_health(self.cleartrace_port)
            if set(health.values()) == {HEALTHY}:
                return
            if time.monotonic() > deadline:
                raise StackNotReady(
                    f"Not healthy after {START_LIMIT:.0f} s: {health}. The logs are in {self.logs}."
                )
            time.sleep(START_POLL)

    @property
    def _password_file(self) -> Path:
        return self.airflow_home / "passwords.json"

    @property
    def _cleartrace_command(self) -> tuple[str, ...]:
        program = Path(sys.executable).with_name("cleartrace-local")
        data, port = str(self.cleartrace_data), str(self.cleartrace_port)
        return (str(program), "serve", "--data-dir", data, "--port", port, *self._cleartrace_flags)

    @property
    def _cleartrace_environment(self) -> dict[str, str]:
        # In the environment and not in the arguments, which every user of the machine can list.
        return {**_own_environment(), "CLEARTRACE_LOCAL_API_KEYS": self.cleartrace_key}

    def _settings(self) -> dict[str, str]:
        """Return the environment of Airflow's processes."""
        settings = {
            "AIRFLOW_HOME": str(self.airflow_home),
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API__HOST": LOOPBACK,
            "AIRFLOW__API__PORT": str(self._port),
            "AIRFLOW__API__SECRET_KEY": secrets.token_urlsafe(32),
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_urlsafe(32),
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.dags_folder),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__PARALLELISM": "4",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(self._password_file),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{self.user}:admin",
            "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": str(READ_UNCHANGED_SECONDS),
            "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": str(LOOK_AT_FOLDER_SECONDS),
            "AIRFLOW_VAR_CLEARTRACE_OUTPUT": str(self.output),
        }
        if self.with_cleartrace:
            connection = {
                "conn_type": "cleartrace",
                "host": self.cleartrace_url,
                "password": self.cleartrace_key,
            }
            settings["AIRFLOW_CONN_CLEARTRACE_DEFAULT"] = json.dumps(connection)
        return {**_own_environment(), **settings}


def _own_environment() -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN_PREFIXES)}
    # A proxy of the shell must not stand between processes of one machine.
    exempt = ",".join(filter(None, (os.environ.get("NO_PROXY", os.environ.get("no_proxy")), LOOPBACK)))
    return {**inherited, "NO_PROXY": exempt, "no_proxy": exempt}


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Hold the lock beside ``folder``; it ends with this process, however that ends."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackBusy(f"A stack already runs in {folder}: end it first.") from None
        yield


def _free_ports(count: int) -> list[int]:
    """Return different ports of the loopback interface that nothing listens on."""
    with ExitStack() as sockets:
        bound = [sockets.enter_context(socket.socket()) for _ in range(count)]
        for one in bound:
            one.bind((LOOPBACK, 0))
        return [one.getsockname()[1] for one in bound]


def _cleartrace_health(port: int) -> str:
    connection = HTTPConnection(LOOPBACK, port, timeout=5)
    try:
        connection.request("GET", "/health")
        status = connection.getresponse().status
    except (OSError, HTTPException):
        return "unreachable"
    finally:
        connection.close()
    return HEALTHY if status == 200 else f"HTTP {status}"
