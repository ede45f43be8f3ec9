"""kill -9 at random instants under load, also while the server starts: nothing may be lost or doubled.

Callers submit, repeat, upload, analyse and predict without pause while the process is killed and started
again and again. Each keeps a ledger of what the server acknowledged; in the end the ledgers are compared with
the server, its database and its files. `python benchmarks/kill_server.py --kills 200`
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import random
import sqlite3
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from airflow_provider_cleartrace.local.artefacts import Artefact
from airflow_provider_cleartrace.local.engine.errors import ModelFileError
from tests.integration.local_server import LocalServer

CALLERS = 3
KILL_WITHIN_SECONDS = 2.5
"""Of a start: long enough for jobs to run, short enough that many are cut."""

AT_WORK_SHARE = 0.5
"""Kills that wait for a job to end first: the next are then at work, and no start of the fork server is."""
AT_WORK_WITHIN_SECONDS = 0.4
PATIENCE_SECONDS = 10.0

CUT_START_SHARE = 0.15
"""Kills that come while the server starts, where it takes up what the one before left."""
CUT_START_WITHIN_SECONDS = 0.8

OPEN_JOBS = 4
"""What a caller lets wait at a time: the load is steady, the end is near."""

GONE_SECONDS = 10.0
DRAIN_SECONDS = 120.0
GENERATION = "KILL_SERVER_GENERATION"
"""An environment variable that the server's processes inherit: a worker is found without its parent."""

SAMPLES = {"samples": [[30, 44.0, "Oslo"], [70, 20.0, None]], "feature_names": ["age", "income", "city"]}
SEGMENTS = {"min_clusters": 2, "max_clusters": 2, "n_search_steps": 1}


@dataclass(slots=True)
class Submission:
    """A job that was asked for: under ``path`` with ``body``; ``job_id`` comes with the answer."""

    model_id: str
    kind: str
    path: str
    body: dict[str, Any]
    job_id: str | None = None
    is_completed: bool = False


@dataclass(slots=True)
class Report:
    """What was done, and what went wrong (nothing, it is hoped)."""

    kills: int = 0
    cut_starts: int = 0
    cut_requests: int = 0
    jobs: int = 0
    repeats: int = 0
    restarted_jobs: int = 0
    uploads: int = 0
    predictions: int = 0
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Write the figures on one line, each problem on a line of its own."""
        figures = (
            f"{self.kills} kills ({self.cut_starts} while starting) in {self.seconds:.0f} s: "
            f"{self.jobs} jobs ({self.restarted_jobs} started again), {self.repeats} repeated submits, "
            f"{self.uploads} uploads, {self.predictions} predictions compared, "
            f"{self.cut_requests} requests cut, {len(self.problems)} problems"
        )
        return "\n".join([figures, *self.problems])


class Caller:
    """Calls the server in a random order, and remembers what was acknowledged."""

    def __init__(self, name: str, seed: int) -> None:
        self.submissions: list[Submission] = []
        self.uploads: dict[str, str] = {}
        self.predictions: dict[str, Any] = {}
        self.repeats = self.compared = self.cut = 0
        self.problems: list[str] = []
        self._name = name
        self._draw = random.Random(seed)
        self._asked: Submission | None = None
        self._count = 0

    def call_until(self, stop: threading.Event, server: LocalServer) -> None:
        """Call without pause; a call that the kill cuts is made again by the next generation."""
        with server.client() as client:
            while not stop.is_set():
                try:
                    self._step(client)
                except httpx.TransportError:
                    self.cut += 1
                    stop.wait(0.02)

    def finish(self, client: httpx.Client, deadline: float) -> None:
        """Make the last cut submit again, and wait for every job."""
        if self._asked is not None:
            self._submit(client, self._asked)
        for submission in self.submissions:
            while not submission.is_completed and time.monotonic() < deadline:
                self._look(client, submission)
                time.sleep(0.02)
            if not submission.is_completed:
                self.problems.append(f"{submission.kind} of {submission.model_id} did not end")

    def predict_all(self, client: httpx.Client) -> None:
        """Compare the predictions of every model with the first ones."""
        for submission in self._models():
            self._predict(client, submission.model_id)

    def _step(self, client: httpx.Client) -> None:
        if self._asked is not None:
            self._submit(client, self._asked)
            return
        still_open = [submission for submission in self.submissions if not submission.is_completed]
        for submission in still_open:
            self._look(client, submission)
        actions: list[Callable[[httpx.Client], None]] = []
        if len(still_open) < OPEN_JOBS:
            actions += [self._fit, self._fit_upload]
        if self.submissions:
            actions.append(self._repeat)
        if self._models():
            actions += [self._analyse, self._predict_one]
        if actions:
            self._draw.choice(actions)(client)

    def _fit(self, client: httpx.Client) -> None:
        self._ask(client, "fit", "/v1/fit", {"data": self._rows(), "target": "approved", "mode": "fast"})

    def _fit_upload(self, client: httpx.Client) -> None:
        model_id, content = self._new_id(), as_csv(self._rows())
        asked = client.post("/v1/uploads", json={"file_format": "csv", "model_id": model_id}).json()
        headers = {"Content-Type": asked["content_type"]}
        put = httpx.put(asked["upload_url"], content=content, headers=headers, trust_env=False)
        self._expect(put, f"the upload of {model_id}")
        self.uploads[model_id] = hashlib.sha256(content).hexdigest()
        self._ask(client, "fit", "/v1/fit", {"target": "approved", "mode": "fast"}, model_id)

    def _analyse(self, client: httpx.Client) -> None:
        model_id = self._draw.choice(self._models()).model_id
        asked = {(submission.model_id, submission.kind) for submission in self.submissions}
        if (model_id, "segment") not in asked:
            self._ask(client, "segment", f"/v1/models/{model_id}/segments", SEGMENTS, model_id)
        elif (model_id, "narrative") not in asked:
            body = {
                "data": SAMPLES["samples"],
                "feature_names": SAMPLES["feature_names"],
                "kpi_name": "approval",
            }
            self._ask(client, "narrative", f"/v1/models/{model_id}/narrative", body, model_id)

    def _repeat(self, client: httpx.Client) -> None:
        self.repeats += 1
        self._submit(client, self._draw.choice(self.submissions))

    def _predict_one(self, client: httpx.Client) -> None:
        self._predict(client, self._draw.choice(self._models()).model_id)

    def _ask(
        self, client: httpx.Client, kind: str, path: str, body: dict[str, Any], model_id: str | None = None
    ) -> None:
        model_id = model_id or self._new_id()
        document = {**body, "model_id": model_id} if kind == "fit" else body
        self._asked = Submission(model_id, kind, path, document)
        self._submit(client, self._asked)

    def _submit(self, client: httpx.Client, submission: Submission) -> None:
        answer = client.post(submission.path, json=submission.body)
        if submission is self._asked:
            self._asked = None
            self.submissions.append(submission)
        if not self._expect(answer, f"the {submission.kind} of {submission.model_id}"):
            return
        job_id = answer.json()["job_id"]
        if submission.job_id not in (None, job_id):
            self.problems.append(f"{submission.model_id} was job {submission.job_id} and is job {job_id}")
        submission.job_id = job_id

    def _look(self, client: httpx.Client, submission: Submission) -> None:
        path = f"/v1/models/{submission.model_id}/status"
        answer = client.get(path, params={"job": submission.kind})
        if not self._expect(answer, f"the status of {submission.model_id}"):
            return
        status = answer.json()
        submission.is_completed = status["status"] == "completed"
        if status["status"] == "failed":
            self.problems.append(f"{submission.kind} of {submission.model_id} failed: {status['error']}")
            submission.is_completed = True

    def _predict(self, client: httpx.Client, model_id: str) -> None:
        answer = client.post(f"/v1/models/{model_id}/predict", json=SAMPLES)
        if not self._expect(answer, f"a prediction of {model_id}"):
            return
        self.compared += 1
        if self.predictions.setdefault(model_id, answer.json()) != answer.json():
            self.problems.append(f"{model_id} predicts differently than before")

    def _expect(self, answer: httpx.Response, what: str) -> bool:
        if not answer.is_success:
            self.problems.append(f"{what} was answered {answer.status_code}: {answer.text[:200]}")
        return answer.is_success

    def _models(self) -> list[Submission]:
        return [job for job in self.submissions if job.kind == "fit" and job.is_completed]

    def _new_id(self) -> str:
        self._count += 1
        return f"{self._name}-{self._count}"

    def _rows(self) -> list[dict[str, Any]]:
        draw, rows = self._draw, []
        for _ in range(draw.randint(40, 80)):
            age, income = draw.randint(18, 80), draw.uniform(10, 90)
            city = draw.choice(["Oslo", "Turin", "Lima"])
            rows.append({"age": age, "income": income, "city": city, "approved": int(income + age / 4 > 60)})
        return rows


def as_csv(rows: Sequence[dict[str, Any]]) -> bytes:
    """Write rows as a file to upload."""
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def kill_under_load(
    data_dir: Path, *, kills: int, seed: int, tell: Callable[[str], object] | None = None
) -> Report:
    """Kill a server again and again under load, then let it finish, and compare it with the ledgers.

    Args:
        data_dir: the server's, empty.
        kills: how many times.
        seed: of the instants and the load; what a kill meets still differs from run to run.
        tell: gets a line for every tenth kill.
    """
    draw = random.Random(seed)
    callers = [Caller(f"caller{number}", draw.randrange(2**32)) for number in range(CALLERS)]
    server = LocalServer(data_dir)
    report = Report()
    began = time.monotonic()
    orphans = threading.Thread()
    for generation in range(kills):
        mark = {GENERATION: f"{data_dir}:{generation}"}
        if draw.random() < CUT_START_SHARE and generation > 0:
            _cut_start(server, mark, draw.uniform(0.0, CUT_START_WITHIN_SECONDS))
            report.cut_starts += 1
        else:
            server.start(mark)
            _check_database(server, report)
            _load(server, callers, draw)
        report.kills += 1
        # Beside the next start, which does not wait for a dead server's workers either.
        if orphans.ident is not None:
            orphans.join()
        orphans = threading.Thread(target=_check_orphans, args=(mark[GENERATION], report))
        orphans.start()
        if tell and report.kills % 10 == 0:
            jobs = sum(len(caller.submissions) for caller in callers)
            found = len(report.problems) + sum(len(caller.problems) for caller in callers)
            tell(f"{report.kills} kills, {jobs} jobs, {found} problems")
    orphans.join()
    with server.start(), server.client() as client:
        deadline = time.monotonic() + DRAIN_SECONDS
        for caller in callers:
            caller.finish(client, deadline)
            caller.predict_all(client)
        _check_artefacts_over_http(client, callers, report)
        _check_database(server, report)
        _wait_until_tidy(data_dir, report)
    _compare(data_dir, callers, report)
    report.seconds = time.monotonic() - began
    return report


def _load(server: LocalServer, callers: Sequence[Caller], draw: random.Random) -> None:
    stop = threading.Event()
    threads = [threading.Thread(target=caller.call_until, args=(stop, server)) for caller in callers]
    for thread in threads:
        thread.start()
    if draw.random() < AT_WORK_SHARE:
        _await_work(server)
        time.sleep(draw.uniform(0.0, AT_WORK_WITHIN_SECONDS))
    else:
        time.sleep(draw.uniform(0.0, KILL_WITHIN_SECONDS))
    server.kill()
    stop.set()
    for thread in threads:
        thread.join()


def _await_work(server: LocalServer) -> None:
    """Wait until the log tells of a job that ended: others are at work then, or about to be."""
    size, deadline = server.log.stat().st_size, time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        with server.log.open("rb") as log:
            log.seek(size)
            if b'"event": "job ended"' in log.read():
                return
        time.sleep(0.005)


def _cut_start(server: LocalServer, mark: dict[str, str], seconds: float) -> None:
    def kill() -> None:
        if server.process is not None:
            server.process.kill()

    timer = threading.Timer(seconds, kill)
    timer.start()
    with suppress(RuntimeError):  # it was killed before it answered, as meant
        server.start(mark)
    timer.join()
    server.kill()


def _check_orphans(mark: str, report: Report) -> None:
    deadline = time.monotonic() + GONE_SECONDS
    while survivors := _marked(mark):
        if time.monotonic() > deadline:
            report.problems.append(f"processes outlived their server: {survivors}")
            return
        time.sleep(0.2)


def _marked(mark: str) -> list[int]:
    variable = f"{GENERATION}={mark}".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile, or belongs to another user
            if variable in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


def _check_database(server: LocalServer, report: Report) -> None:
    with closing(sqlite3.connect(server.data_dir / "state.db", timeout=30.0)) as database:
        (result,) = database.execute("PRAGMA integrity_check").fetchone()
    if result != "ok":
        report.problems.append(f"integrity_check after {report.kills} kills: {result}")


def _check_artefacts_over_http(client: httpx.Client, callers: Sequence[Caller], report: Report) -> None:
    results = {"fit": "interpret", "segment": "segments", "narrative": "narrative"}
    for caller in callers:
        for submission in caller.submissions:
            path = f"/v1/models/{submission.model_id}/{results[submission.kind]}"
            answer = client.get(path)
            if answer.status_code != 200:
                report.problems.append(f"{path} was answered {answer.status_code}: {answer.text[:200]}")


def _wait_until_tidy(data_dir: Path, report: Report) -> None:
    deadline = time.monotonic() + GONE_SECONDS
    for name in ("jobs", "incoming"):
        while left := list((data_dir / name).iterdir()):
            if time.monotonic() > deadline:
                report.problems.append(f"{len(left)} entries are left in {name}/")
                break
            time.sleep(0.05)


def _compare(data_dir: Path, callers: Sequence[Caller], report: Report) -> None:
    with closing(sqlite3.connect(data_dir / "state.db")) as database:
        rows = database.execute(
            "SELECT job_id, model_id, kind, fingerprint, status, attempt, artefact FROM jobs"
        ).fetchall()
    submissions = [submission for caller in callers for submission in caller.submissions]
    expected = Counter((submission.model_id, submission.kind) for submission in submissions)
    recorded = Counter((model_id, kind) for _, model_id, kind, *_ in rows)
    if expected != recorded:
        report.problems.append(f"lost: {dict(expected - recorded)}; doubled: {dict(recorded - expected)}")
    by_id = {str(row[0]): row for row in rows}
    for submission in submissions:
        row = by_id.get(str(submission.job_id))
        if row is None or (row[1], row[2], row[4]) != (submission.model_id, submission.kind, "completed"):
            report.problems.append(
                f"job {submission.job_id} ({submission.kind} of {submission.model_id}): {row}"
            )
    artefacts = {path.name: path for path in (data_dir / "artefacts").iterdir()}
    if sorted(artefacts) != sorted(row[6] for row in rows if row[6]):
        report.problems.append("the published folders are not those that the database names")
    for _, model_id, kind, _, _, _, name in rows:
        if kind == "fit" and name in artefacts:
            try:
                Artefact(artefacts[name]).model()
                Artefact(artefacts[name]).training_rows()
            except (ModelFileError, OSError) as error:
                report.problems.append(f"the artefact of {model_id} cannot be read ({error})")
    received = {path.name: path for path in (data_dir / "uploads").glob("*/*")}
    for caller in callers:
        for model_id, digest in caller.uploads.items():
            path = received.get(f"{model_id}.csv")
            if path is None or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
                report.problems.append(f"the upload of {model_id} is not as it was acknowledged")
        report.problems += caller.problems
        report.uploads += len(caller.uploads)
        report.predictions += caller.compared
        report.repeats += caller.repeats
        report.cut_requests += caller.cut
    report.jobs = len(rows)
    report.restarted_jobs = sum(row[5] > 1 for row in rows)


def main() -> int:
    """Kill as often as asked for, and print what came of it; the exit code is 1 where something was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = kill_under_load(Path(folder) / "data", kills=given.kills, seed=given.seed, tell=print)
    print(report)
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
