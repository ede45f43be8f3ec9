"""A report of 5,000 rows and 200 features: time, size and memory. Targets: under 5 s and under 3 MB.

The files are made beforehand; the report is made in a process of its own, from the import of its modules to
the last byte. Beside it: pandas reading the same explanations as a whole.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROWS, FEATURES, RUNS = 5_000, 200, 5
NAMES = [f"feature_{index:03d}" for index in range(FEATURES)]

MAKE = """
import json, resource, sys, time
from pathlib import Path
start = time.perf_counter()
from airflow_provider_cleartrace.reports.reading.gathering import Inputs, Known, gather
from airflow_provider_cleartrace.reports.rendering.pages import Look, html_page, markdown_text
folder = Path(sys.argv[1])
names = json.loads((folder / "names.json").read_text())
columns = {n: {"dtype": "number", "mean": 0.5} for n in names}
schema = {"feature_names": names, "columns": columns, "task": "binary"}
shares = [(n, 1 / len(names)) for n in names]
known = Known("m", schema, shares, "A report", "2026-11-21T10:00:00+00:00", "0.1.0")
inputs = Inputs(explanations=str(folder / "explanations.parquet"), data=str(folder / "data.csv"),
                segments=str(folder / "segments.json"), scenarios=str(folder / "scenarios.jsonl"),
                raw_gradient=False)
report = gather(known, inputs)
gathered = time.perf_counter()
page, text, facts = html_page(report, Look()), markdown_text(report, Look()), report.to_bytes()
end = time.perf_counter()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
sizes = [len(page), len(text), len(facts)]
print(json.dumps([end - start, gathered - start, *sizes, peak, time.process_time()]))
"""

PANDAS = """
import json, resource, sys, time
start = time.perf_counter()
import pandas as pd
frame = pd.read_parquet(sys.argv[1] + "/explanations.parquet")
frame.describe()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps([time.perf_counter() - start, peak]))
"""


def make_files(folder: Path) -> None:
    """A wide explanation with reasons, its data, personas and scenarios."""
    import numpy as np
    import pandas as pd

    random = np.random.default_rng(0)
    drivers = {f"driver_{name}": random.normal(size=ROWS) for name in NAMES}
    agop = {f"agop_{name}": random.exponential(size=ROWS) for name in NAMES}
    codes = random.choice([f"R{index:02d}" for index in range(12)], size=(4, ROWS))
    reasons = {
        f"reason_{rank}_{part}": codes[rank - 1]
        for rank in range(1, 5)
        for part in ("code", "feature", "text")
    }
    frame = pd.DataFrame(
        {"row": range(ROWS), "prediction": random.beta(2, 3, ROWS)} | drivers | agop | reasons
    )
    frame.to_parquet(folder / "explanations.parquet", index=False)
    pd.DataFrame(random.normal(size=(ROWS, FEATURES)), columns=NAMES).to_csv(folder / "data.csv", index=False)
    personas = [
        {"cluster_id": index, "persona_name": f"Group {index}", "persona_description": "A group. " * 20}
        for index in range(8)
    ]
    clusters = random.integers(0, 8, ROWS).tolist()
    (folder / "segments.json").write_text(
        json.dumps({"n_clusters": 8, "quality": 0.4, "cluster_ids": clusters, "personas": personas})
    )
    changes = json.dumps({NAMES[0]: {"from": 1.5, "to": 2.5}, NAMES[1]: {"from": 0.5, "to": 0.25}})
    line = {"scenario": 0, "n_changes": 2, "changes": changes, "prediction": 0.6, "baseline_prediction": 0.4}
    lines = [json.dumps({"row": row, **line, "already_at_desired_class": False}) for row in range(ROWS)]
    (folder / "scenarios.jsonl").write_text("\n".join(lines))
    (folder / "names.json").write_text(json.dumps(NAMES))


def run(program: str, folder: Path) -> list[float]:
    """The figures that a fresh interpreter prints."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    figures: list[float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def main() -> None:
    """Print the medians and the limits."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_files(folder)
        pairs = [(run(MAKE, folder), run(PANDAS, folder)) for _ in range(RUNS + 1)][1:]
    seconds, gathered, page, text, facts, peak, cpu = map(
        statistics.median, zip(*(made for made, _ in pairs), strict=True)
    )
    plain, plain_peak = map(statistics.median, zip(*(plain for _, plain in pairs), strict=True))
    print(f"report of {ROWS:,} rows x {FEATURES} features   {seconds:6.2f} s   (limit 5 s)")
    print(f"  of it imports and reading                {gathered:6.2f} s")
    print(f"  CPU of the process                       {cpu:6.2f} s")
    print(f"  peak memory                              {peak:6.0f} MB")
    print(f"HTML {page / 1e6:.2f} MB (limit 3 MB), Markdown {text / 1e3:.0f} kB, JSON {facts / 1e3:.0f} kB")
    beside = f"{plain:6.2f} s, {plain_peak:.0f} MB (the report: {seconds / plain:.1f}x)"
    print(f"pandas reads and describes the file        {beside}")


if __name__ == "__main__":
    main()
