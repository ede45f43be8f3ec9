"""`make demo` in a fresh clone, then again. Targets: 6 minutes with a warm package cache, then 100 s."""

from __future__ import annotations

import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Clone what is committed, run the demo twice and print how long each took."""
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        for label in ("fresh clone", "second run"):
            start = time.monotonic()
            run = subprocess.run(["make", "demo"], cwd=clone, capture_output=True, text=True)
            seconds = time.monotonic() - start
            print(f"make demo, {label:<12} {seconds:6.1f} s, exit {run.returncode}")
            if run.returncode:
                print(run.stdout[-3000:], run.stderr[-3000:])
                return


if __name__ == "__main__":
    main()
