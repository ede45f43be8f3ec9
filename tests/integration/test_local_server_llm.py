"""Narratives by a language model: from looked-up facts, without an invented figure, or the engine's own."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.language_model import Asked, LanguageModel, calls, language_model, looked_up, text
from tests.integration.local_server import LocalServer

LLM_KEY = "key-of-the-language-model"
NOT_USED = "The language model's text was not used: "
CANARY_NUMBER, CANARY_TEXT = 61.98765432, "Canaryville"
_numbers = count()


def records() -> list[dict[str, Any]]:
    """60 people, one of them with values that nobody else has."""
    draw = random.Random(7)
    rows = []
    for _ in range(60):
        age, income, city = draw.randint(18, 80), draw.uniform(10, 90), draw.choice(["Oslo", "Turin", "Lima"])
        rows.append({"age": age, "income": income, "city": city, "approved": int(income + age / 4 > 60)})
    rows[10] |= {"income": CANARY_NUMBER, "city": CANARY_TEXT}
    return rows


@pytest.fixture(scope="module")
def served() -> Iterator[LanguageModel]:
    with language_model() as running:
        yield running


@pytest.fixture
def writer(served: LanguageModel) -> LanguageModel:
    """The language model, as if nobody had asked it anything yet."""
    served.__init__(served.url)  # type: ignore[misc]
    return served


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, served: LanguageModel) -> Iterator[LocalServer]:
    data_dir = tmp_path_factory.mktemp("llm") / "data"
    flags = ("--llm-url", served.url, "--llm-model", "writer-1", "--llm-timeout-seconds", "2")
    running = LocalServer(data_dir, flags=(*flags, "--access-log"))
    running.start({"CLEARTRACE_LLM_API_KEY": LLM_KEY, "NO_PROXY": "127.0.0.1"})
    with running:
        yield running


@pytest.fixture(scope="module")
def client(server: LocalServer) -> Iterator[httpx.Client]:
    with server.client() as opened:
        train(opened)
        yield opened


def train(client: httpx.Client) -> None:
    body = {"model_id": "loans", "data": records(), "target": "approved", "mode": "fast"}
    assert client.post("/v1/fit", json=body).status_code == 200
    assert wait(client, "fit")["status"] == "completed"


def wait(client: httpx.Client, job: str) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        status: dict[str, Any] = client.get("/v1/models/loans/status", params={"job": job}).json()
        if status["status"] in ("completed", "failed"):
            return status
        time.sleep(0.03)
    raise AssertionError(status)


def narrative(client: httpx.Client, **body: Any) -> str:
    """Have a narrative written; each has a context of its own, so that it is a job of its own."""
    told = {"data": records(), "kpi_name": "approval", "context": f"Note no. {next(_numbers)}", **body}
    assert client.post("/v1/models/loans/narrative", json=told).status_code == 200
    assert wait(client, "narrative")["status"] == "completed"
    return str(client.get("/v1/models/loans/narrative").json()["narrative"])


def reason_of(told: str) -> str:
    """Why the language model's text was not used; the rest must be the deterministic text."""
    assert told.startswith("# approval: what the model has learned")
    last = told.rstrip("\n").splitlines()[-1]
    assert last.startswith(NOT_USED)
    return last.removeprefix(NOT_USED)


def honest(asked: Asked) -> dict[str, Any]:
    """Looks three sections up, then reports what stands there."""
    if not looked_up(asked):
        return calls("prediction", "drivers")
    if len(looked_up(asked)) == 2:
        return calls("metrics")
    prediction, drivers, metrics = (json.loads(section) for section in looked_up(asked))
    first = drivers["strongest_first"][0]
    return text(
        f"# Approval\n\nOver **{prediction['rows']}** rows the mean probability is "
        f"{prediction['mean_prediction']:.1%}. First comes {first['feature']} ({first['importance']:.0%}). "
        f"It is right for {metrics['validation_accuracy']:.0%} of {metrics['validation_rows']} rows."
    )


class TestTheLanguageModelWrites:
    def test_what_it_looked_up(self, client: httpx.Client, writer: LanguageModel) -> None:
        writer.says = honest
        told = narrative(client, context="Loans of 2024")
        assert re.match(r"# Approval\n\nOver \*\*60\*\* rows the mean probability is \d+\.\d%\. First", told)
        assert "## How to read this\n\nDrivers and segments describe" in told
        assert NOT_USED not in told
        assert len(writer.asked) == 3
        first = writer.asked[0]
        assert first["model"] == "writer-1"
        assert [message["role"] for message in first["messages"]] == ["system", "user"]
        asked = {"kpi_name": "approval", "context": "Loans of 2024"}
        assert json.loads(first["messages"][1]["content"]) == asked
        offered = [tool["function"]["name"] for tool in first["tools"]]
        assert offered == ["model", "metrics", "prediction", "drivers", "data_quality"]
        roles = [message["role"] for message in writer.asked[2]["messages"]]
        assert roles == ["system", "user", "assistant", "tool", "tool", "assistant", "tool"]
        assert [m["tool_call_id"] for m in writer.asked[1]["messages"][3:]] == ["call-0", "call-1"]

    def test_after_its_last_look_up_without_tools(self, client: httpx.Client, writer: LanguageModel) -> None:
        writer.says = lambda asked: calls("drivers", "wages") if asked.get("tools") else text("Age drives.")
        assert narrative(client, max_tool_calls=3).startswith("Age drives.")
        assert writer.tools_offered() == [5, 5, 0]
        answers = looked_up(writer.asked[-1])
        assert "strongest_first" in json.loads(answers[0])
        assert answers[1].startswith("There is no such tool. There are: model, ")
        assert answers[3].startswith("No look-ups are left.")

    def test_again_when_it_invented_a_figure(self, client: httpx.Client, writer: LanguageModel) -> None:
        drafts = iter(["It is right for 98.7% of 4,321 rows.", "It was applied to 60 rows."])
        writer.says = lambda _: text(next(drafts))
        told = narrative(client)
        assert told.startswith("It was applied to 60 rows.")
        assert NOT_USED not in told
        remark = writer.asked[1]["messages"][-1]
        assert remark["role"] == "user"
        assert "98.7%, 4,321." in remark["content"]

    def test_with_figures_of_the_context(self, client: httpx.Client, writer: LanguageModel) -> None:
        writer.says = lambda _: text("Loans of 2023 (aim: 75%).")
        assert narrative(client, context="Year 2023, aim: 75%").startswith("Loans of 2023 (aim: 75%).")

    def test_without_seeing_a_row(self, client: httpx.Client, writer: LanguageModel) -> None:
        submitted = client.post("/v1/models/loans/segments", json={"n_search_steps": 2, "min_clusters": 2})
        assert submitted.status_code == 200
        assert wait(client, "segment")["status"] == "completed"
        every = ("model", "metrics", "prediction", "drivers", "segments", "data_quality")
        writer.says = lambda asked: text("Told.") if looked_up(asked) else calls(*every)
        assert narrative(client).startswith("Told.")
        assert len(looked_up(writer.asked[-1])) == 6
        prompts = json.dumps(writer.asked)
        assert "quality" in prompts
        assert CANARY_TEXT not in prompts
        assert str(CANARY_NUMBER)[:6] not in prompts


class TestTheEngineWrites:
    def test_when_figures_were_invented_twice(self, client: httpx.Client, writer: LanguageModel) -> None:
        writer.says = lambda _: text("It is right for 98.7%.")
        told = narrative(client)
        assert reason_of(told) == "it stated figures that are not among the facts, twice."
        assert "98.7" not in told
        assert len(writer.asked) == 2

    def test_when_the_service_fails(self, client: httpx.Client, writer: LanguageModel) -> None:
        writer.status, writer.raw = 500, b"the key-of-the-language-model is wrong"
        assert reason_of(narrative(client)) == "it answered HTTP 500."

    @pytest.mark.parametrize(
        "raw", [b"<html>", b"[]", b'{"choices": []}', b"[" * 100_000, b'{"choices": [{}]}']
    )
    def test_when_the_answer_is_garbage(
        self, client: httpx.Client, writer: LanguageModel, raw: bytes
    ) -> None:
        writer.raw = raw
        assert reason_of(narrative(client)) == "its answer was no chat completion."

    def test_when_the_answer_is_endless(self, client: httpx.Client, writer: LanguageModel) -> None:
        writer.raw = b" " * 1_048_577
        assert reason_of(narrative(client)) == "it answered with more than 1048576 bytes."

    @pytest.mark.parametrize(
        ("content", "reason"),
        [(" \n", "it wrote no text."), ("a" * 20_001, "it wrote more than 20000 characters.")],
    )
    def test_when_the_text_is_empty_or_too_long(
        self, client: httpx.Client, writer: LanguageModel, content: str, reason: str
    ) -> None:
        writer.says = lambda _: text(content)
        assert reason_of(narrative(client)) == reason

    def test_when_the_text_is_cut_off(self, client: httpx.Client, writer: LanguageModel) -> None:
        writer.says, writer.finish_reason = lambda _: text("Age is"), "length"
        assert reason_of(narrative(client)) == "its answer was cut off."

    def test_when_it_looks_up_without_end(self, client: httpx.Client, writer: LanguageModel) -> None:
        writer.says = lambda _: calls("drivers")
        assert reason_of(narrative(client, max_tool_calls=2)) == "it wrote no text."
        assert writer.tools_offered() == [5, 5, 0] or writer.tools_offered() == [6, 6, 0]

    def test_when_it_may_look_nothing_up(self, client: httpx.Client, writer: LanguageModel) -> None:
        assert reason_of(narrative(client, max_tool_calls=0)) == "max_tool_calls allowed it no look-up."
        assert writer.asked == []

    def test_when_the_answer_drips(self, client: httpx.Client, writer: LanguageModel) -> None:
        writer.says, writer.seconds = lambda _: text("Slowly."), 20
        began = time.monotonic()
        assert reason_of(narrative(client)) == "it did not answer within 2 s (--llm-timeout-seconds)."
        assert time.monotonic() - began < 10

    def test_before_the_job_is_out_of_time(self, writer: LanguageModel, tmp_path: Path) -> None:
        writer.says, writer.seconds = lambda _: text("Slowly."), 20
        flags = ("--llm-url", writer.url, "--llm-model", "writer-1", "--job-seconds", "6")
        with LocalServer(tmp_path / "data", flags=flags) as server, server.client() as client:
            train(client)
            assert reason_of(narrative(client)) == "it did not answer in the time left to the job."
        assert writer.authorizations == [None]

    def test_when_nobody_listens(self, tmp_path: Path) -> None:
        flags = ("--llm-url", "http://127.0.0.1:9/v1", "--llm-model", "writer-1")
        with LocalServer(tmp_path / "data", flags=flags) as server, server.client() as client:
            train(client)
            assert reason_of(narrative(client)) == "it could not be reached (ConnectError)."

    def test_alone_without_the_flags(self, writer: LanguageModel, tmp_path: Path) -> None:
        with LocalServer(tmp_path / "data") as server, server.client() as client:
            train(client)
            told = narrative(client, context="the same")
            assert told == narrative(client, context="the same", max_tool_calls=1)
        assert "language model" not in told
        assert writer.asked == []


class TestTheKey:
    def test_is_sent_as_bearer_and_kept_nowhere(
        self, client: httpx.Client, server: LocalServer, writer: LanguageModel
    ) -> None:
        processes: list[bytes] = []
        files: list[bytes] = []

        def spying(_: Asked) -> dict[str, Any]:
            assert server.process is not None
            children = Path(f"/proc/{server.process.pid}/task").glob("*/children")
            open_ = [int(pid) for path in children for pid in path.read_text().split()]
            while open_:
                pid = open_.pop()
                process = Path(f"/proc/{pid}")
                processes.append((process / "environ").read_bytes() + (process / "cmdline").read_bytes())
                open_ += [
                    int(child)
                    for path in process.glob("task/*/children")
                    for child in path.read_text().split()
                ]
            files.extend(path.read_bytes() for path in server.data_dir.rglob("*") if path.is_file())
            return text("Told.")

        writer.says = spying
        assert narrative(client).startswith("Told.")
        writer.status, writer.raw = 401, f"wrong key: {LLM_KEY}".encode()
        assert reason_of(narrative(client)) == "it answered HTTP 401."
        assert set(writer.authorizations) == {f"Bearer {LLM_KEY}"}
        assert len(processes) >= 2, "the fork server and the worker"
        assert any(b"Note no." in content for content in files), "the job's folder"
        assert not any(LLM_KEY.encode() in content for content in [*processes, *files])
        kept = [path for path in server.data_dir.rglob("*") if path.is_file()]
        assert [path for path in kept if LLM_KEY.encode() in path.read_bytes()] == []
        log = server.log.read_text()
        assert LLM_KEY not in log
        assert '"reason": "it answered HTTP 401"' in log


@pytest.mark.parametrize(
    ("flags", "key", "said"),
    [
        (["--llm-url", "http://llm/v1"], "", "need each other"),
        (["--llm-model", "writer-1"], "", "need each other"),
        (["--llm-url", "llm/v1", "--llm-model", "m"], "", "http(s)://HOST/PATH"),
        (["--llm-url", "http://user:secret@llm/v1", "--llm-model", "m"], "", "http(s)://HOST/PATH"),
        (["--llm-url", "http://llm/v1?key=secret", "--llm-model", "m"], "", "http(s)://HOST/PATH"),
        (["--llm-url", "http://llm/v1", "--llm-model", "m"], "secret\nX: y", "no HTTP header"),
    ],
)
def test_a_language_model_that_cannot_be_asked_is_refused_at_the_start(
    tmp_path: Path, flags: list[str], key: str, said: str
) -> None:
    command = [
        sys.executable,
        "-m",
        "airflow_provider_cleartrace.local.cli",
        "serve",
        "--data-dir",
        str(tmp_path),
    ]
    environment = {"PYTHONPATH": ":".join(sys.path), "CLEARTRACE_LLM_API_KEY": key}
    ended = subprocess.run([*command, *flags], env=environment, capture_output=True, text=True, timeout=30)
    assert ended.returncode == 2
    assert said in ended.stderr
    assert "secret" not in ended.stderr.splitlines()[-1]
