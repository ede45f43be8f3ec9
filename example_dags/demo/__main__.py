"""``python -m example_dags.demo run`` shows the demo and ends; ``up`` keeps its stack until Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from example_dags.demo.api import AirflowApiError
from example_dags.demo.credit_risk_run import RunFailed, say, show_run
from example_dags.demo.processes import ComponentFailed
from example_dags.demo.results import MissingResult
from example_dags.demo.scorer import running_scorer
from example_dags.demo.stack import Stack, StackBusy, StackNotReady

DAGS_FOLDER = Path(__file__).resolve().parents[1]

#: Ignored by git; a folder for each command, so that a demo leaves a running `up` alone.
DEFAULT_FOLDER = DAGS_FOLDER.parent / ".demo"

#: While nobody waits for anything, how often the processes are looked at, in seconds.
WATCH_POLL = 1.0


def main() -> int:
    """Run the command and return the process's exit code."""
    parser = argparse.ArgumentParser(prog="python -m example_dags.demo", description=__doc__)
    parser.add_argument("command", choices=("run", "up"))
    parser.add_argument(
        "--folder", type=Path, default=DEFAULT_FOLDER, help="where the stack writes; it is emptied"
    )
    arguments = parser.parse_args()
    _end_on_signals()
    with running_scorer() as scorer:
        stack = Stack(
            arguments.folder / arguments.command,
            DAGS_FOLDER,
            cleartrace_flags=scorer.cleartrace_flags,
            settings=scorer.settings,
        )
        return _use(stack, arguments.command)


def _use(stack: Stack, command: str) -> int:
    say(f"Starting Airflow and ClearTrace Local; their logs are in {stack.logs}")
    try:
        with stack:
            if command == "run":
                show_run(stack)
            else:
                _keep_running(stack)
    except (AirflowApiError, ComponentFailed, MissingResult, RunFailed, StackBusy, StackNotReady) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 1
    except KeyboardInterrupt:
        say("\nStopped.")
        return 0 if command == "up" else 128 + signal.SIGINT
    return 0


def _keep_running(stack: Stack) -> None:
    say(f"\n  Airflow           {stack.url}")
    say(f"  user              {stack.user}")
    say(f"  password          {stack.password}")
    say(f"  ClearTrace Local  {stack.cleartrace_url}")
    say(f"  API key           {stack.cleartrace_key}")
    say("\nCtrl-C stops everything.")
    while True:
        stack.check()
        time.sleep(WATCH_POLL)


def _end_on_signals() -> None:
    """Let SIGTERM and SIGHUP unwind the stack as an exception would; what `nohup` ignores stays ignored."""
    # A shell starts background jobs with SIGINT ignored; it must end this program there as well.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _exit)


def _exit(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
