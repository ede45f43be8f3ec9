"""ClearTrace Local from outside: its start, what it adds to a prediction, polls, the guide's closing script.

Targets: less than 3 ms added to a prediction of one row (p50), less than 0.5 CPU seconds for 1,000 polls of a
status, and less than 120 s for the guide's closing script on the 1,000 rows of German credit.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pandas as pd

from airflow_provider_cleartrace.client import ClearTrace
from airflow_provider_cleartrace.local.artefacts import Artefact
from airflow_provider_cleartrace.local.engine import Table
from tests.integration.local_server import LocalServer

GERMAN_CREDIT = Path(__file__).parents[1] / "example_dags/data/german_credit.csv"
TARGET = "good_credit"
CALLS, POLLS = 300, 1_000
CLIENT_SECONDS = 600.0


def median_ms(call: Callable[[], object]) -> float:
    """Time a call again and again; the first tenth warms up and does not count."""
    taken = []
    for _ in range(CALLS + CALLS // 10):
        start = time.perf_counter()
        call()
        taken.append(1000 * (time.perf_counter() - start))
    return statistics.median(taken[CALLS // 10 :])


def cpu_seconds(pid: int) -> float:
    """CPU time that a process used itself: user and system, without its children."""
    fields = (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure_start(server: LocalServer) -> None:
    start = time.perf_counter()
    server.start()
    print(f"start to healthy                 {time.perf_counter() - start:8.2f} s")


def run_the_guide(server: LocalServer, data: pd.DataFrame) -> str:
    """The closing script of the guide; gives the id of its model."""
    client = ClearTrace(server.base_url, server.api_key, timeout=CLIENT_SECONDS, poll_interval=0.5)
    features = data.drop(columns=[TARGET])
    parts: dict[str, float] = {}

    def timed(name: str, call: Callable[[], object]) -> object:
        start = time.perf_counter()
        result = call()
        parts[name] = time.perf_counter() - start
        return result

    timed("fit", lambda: client.fit(data, target=TARGET))
    timed("interpret", client.interpret)
    explained = timed("predict_and_explain", lambda: client.predict_and_explain(features, with_persona=True))
    denied = features[explained.predictions < 0.5]
    constraints = {"age_in_years": {"immutable": True}}
    found = timed("scenario", lambda: client.scenario(denied, desired_class=1, constraints=constraints))
    solved = sum(item.scenario_count > 0 for item in found)
    timed("segment", lambda: client.segment(data=features, target_values=data[TARGET]))
    timed("narrative", lambda: client.narrative(data, kpi_name="Approval Rate"))
    print(f"guide's closing script           {sum(parts.values()):8.1f} s   (target 120)")
    for name, seconds in parts.items():
        note = f"   ({len(denied)} denied, a way out for {solved})" if name == "scenario" else ""
        print(f"  {name:<30} {seconds:8.1f} s{note}")
    return str(client.model_id)


def measure_predict(server: LocalServer, client: httpx.Client, model_id: str, data: pd.DataFrame) -> None:
    (folder,) = (path for path in (server.data_dir / "artefacts").iterdir() if (path / "model").exists())
    model = Artefact(folder).model()
    row = data.drop(columns=[TARGET]).iloc[:1]
    body = {"samples": row.to_dict("records")}
    table = Table.from_columns({name: row[name].tolist() for name in row})
    engine = median_ms(lambda: model.predict(table))
    health = median_ms(lambda: client.get("/health"))
    predict = median_ms(lambda: client.post(f"/v1/models/{model_id}/predict", json=body).raise_for_status())
    print(f"/health, p50                     {health:8.2f} ms")
    print(f"predict of 1 row, p50            {predict:8.2f} ms  ({predict - health:.2f} ms above /health)")
    print(f"  of which the engine            {engine:8.2f} ms")
    print(f"  added by server and client     {predict - engine:8.2f} ms  (target 3)")


def measure_polls(server: LocalServer, client: httpx.Client, model_id: str) -> None:
    if server.process is None:
        raise RuntimeError("the server is not running")
    before = cpu_seconds(server.process.pid)
    for _ in range(POLLS):
        client.get(f"/v1/models/{model_id}/status").raise_for_status()
    used = cpu_seconds(server.process.pid) - before
    print(f"server's CPU for {POLLS} polls     {used:8.2f} s   (target 0.5)")


def main() -> None:
    """Measure one server after the other figure, and print as it goes."""
    data = pd.read_csv(GERMAN_CREDIT)
    with tempfile.TemporaryDirectory() as folder:
        server = LocalServer(Path(folder) / "data")
        measure_start(server)
        with server, server.client() as client:
            model_id = run_the_guide(server, data)
            measure_predict(server, client, model_id, data)
            measure_polls(server, client, model_id)


if __name__ == "__main__":
    main()
