"""A stand-in for a scorer in production: loan applications in, probabilities of good credit out.

``python -m example_dags.demo.scorer`` serves it until Ctrl-C: a scorecard that knows nothing of ClearTrace.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LOOPBACK = "127.0.0.1"
CONNECTION = "credit_scorer"

BASE = 1.2
POINTS = {
    "status_of_existing_checking_account": {"... < 0 DM": -0.9, "no checking account": 0.9},
    "credit_history": {"critical account/ other credits existing (not at this bank)": 0.6},
    "savings_account_and_bonds": {"... < 100 DM": -0.4},
    "purpose": {"car (new)": -0.3, "car (used)": 0.6},
}
"""What a value adds to the score; other values add nothing."""

PER_MONTH, PER_THOUSAND = -0.03, -0.05

Score = Callable[[Mapping[str, Any]], float]


def scorecard(application: Mapping[str, Any]) -> float:
    """Return the probability that an application is good credit."""
    points = BASE + sum(worth.get(application[name], 0.0) for name, worth in POINTS.items())
    points += PER_MONTH * application["duration_in_month"]
    points += PER_THOUSAND * application["credit_amount"] / 1000
    return 1 / (1 + math.exp(-points))


@dataclass
class Scorer:
    """A running scorer: where to ask it, and by what it scores, which may be replaced while it runs."""

    url: str
    score: Score = scorecard

    @property
    def settings(self) -> dict[str, str]:
        """The Airflow connection of the example DAGs, as an environment variable."""
        told = {"conn_type": "http", "host": self.url}
        return {f"AIRFLOW_CONN_{CONNECTION.upper()}": json.dumps(told)}

    @property
    def cleartrace_flags(self) -> tuple[str, str]:
        """What ClearTrace Local is started with, to be allowed to ask an address that is not public."""
        return "--allow-predict-host", LOOPBACK


@contextlib.contextmanager
def running_scorer(port: int = 0) -> Iterator[Scorer]:
    """Serve on loopback for the time of the block; port 0 takes a free one."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            rows = (dict(zip(asked["feature_names"], row, strict=True)) for row in asked["samples"])
            body = json.dumps({"predictions": [scorer.score(row) for row in rows]}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing of each request."""

    with ThreadingHTTPServer((LOOPBACK, port), Handler) as server:
        scorer = Scorer(f"http://{LOOPBACK}:{server.server_address[1]}/predict")
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield scorer
        finally:
            server.shutdown()
            thread.join()


def main() -> int:
    """Serve until Ctrl-C, and say how it is reached."""
    parser = argparse.ArgumentParser(prog="python -m example_dags.demo.scorer", description=__doc__)
    parser.add_argument("--port", type=int, default=8790)
    with running_scorer(parser.parse_args().port) as scorer:
        for name, value in scorer.settings.items():
            sys.stdout.write(f"Airflow:           {name}='{value}'\n")
        sys.stdout.write(f"ClearTrace Local:  {' '.join(scorer.cleartrace_flags)}\n")
        sys.stdout.flush()
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
