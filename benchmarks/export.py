"""Explanations of many rows and a large upload: time, memory and CPU beside the plain ways to do the same.

Targets: at 100,000 rows of 20 columns at most 0.7x the time and 0.35x the peak memory of one call of the
documented client with the whole frame; at 2,000,000 rows at most 1.2x the memory of 200,000; less than 15 ms
of the client's CPU for 1,000 explained rows; an upload of 2 GB at 0.9x the throughput of ``curl -T`` or more,
in less than 150 MB.

The server answers at no cost, so that all that is seen is the client's; every run is a process of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

FEATURES = [f"f{index:02d}" for index in range(20)]
FIGURE = b"-0.12345678901234567"
SENT_ROWS = 500
GIGABYTE = 10**9
UPLOAD_BYTES = 2 * GIGABYTE
UPLOAD_PAIRS = 5
EXPORT_PAIRS = 5
READ_BLOCK = 1024 * 1024


class CheapModel(BaseHTTPRequestHandler):
    """Tells a schema, drivers and the same answer for every row; takes uploads and forgets them."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        columns = {name: {"dtype": "number"} for name in FEATURES}
        told = {"feature_names": FEATURES, "columns": columns, "target": "y"}
        self.reply(json.dumps(told | {"global_drivers": [1 / len(FEATURES)] * len(FEATURES)}))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.endswith("/uploads"):
            upload = {"model_id": "m", "file_format": "csv", "content_type": "text/csv"}
            port = self.server.server_address[1]
            self.reply(json.dumps(upload | {"upload_url": f"http://127.0.0.1:{port}/put"}))
            return
        self.explain(body.count(b"],[") + 1)

    def explain(self, rows: int) -> None:
        """The same figures for every row, sent from a block that is made once."""
        figures = b"[" + b",".join([FIGURE] * len(FEATURES)) + b"]"
        pieces = [b'{"feature_names":', json.dumps(FEATURES).encode()]
        for name, entry in (("predictions", FIGURE), ("local_drivers", figures), ("local_agop", figures)):
            whole, rest = divmod(rows - 1, SENT_ROWS)
            block = (entry + b",") * SENT_ROWS
            pieces += [f',"{name}":['.encode(), *[block] * whole, (entry + b",") * rest, entry, b"]"]
        pieces.append(b"}")
        self.send_response(200)
        self.send_header("Content-Length", str(sum(map(len, pieces))))
        self.end_headers()
        for piece in pieces:
            self.wfile.write(piece)

    def do_PUT(self) -> None:
        left, block = int(self.headers["Content-Length"]), memoryview(bytearray(READ_BLOCK))
        while left:
            left -= self.rfile.readinto(block[:left])
        self.reply("")

    def reply(self, text: str) -> None:
        content = text.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


def serve() -> None:
    """Be the server, on a port that is printed."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), CheapModel)
    print(server.server_address[1], flush=True)
    server.serve_forever()


def context() -> Any:
    told = {"dag_id": "d", "task_id": "t", "run_id": "r", "map_index": -1, "try_number": 1}
    return {"ti": SimpleNamespace(**told, xcom_push=lambda **_: None)}


def run_operator(url: str, data: str, output: str) -> None:
    from airflow_provider_cleartrace.operators.inference import ClearTraceExplainOperator

    os.environ["AIRFLOW_CONN_CLEARTRACE_DEFAULT"] = json.dumps({"conn_type": "cleartrace", "host": url})
    operator = ClearTraceExplainOperator(task_id="t", model_id="m", data=data, output_uri=output)
    measured(lambda: operator.execute(context()))


def run_client(url: str, data: str, output: str) -> None:
    """The client's own way, in a process that has Airflow in memory, as the body of a task has."""
    from airflow.providers.common.compat.sdk import BaseOperator  # noqa: F401

    run_script(url, data, output)


def run_script(url: str, data: str, output: str) -> None:
    """The same without Airflow."""

    def work() -> None:
        # Inside, as the operator's own imports are: a task pays for them.
        import pandas as pd

        from airflow_provider_cleartrace.client import ClearTrace

        frame = pd.read_parquet(data)
        with ClearTrace(url, "key") as client:
            told = client.load("m").explain(frame)
        columns = {"row": range(len(frame)), "prediction": told.predictions}
        columns |= {f"driver_{name}": told.local_drivers[:, i] for i, name in enumerate(told.feature_names)}
        columns |= {f"agop_{name}": told.local_agop[:, i] for i, name in enumerate(told.feature_names)}
        pd.DataFrame(columns).to_parquet(output)

    measured(work)


def run_upload(url: str, data: str, _: str) -> None:
    from airflow_provider_cleartrace.client import ClearTrace

    with ClearTrace(url, "key") as client:
        measured(lambda: client.upload_file(data))


def measured(work: Callable[[], object]) -> None:
    """Do it, and print seconds, CPU seconds, peak memory, and how much of it was there before."""
    before = resident_mb("VmRSS")
    start, cpu = time.perf_counter(), time.process_time()
    work()
    seconds, used = time.perf_counter() - start, time.process_time() - cpu
    peak = resident_mb("VmHWM")
    print("\n" + json.dumps({"seconds": seconds, "cpu": used, "peak_mb": peak, "added_mb": peak - before}))


def resident_mb(figure: str) -> float:
    """Not from getrusage(): what that tells of a new process begins with its parent's memory."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status[figure].split()[0]) / 1024


def child(name: str, *arguments: str) -> dict[str, float]:
    command = [sys.executable, __file__, name, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def write_rows(path: Path, rows: int) -> str:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as parquet

    random = np.random.default_rng(0)
    schema = pa.schema([(name, pa.float64()) for name in FEATURES])
    with parquet.ParquetWriter(path, schema) as writer:
        for start in range(0, rows, 100_000):
            count = min(100_000, rows - start)
            writer.write_table(pa.table({name: random.normal(size=count) for name in FEATURES}))
    return str(path)


def compare_exports(url: str, folder: Path) -> None:
    """All three in turn, again and again: what else the machine does meanwhile meets them alike."""
    data = write_rows(folder / "rows.parquet", 100_000)
    sides = {
        "client": "one call, to_parquet",
        "script": "the same without Airflow",
        "operator": "the operator",
    }
    runs = [
        {name: child(name, url, data, f"{folder}/{name}{turn}.parquet") for name in sides}
        for turn in range(EXPORT_PAIRS)
    ]
    print(f"100,000 rows of 20 columns, medians of {EXPORT_PAIRS}")
    print("                                  time      CPU    peak memory   added by the work")
    for name, told in sides.items():
        seconds, cpu, peak, added = (
            median(run[name][figure] for run in runs) for figure in ("seconds", "cpu", "peak_mb", "added_mb")
        )
        print(f"  {told:<28}{seconds:7.1f} s {cpu:6.1f} s {peak:8.0f} MB {added:8.0f} MB")

    def ratio(figure: str, peer: str = "client") -> str:
        each = sorted(run["operator"][figure] / run[peer][figure] for run in runs)
        return f"{median(each):6.2f}     ({each[0]:.2f} to {each[-1]:.2f})"

    print(f"  ratio of time                {ratio('seconds')} target 0.7")
    print(f"  ratio of peak memory         {ratio('peak_mb')} target 0.35")
    print(f"    to that without Airflow    {ratio('peak_mb', 'script')}")
    print(f"  ratio of what the work adds  {ratio('added_mb')}")
    cpu = sorted(run["operator"]["cpu"] * 10 for run in runs)
    print(f"  client CPU for 1,000 rows    {median(cpu):6.1f} ms  ({cpu[0]:.1f} to {cpu[-1]:.1f}) target 15")


def compare_sizes(url: str, folder: Path) -> None:
    peaks = {}
    for rows in (200_000, 2_000_000):
        data = write_rows(folder / f"rows{rows}.parquet", rows)
        told = child("operator", url, data, f"{folder}/sized-{rows}/")
        peaks[rows] = told["peak_mb"]
        figures = f"{told['seconds']:7.1f} s {told['cpu']:6.1f} s {peaks[rows]:8.0f} MB"
        print(f"{rows:>9,} rows                {figures}")
    print(f"  ratio of peak memory         {peaks[2_000_000] / peaks[200_000]:6.2f}     (target 1.2)")


def compare_uploads(url: str, folder: Path) -> None:
    """Both send the same file in turn: what else the machine does meanwhile meets them alike."""
    if not shutil.which("curl"):
        raise SystemExit("curl is needed for the upload")
    path = folder / "large.csv"
    with path.open("wb") as file:
        for _ in range(UPLOAD_BYTES // READ_BLOCK):
            file.write(b"x" * READ_BLOCK)
    seconds: dict[str, list[float]] = {"curl -T": [], "the client": []}
    peak = 0.0
    for _ in range(UPLOAD_PAIRS):
        command = ["curl", "-sfT", str(path), "-o", "/dev/null", "-w", "%{time_total}", f"{url}/put"]
        curl = subprocess.run(command, check=True, capture_output=True, text=True)
        seconds["curl -T"].append(float(curl.stdout))
        told = child("upload", url, str(path), "")
        seconds["the client"].append(told["seconds"])
        peak = max(peak, told["peak_mb"])
    print(f"upload of {path.stat().st_size / GIGABYTE:.1f} GB, {UPLOAD_PAIRS} times each, in turn")
    for name, each in seconds.items():
        rates = [path.stat().st_size / 10**6 / one for one in each]
        print(f"  {name:<28}{median(rates):7.0f} MB/s ({min(rates):.0f} to {max(rates):.0f})")
    ratios = sorted(curl / ours for curl, ours in zip(*seconds.values(), strict=True))
    spread = f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
    print(f"  ratio of throughput          {median(ratios):6.2f}     (target 0.9; pairs {spread})")
    print(f"  peak memory                  {peak:6.0f} MB  (target 150)")


def main() -> None:
    """Measure one after the other, and print as it goes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ.setdefault("AIRFLOW_HOME", str(folder / "airflow"))
        server = subprocess.Popen([sys.executable, __file__, "serve"], stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            url = f"http://127.0.0.1:{server.stdout.readline().strip()}"
            compare_exports(url, folder)
            compare_sizes(url, folder)
            compare_uploads(url, folder)
        finally:
            server.kill()
            server.wait()


ROLES = {"operator": run_operator, "client": run_client, "script": run_script, "upload": run_upload}

if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        serve()
    elif len(sys.argv) > 1:
        ROLES[sys.argv[1]](*sys.argv[2:])
    else:
        main()
