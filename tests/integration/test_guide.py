"""The vendor's guide runs as written, its import line aside, against ClearTrace Local on real data."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_diabetes

from airflow_provider_cleartrace.client import ClearTrace
from tests.integration.black_box import HOST, BlackBox, black_box
from tests.integration.local_server import LocalServer

ROOT = Path(__file__).parents[2]
GUIDE = ROOT.parent / "shared" / "reference" / "cleartrace-workflow-guide.txt"
CREDIT = ROOT / "example_dags" / "data" / "german_credit.csv"

VENDOR_IMPORT = "from outerproduct import"
OUR_IMPORT = "from airflow_provider_cleartrace.client import"

pytestmark = [
    pytest.mark.skipif(not GUIDE.exists(), reason="the vendor's guide lies beside the checkout only"),
    pytest.mark.timeout(600),
]


SECTION = re.compile(r"(\d+\. .+|Async Usage|Putting it all together)$")


def code_and_rest(paragraph: str) -> tuple[str, str]:
    """A paragraph's Python and the prose in it: a heading may follow the code without a blank line."""
    lines = paragraph.splitlines()
    for length in (len(lines), len(lines) - 1):
        code = "\n".join(lines[:length])
        try:
            body = compile(code, "guide", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT).body
        except SyntaxError:
            continue
        # A heading of one word parses as a name, which no code of the guide ends with.
        if body and not (isinstance(body[-1], ast.Expr) and isinstance(body[-1].value, ast.Name)):
            return code, "\n".join(lines[length:])
    return "", paragraph


def blocks() -> list[tuple[str, str]]:
    """(section, code) of each code block, in order."""
    found: list[tuple[str, str]] = []
    section, continued = "", False
    for paragraph in GUIDE.read_text().split("\n\n"):
        text = paragraph.strip("\n")
        if continued and text.startswith("    "):
            # A blank line inside an indented block.
            found[-1] = (found[-1][0], f"{found[-1][1]}\n\n{text}")
            continue
        code, prose = code_and_rest(text)
        if code:
            found.append((section, code))
        if SECTION.match(prose):
            section = prose
        continued = bool(code) and not prose
    return found


def write_data(folder: Path) -> None:
    """``data.csv``: the diabetes study, under the guide's column names. ``loans.csv``: German credit."""
    study = load_diabetes(scaled=False)
    columns = dict(zip(study.feature_names, study.data.T, strict=True))
    pd.DataFrame(
        {
            "sqft": columns["s1"],
            "bedrooms": columns["sex"].astype(int),
            "bathrooms": columns["bmi"],
            "lot_size": columns["bp"],
            "price": study.target,
        }
    ).to_csv(folder / "data.csv", index=False)
    credit = pd.read_csv(CREDIT)
    credit.rename(columns={"age_in_years": "age", "good_credit": "approved"}).to_csv(
        folder / "loans.csv", index=False
    )


def train_models(client: ClearTrace) -> None:
    """The two models that the guide takes for granted."""
    data = pd.read_csv("data.csv")
    client.fit(data[["sqft", "bedrooms", "bathrooms", "price"]], target="price", model_id="your-model-id")
    credit = pd.read_csv(CREDIT)
    client.fit(
        pd.DataFrame(
            {
                "age": credit["age_in_years"],
                # The study's amounts and durations, in the units of the guide's queries.
                "income": credit["credit_amount"] * 5,
                "credit_score": 850 - 7 * credit["duration_in_month"],
                "employment": np.where(
                    credit["present_employment_since"].isin(["unemployed", "... < 1 year"]),
                    "part-time",
                    "full-time",
                ),
                "approved": credit["good_credit"],
            }
        ),
        target="approved",
        model_id="applicants",
    )


PRESUPPOSED = {
    "7. Counterfactual Scenarios": lambda names: names["ct"].load("applicants"),
    "8. Segmentation": lambda names: names["ct"].load("your-model-id"),
    "9. Narrative Generation": lambda names: names["ct"].load("your-model-id"),
    "Async Usage": lambda names: names.update(X=names["df"].drop(columns="price")),
}
"""What a section silently starts from: the model it is about, or the columns of the model just trained."""


@pytest.fixture
def teacher(tmp_path: Path) -> Iterator[BlackBox]:
    with black_box(tmp_path) as served:
        yield served


@pytest.fixture
def server(tmp_path: Path, teacher: BlackBox) -> Iterator[LocalServer]:
    with LocalServer(tmp_path / "data", flags=("--allow-predict-host", HOST)).start(
        teacher.environment
    ) as started:
        yield started


def test_the_guide_runs_as_written(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    server: LocalServer,
    teacher: BlackBox,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OUTERPRODUCT_API_URL", server.base_url)
    monkeypatch.setenv("OUTERPRODUCT_API_KEY", server.api_key)
    write_data(tmp_path)
    with ClearTrace(poll_interval=0.1) as client:
        train_models(client)

    names: dict[str, Any] = {}
    prepared: set[str] = set()
    with asyncio.Runner() as runner:
        for section, code in blocks():
            if section in PRESUPPOSED and section not in prepared:
                prepared.add(section)
                PRESUPPOSED[section](names)
            program = compile(
                code.replace(VENDOR_IMPORT, OUR_IMPORT),
                f"guide: {section}",
                "exec",
                ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
            )
            outcome = eval(program, names)
            if inspect.isawaitable(outcome):
                runner.run(_awaited(outcome))

    told = capsys.readouterr().out
    assert prepared == set(PRESUPPOSED)
    assert "completed\n" in told
    assert "Something went wrong" not in told
    assert "Invalid request" not in told
    assert "Sample 0: " in told
    assert "Changes needed (" in told
    assert "Optimal clusters: " in told
    assert "age: 0." in told
    assert ": change 1 features" in told
    assert "Approval Rate" in told
    assert {authorization for authorization, _ in teacher.asked} == {"Bearer token"}
    assert sum(rows for _, rows in teacher.asked) == 442


async def _awaited(outcome: Any) -> None:
    await outcome


def test_every_code_block_of_the_guide_is_found() -> None:
    code = "\n".join(text for _, text in blocks())

    assert len(blocks()) >= 60
    for call in (
        "ct.fit(",
        "ct.fit_distill(",
        "ct.upload_file(",
        "ct.create_upload(",
        "ct.upload_fileobj(",
        "ct.load(",
        "ct.predict(",
        "ct.explain(",
        "ct.predict_and_explain(",
        "ct.interpret(",
        "ct.scenario(",
        "ct.segment(",
        "ct.get_segments(",
        "ct.narrative(",
        "ct.get_narrative(",
        "await ct.explain(",
        "ct.status",
        "except PollTimeoutError",
        'pd.read_csv("loans.csv")',
    ):
        assert call in code
