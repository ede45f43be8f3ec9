"""The documentation names what exists: classes, parameters, flags, targets, examples and error texts."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_cleartrace import client
from airflow_provider_cleartrace.api.operations import OPERATIONS
from airflow_provider_cleartrace.client.polling import Ending
from airflow_provider_cleartrace.hooks.cleartrace import ClearTraceHook
from airflow_provider_cleartrace.operators.base import ClearTraceOperator
from airflow_provider_cleartrace.operators.jobs.operator import ClearTraceJobOperator
from airflow_provider_cleartrace.provider_info import FORM_FIELDS, PROVIDER_INFO
from airflow_provider_cleartrace.triggers.ready import ClearTraceModelReadyTrigger

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PACKAGE = "airflow_provider_cleartrace"
EXAMPLE = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "example_dags").glob("*.py")))
PAGES = sorted(page for page in DOCS.rglob("*.md") if "_build" not in page.parts)
TEXTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES]


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def task_classes() -> list[Any]:
    """Every operator and sensor class that the provider tells Airflow of."""
    modules = [
        importlib.import_module(name)
        for kind in ("operators", "sensors")
        for entry in PROVIDER_INFO[kind]
        for name in entry["python-modules"]
    ]
    return [
        value
        for module in modules
        for name, value in vars(module).items()
        if inspect.isclass(value) and value.__module__ == module.__name__ and not name.startswith("_")
        if name.endswith(("Operator", "Sensor"))
    ]


def page_of(task: Any) -> Path:
    if task.__name__.endswith("Sensor"):
        return DOCS / "sensor.md"
    name = task.__name__.removeprefix("ClearTrace").removesuffix("Operator").lower()
    return DOCS / "operators" / f"{name}.md"


def parameters_of(task: Any) -> set[str]:
    """The parameters that this project gave the class or a base of it."""
    own = [base for base in task.__mro__ if base.__module__.startswith(PACKAGE) and "__init__" in vars(base)]
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {
        name
        for base in own
        for name, parameter in inspect.signature(vars(base)["__init__"]).parameters.items()
        if parameter.kind in kinds and name != "self"
    }


def first_cells(text: str) -> set[str]:
    """The names in code type in the first column of every table."""
    rows = re.findall(r"^\| ([^|]+) \|", text, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


TASKS = task_classes()
TASK_IDS = [task.__name__ for task in TASKS]


@pytest.mark.parametrize("task", TASKS, ids=TASK_IDS)
class TestEveryTaskHasAPage:
    def test_titled_with_its_name(self, task: Any) -> None:
        assert page_of(task).read_text(encoding="utf-8").startswith(f"# {task.__name__}\n")

    def test_that_explains_every_parameter(self, task: Any) -> None:
        shared = (DOCS / "operators" / "index.md").read_text(encoding="utf-8")
        explained = first_cells(page_of(task).read_text(encoding="utf-8"))
        if issubclass(task, ClearTraceOperator):
            explained |= first_cells(shared)
        assert parameters_of(task) - explained == set()

    def test_that_names_exactly_the_templated_fields(self, task: Any) -> None:
        line = re.search(r"^Templated: (.*)\.$", page_of(task).read_text(encoding="utf-8"), re.MULTILINE)
        assert line is not None
        fields = set(task.template_fields)
        assert set(re.findall(r"`([^`]+)`", line[1])) == fields

    def test_and_a_line_in_the_changelog(self, task: Any) -> None:
        assert task.__name__ in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_no_page_describes_an_operator_that_does_not_exist() -> None:
    pages = {page for page in (DOCS / "operators").glob("*.md") if page.name != "index.md"}
    assert pages == {page_of(task) for task in TASKS} - {DOCS / "sensor.md"}


def test_what_only_jobs_take_is_not_promised_of_the_others() -> None:
    for task in TASKS:
        text = page_of(task).read_text(encoding="utf-8")
        if not issubclass(task, ClearTraceJobOperator) and issubclass(task, ClearTraceOperator):
            assert "`deferrable`" not in text, task.__name__


class TestExamples:
    def test_every_marker_of_an_include_stands_in_the_dag(self) -> None:
        included = {
            marker
            for page in PAGES
            for marker in re.findall(r'"\[((?:START|END) \w+)\]"', page.read_text(encoding="utf-8"))
        }
        assert included
        assert included <= set(re.findall(r"# \[((?:START|END) \w+)\]", EXAMPLE))

    def test_every_piece_of_the_dag_is_shown_on_a_page(self) -> None:
        pages = "".join(page.read_text(encoding="utf-8") for page in PAGES)
        starts = re.findall(r"# \[START (\w+)\]", EXAMPLE)
        assert starts
        assert starts == re.findall(r"# \[END (\w+)\]", EXAMPLE)
        assert [name for name in starts if f'"[START {name}]"' not in pages] == []

    @pytest.mark.parametrize("path", TEXTS, ids=named)
    def test_python_is_valid_and_names_what_exists(self, path: Path) -> None:
        tasks = {task.__name__: task for task in TASKS}
        for block in python_blocks(path):
            for node in ast.walk(ast.parse(block)):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE):
                    module = importlib.import_module(str(node.module))
                    assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in tasks:
                    given = {keyword.arg for keyword in node.keywords}
                    known = parameters_of(tasks[node.func.id])
                    assert given - known - {"task_id", "poke_interval", "timeout", "outlets"} == set()

    @pytest.mark.parametrize("path", [ROOT / "README.md", DOCS / "index.md"], ids=named)
    def test_the_first_dag_builds(self, path: Path, tmp_path: Path) -> None:
        (block,) = [block for block in python_blocks(path) if "with DAG(" in block]
        dag_file = tmp_path / "loans.py"
        dag_file.write_text(block, encoding="utf-8")
        assert runpy.run_path(str(dag_file))["fit"].dag.task_dict["explain"].upstream_task_ids == {"fit"}

    @pytest.mark.parametrize("path", TEXTS, ids=named)
    def test_connections_written_as_json_or_uri_are_read_as_meant(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        text = path.read_text(encoding="utf-8")
        for value in re.findall(r"AIRFLOW_CONN_CLEARTRACE_DEFAULT='([^']+)'", text):
            monkeypatch.setenv("AIRFLOW_CONN_CLEARTRACE_DEFAULT", value)
            settings = ClearTraceHook().settings()
            assert settings.api_key == "YOUR-KEY"
            assert settings.base_url in {
                "https://cleartrace-api.onrender.com",
                "http://127.0.0.1:8787",
                "https://example.com/cleartrace",
            }


def python_blocks(path: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


class TestCommands:
    def test_every_flag_of_the_server_is_in_the_table_with_its_default(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cli = pytest.importorskip("airflow_provider_cleartrace.local.cli")
        monkeypatch.setenv("COLUMNS", "500")  # no word of a help text on a second line
        with pytest.raises(SystemExit):
            cli.main(["serve", "--help"])
        told = re.findall(r"^  (--[a-z-]+)((?:.|\n {4,})*)", capsys.readouterr().out, re.MULTILINE)
        words = {"None": "none", "[]": "none", "False": "off"}
        defaults = {}
        for flag, text in told:
            default = re.search(r"\(default: (.*)\)", text)
            defaults[flag] = words.get(default[1], default[1]) if default else "required"
        rows = re.findall(
            r"^\| `(--[a-z-]+)` \| ([^|]+) \|",
            (DOCS / "local-server.md").read_text(encoding="utf-8"),
            re.MULTILINE,
        )
        documented = {flag: default.strip("`") for flag, default in rows}
        assert set(documented) == set(defaults)
        of_the_machine = {flag: defaults[flag] for flag in documented if "number of CPUs" in documented[flag]}
        assert documented | of_the_machine == defaults

    @pytest.mark.parametrize("path", TEXTS, ids=named)
    def test_every_make_target_that_is_named_exists(self, path: Path) -> None:
        targets = set(re.findall(r"^([a-z0-9.-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
        text = path.read_text(encoding="utf-8")
        commands = re.findall(r"(?:`|^)make((?: [a-z0-9.-]+)*)", text, re.MULTILINE)
        assert {target for command in commands for target in command.split()} - targets == set()

    def test_paths_that_the_readme_names_exist(self) -> None:
        links = re.findall(r"\]\((?!http)([^)#]+)", (ROOT / "README.md").read_text(encoding="utf-8"))
        assert [link for link in links if not (ROOT / link).exists()] == []


class TestTables:
    def test_every_ending_is_told(self) -> None:
        assert {str(ending) for ending in Ending} <= first_cells(
            (DOCS / "deferral.md").read_text(encoding="utf-8")
        )

    def test_every_exception_is_told(self) -> None:
        exceptions = {name for name in client.__all__ if name.endswith("Error")} - {"OuterProductError"}
        assert exceptions <= first_cells((DOCS / "client.md").read_text(encoding="utf-8"))

    def test_every_parameter_of_a_watcher_is_told(self) -> None:
        told = first_cells((DOCS / "events.md").read_text(encoding="utf-8"))
        assert parameters_of(ClearTraceModelReadyTrigger) <= told

    def test_every_operation_is_told_with_its_path(self) -> None:
        text = (DOCS / "connection.md").read_text(encoding="utf-8")
        for operation in OPERATIONS:
            assert f"| `{operation.name}` | `{operation.method} {operation.path}` |" in text

    def test_every_field_of_the_connection_is_told(self) -> None:
        assert set(FORM_FIELDS) <= first_cells((DOCS / "connection.md").read_text(encoding="utf-8"))


class TestErrorTexts:
    def test_of_the_page_on_errors_stand_in_the_code(self) -> None:
        text = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
        headings = re.findall(r"^### (.*)$", text, re.MULTILINE)
        assert (
            unknown_texts([error for heading in headings for error in re.findall(r"`([^`]+)`", heading)])
            == []
        )

    def test_of_the_connection_test_stand_in_the_code(self) -> None:
        text = (DOCS / "connection.md").read_text(encoding="utf-8")
        table = text.partition("| answer | meaning |")[2].partition("\n\n")[0]
        assert unknown_texts(list(first_cells(table))) == []


def unknown_texts(told: list[str]) -> list[str]:
    """Those of the error texts that no string of the code contains."""
    assert told
    known = set(texts_of_the_package())
    return [error for error in told if not any(error in text for text in known)]


def texts_of_the_package() -> Iterator[str]:
    """Every string of the code; what is put into one at run time reads as an ellipsis."""
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                yield "".join(
                    str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value
