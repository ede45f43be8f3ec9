"""Processes that are started together, watched together and ended together, with everything they started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

# No stubs are published with psutil, and it is only used here.
import psutil  # type: ignore[import-untyped]

#: Set in the environment of every process of a stack: whoever carries it belongs to that stack.
OWNER_VARIABLE = "CLEARTRACE_DEMO_STACK"

#: Airflow's processes rename themselves; without this the new name is written over their environment.
READABLE_ENVIRONMENT = {"SPT_NOENV": "1"}

#: What the processes get to end by themselves, in seconds. The triggerer of Airflow 3.3 would take 10 once it
#: has run a trigger; nothing is lost without that, for a stack starts empty.
STOP_GRACE = 3.0

#: After SIGKILL a process only has to be collected, in seconds.
KILL_GRACE = 5.0
KILL_ROUNDS = 5

#: How much of a log explains why a process ended.
LOG_TAIL_LINES = 30


class ComponentFailed(RuntimeError):
    """A process of the stack ended although it should run, or ended with an error."""

    def __init__(self, name: str, exit_code: int, log: Path) -> None:
        super().__init__(f"{name} ended with exit code {exit_code}. The end of {log}:\n{log_tail(log)}")
        self.name = name
        self.exit_code = exit_code
        self.log = log


def log_tail(log: Path, lines: int = LOG_TAIL_LINES) -> str:
    """Return the last lines of a log file, or say that it is empty."""
    text = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    return "\n".join(text[-lines:]) or "(empty)"


def processes_of(owner: str) -> list[psutil.Process]:
    """Return every running process whose environment says that it belongs to ``owner``."""
    return [
        process
        for process in psutil.process_iter(["environ", "status"])
        if (process.info["environ"] or {}).get(OWNER_VARIABLE) == owner
        and process.info["status"] != psutil.STATUS_ZOMBIE
        and process.pid != os.getpid()
    ]


class Processes:
    """The processes of one stack, each the leader of a session of its own with a log file of its own.

    Airflow puts every task into a process group of its own, and a server may do the same with its jobs, so
    that ending the groups started here would leave those behind. What belongs to the stack is therefore
    told by an environment variable that children inherit.
    """

    def __init__(self, owner: str, logs: Path) -> None:
        self.owner = owner
        self.logs = logs
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def log_of(self, name: str) -> Path:
        """Return the file that holds what the process ``name`` writes."""
        return self.logs / f"{name}.log"

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start ``command`` in the background and watch it from now on."""
        with self.log_of(name).open("ab") as log:
            self._running[name] = subprocess.Popen(  # noqa: S603  (the commands are the stack's own)
                command,
                env={**environment, OWNER_VARIABLE: self.owner, **READABLE_ENVIRONMENT},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def finish(self, name: str) -> None:
        """Wait until ``name`` has done its work.

        Raises:
            ComponentFailed: It ended with an error.
        """
        exit_code = self._running[name].wait()
        del self._running[name]
        if exit_code != 0:
            raise ComponentFailed(name, exit_code, self.log_of(name))

    def send_signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to ``name`` and to everything it has started."""
        for process in self._family(name):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def kill(self, name: str) -> None:
        """End ``name`` and all it has started as a crash of its machine would; it is watched no longer."""
        family = self._family(name)
        self.send_signal(name, signal.SIGKILL)
        self._running.pop(name).wait(timeout=KILL_GRACE)
        psutil.wait_procs(family, timeout=KILL_GRACE)

    def _family(self, name: str) -> list[psutil.Process]:
        process = psutil.Process(self._running[name].pid)
        return [process, *process.children(recursive=True)]

    def check(self) -> None:
        """Raise when a process has ended.

        Raises:
            ComponentFailed: The first one that did, with the end of its log.
        """
        for name, process in self._running.items():
            exit_code = process.poll()
            if exit_code is not None:
                raise ComponentFailed(name, exit_code, self.log_of(name))

    def stop(self) -> None:
        """End everything that belongs to the stack: SIGTERM, a grace, then SIGKILL.

        An interrupt during the grace goes straight to SIGKILL.
        """
        try:
            self._signal_groups(signal.SIGTERM)
            psutil.wait_procs(processes_of(self.owner), timeout=STOP_GRACE)
        finally:
            end_leftovers(self.owner)
            for process in self._running.values():
                process.wait(timeout=KILL_GRACE)
            self._running.clear()

    def _signal_groups(self, number: signal.Signals) -> None:
        for process in self._running.values():
            if process.poll() is None:
                os.killpg(process.pid, number)


def end_leftovers(owner: str) -> None:
    """Kill what still runs for ``owner``, in rounds: a process may start another while it is looked at.

    Raises:
        RuntimeError: Something survived SIGKILL, which only a hanging disk or network mount makes possible.
    """
    for _ in range(KILL_ROUNDS):
        leftovers = processes_of(owner)
        if not leftovers:
            return
        for process in leftovers:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(leftovers, timeout=KILL_GRACE)
    raise RuntimeError(f"These processes do not end: {[process.pid for process in processes_of(owner)]}")
