"""Explanations of many rows: exact in every format, caught when the server lies, whole after every crash."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_provider_cleartrace.api.errors import ServerError, ValidationError
from airflow_provider_cleartrace.operators.inference import (
    ClearTraceExplainOperator,
    ClearTracePredictOperator,
)
from airflow_provider_cleartrace.operators.partitions import partitions
from airflow_provider_cleartrace.operators.rows.reader import BadRowError
from airflow_provider_cleartrace.storage.claims import OutputInUseError
from airflow_provider_cleartrace.storage.errors import StorageError
from tests.integration.airflow_tasks import context
from tests.integration.killed_task import killed_at, processes
from tests.integration.row_server import RowServer, honest, row_server

FEATURES: dict[str, Any] = {
    "age": {"dtype": "integer", "mean": 50.0},
    'größe, in "m"': {"dtype": "number", "mean": 0.5},
    "city": {"dtype": "category", "categories": ["007", "012", "Zürich"]},
}
NAMES = list(FEATURES)
ROWS = 1000


def table(rows: int = ROWS) -> pd.DataFrame:
    draw = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "id": [f"{index:04d}" for index in range(rows)],
            "age": draw.integers(18, 90, rows),
            NAMES[1]: draw.normal(size=rows),
            "city": draw.choice(["007", "012", "Zürich"], rows),
            "region": draw.choice(["north", "süd"], rows),
        }
    )


FRAME = table()
NUMBERS = np.column_stack([FRAME["age"], FRAME[NAMES[1]], FRAME["city"].str.len()]).astype(float)
PREDICTED = [sum(row) / 1000 for row in NUMBERS.tolist()]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[RowServer]:
    with row_server(FEATURES) as served:
        connect(monkeypatch, served)
        yield served


def connect(monkeypatch: pytest.MonkeyPatch, served: RowServer) -> None:
    told = {"conn_type": "cleartrace", "host": served.url, "password": "canary-key"}
    monkeypatch.setenv("AIRFLOW_CONN_CLEARTRACE_DEFAULT", json.dumps(told))


@pytest.fixture
def data(tmp_path: Path) -> str:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_pandas(FRAME, preserve_index=False), path, row_group_size=150)
    return str(path)


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """What was logged so far: Airflow 3 prints the lines of a task, Airflow 2 hands them to ``logging``."""
    return lambda: caplog.text + "".join(capsys.readouterr())


def predict(data: str, output: Path | str, *, try_number: int = 1, **arguments: Any) -> dict[str, Any]:
    operator = ClearTracePredictOperator(
        task_id="t", model_id="m", data=data, output_uri=str(output), **{"batch_rows": 64} | arguments
    )
    return dict(operator.execute(context(try_number=try_number)))


def explain(data: str, output: Path | str, **arguments: Any) -> dict[str, Any]:
    operator = ClearTraceExplainOperator(
        task_id="t", model_id="m", data=data, output_uri=str(output), **{"batch_rows": 64} | arguments
    )
    return dict(operator.execute(context()))


def instance(data: str, output: str, **which: Any) -> dict[str, Any]:
    """Another task instance than that of :func:`predict`."""
    operator = ClearTracePredictOperator(task_id="t", model_id="m", data=data, output_uri=output)
    return dict(operator.execute(context(**which)))


def read(path: Path) -> pd.DataFrame:
    if path.is_dir():
        files = sorted(path.glob("part-*"))
        return pd.concat([read(file) for file in files], ignore_index=True)
    texts = {"id": str, "city": str}
    match path.suffix:
        case ".parquet":
            return pq.read_table(path).to_pandas()
        case ".csv":
            return pd.read_csv(path, dtype=texts, float_precision="round_trip")
        case _:
            return pd.DataFrame([json.loads(line) for line in path.read_text().splitlines()])


def below(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


class TestExactness:
    @pytest.mark.parametrize("layout", ["wide", "long"])
    @pytest.mark.parametrize("output", ["o.parquet", "o.csv", "o.jsonl", "o/", "csv/", "jsonl/"])
    def test_every_format_and_layout_holds_what_the_model_said(
        self, server: RowServer, data: str, tmp_path: Path, output: str, layout: str
    ) -> None:
        name = output.rstrip("/")
        told = explain(
            data,
            f"{tmp_path}/out/{output}",
            layout=layout,
            id_columns=["id"],
            columns=["region"],
            format=name if name in {"csv", "jsonl"} else None,
            part_rows=300,
        )

        written = read(tmp_path / "out" / name)
        expected = pd.DataFrame({"id": FRAME["id"], "region": FRAME["region"], "prediction": PREDICTED})
        if layout == "wide":
            expected[[f"driver_{name}" for name in NAMES]] = NUMBERS
            expected[[f"agop_{name}" for name in NAMES]] = NUMBERS**2
        else:
            expected = expected.loc[expected.index.repeat(3)].reset_index(drop=True)
            expected["feature"] = NAMES * ROWS
            expected["driver"] = NUMBERS.reshape(-1)
            expected["agop"] = (NUMBERS**2).reshape(-1)
        pd.testing.assert_frame_equal(written, expected, check_dtype=False, rtol=0, atol=0)
        assert told["rows"] == ROWS
        assert told["rows_rejected"] == 0
        assert told["rows_written"] == len(expected)
        if told["files"] == 1:
            content = (tmp_path / "out" / name).read_bytes()
            assert told["sha256"] == hashlib.sha256(content).hexdigest()

    @pytest.mark.parametrize("name", ["rows.csv", "rows.csv.gz", "folder", "hive"])
    def test_the_same_rows_give_the_same_output_whatever_holds_them(
        self, server: RowServer, data: str, tmp_path: Path, name: str
    ) -> None:
        path = tmp_path / name
        if name.startswith("rows"):
            content = b"\xef\xbb\xbf" + FRAME.to_csv(index=False).encode()
            path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
        else:
            for number in range(4):
                folder = path / f"day={number}" if name == "hive" else path
                folder.mkdir(parents=True, exist_ok=True)
                part = FRAME[number * 250 : (number + 1) * 250]
                part.to_parquet(folder / f"{number}.parquet", index=False)
            FRAME[:0].to_parquet(path / "4-without-rows.parquet", index=False)
            (path / "_ignored").write_text("x")
        told = explain(str(path), tmp_path / "o.parquet", id_columns=["id"])
        explain(data, tmp_path / "reference.parquet", id_columns=["id"])
        assert told["rows"] == ROWS
        assert pq.read_table(tmp_path / "o.parquet").equals(pq.read_table(tmp_path / "reference.parquet"))

    def test_parquet_names_model_schema_and_provider(
        self, server: RowServer, data: str, tmp_path: Path
    ) -> None:
        explain(data, f"{tmp_path}/o/", part_rows=500)
        for part in (tmp_path / "o").glob("part-*"):
            metadata = pq.read_schema(part).metadata
            assert metadata[b"cleartrace.model_id"] == b"m"
            assert metadata[b"cleartrace.schema_version"] == b"1"
            assert metadata[b"cleartrace.provider_version"]

    def test_reserved_names_survive(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        names = ["row", "prediction", "feature", "select", "a.b", "", "__index_level_0__", "日本"]
        frame = pd.DataFrame({name: [1.0 + index, 2.0] for index, name in enumerate(names)})
        pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), tmp_path / "d.parquet")
        with row_server({name: {"dtype": "number"} for name in names}) as served:
            connect(monkeypatch, served)
            explain(str(tmp_path / "d.parquet"), tmp_path / "o.parquet")
        written = read(tmp_path / "o.parquet")
        assert list(written.columns[:3]) == ["row", "prediction", "driver_row"]
        assert written["driver_日本"].tolist() == [8.0, 2.0]

    def test_a_name_of_a_megabyte_is_cut_in_what_the_task_returns_alone(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        name = "ü" * 500_000
        pd.DataFrame({name: [1.0, 2.0]}).to_parquet(tmp_path / "d.parquet", index=False)
        with row_server({name: {"dtype": "number"}}) as served:
            connect(monkeypatch, served)
            told = explain(str(tmp_path / "d.parquet"), tmp_path / "o.parquet")
        assert all(len(each) < 600 for each in told["columns"])
        assert read(tmp_path / "o.parquet")[f"driver_{name}"].tolist() == [1.0, 2.0]

    def test_five_thousand_features(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        names = [f"f{index}" for index in range(5000)]
        values = np.random.default_rng(0).normal(size=(60, 5000)).round(3)
        pd.DataFrame(values, columns=names).to_csv(tmp_path / "d.csv", index=False)
        with row_server({name: {"dtype": "number"} for name in names}) as served:
            connect(monkeypatch, served)
            told = explain(str(tmp_path / "d.csv"), tmp_path / "o.parquet", batch_rows=None)
        assert told["n_columns"] == 10_002
        assert max(rows for _, rows in served.requests) <= 53
        drivers = read(tmp_path / "o.parquet")[[f"driver_{name}" for name in names]]
        assert np.array_equal(drivers.to_numpy(), values)


class TestFilters:
    def test_only_wanted_rows_are_asked_for_and_keep_their_numbers(
        self, server: RowServer, data: str, tmp_path: Path
    ) -> None:
        predict(data, tmp_path / "p.parquet", columns=["*"])
        server.requests.clear()
        middle = float(np.median(PREDICTED))
        told = explain(
            str(tmp_path / "p.parquet"),
            tmp_path / "o.parquet",
            id_columns=["row"],
            filter=[["prediction", "<", middle], ["region", "in", ["north"]]],
        )
        wanted = (np.array(PREDICTED) < middle) & (FRAME["region"] == "north").to_numpy()
        assert read(tmp_path / "o.parquet")["row"].tolist() == np.flatnonzero(wanted).tolist()
        assert told["rows"] == ROWS
        assert told["rows_filtered"] == ROWS - wanted.sum()
        assert told["rows_written"] == wanted.sum()

    def test_row_groups_that_cannot_match_are_not_read(self, server: RowServer, tmp_path: Path) -> None:
        ordered = FRAME.assign(number=range(ROWS))
        pq.write_table(pa.Table.from_pandas(ordered), tmp_path / "d.parquet", row_group_size=100)
        told = predict(str(tmp_path / "d.parquet"), tmp_path / "o.parquet", filter=["number", ">=", 870])
        assert read(tmp_path / "o.parquet")["row"].tolist() == list(range(870, ROWS))
        assert (told["rows"], told["rows_filtered"]) == (ROWS, 870)

    def test_a_filter_that_wants_no_row_gives_an_output_without_rows(
        self, server: RowServer, data: str, tmp_path: Path
    ) -> None:
        told = explain(data, tmp_path / "o.parquet", filter=["age", ">", 1000])
        written = pq.read_table(tmp_path / "o.parquet")
        assert (written.num_rows, told["rows_filtered"], server.requests) == (0, ROWS, [])
        assert written.column_names[:3] == ["row", "prediction", "driver_age"]

    @pytest.mark.parametrize(
        "conditions", ["age < 3", [["age", "like", 3]], [["age", "<"]], [[["age", "in", 3]]], {"age": 3}]
    )
    def test_another_shape_is_refused(
        self, server: RowServer, data: str, tmp_path: Path, conditions: Any
    ) -> None:
        with pytest.raises(StorageError, match="a filter is a list of conditions"):
            predict(data, tmp_path / "o.parquet", filter=conditions)
        assert not server.requests

    def test_partitions_are_together_the_whole(self, server: RowServer, data: str, tmp_path: Path) -> None:
        FRAME.to_csv(tmp_path / "rows.csv", index=False)
        for source in (data, str(tmp_path / "rows.csv")):
            parts = partitions(source, rows=300)
            assert len(parts) == 4
            outputs = [tmp_path / f"{index}.parquet" for index in range(4)]
            told = [predict(part, output) for part, output in zip(parts, outputs, strict=True)]
            assert [entry["rows"] for entry in told] == [300, 300, 300, 100]
            rows = pd.concat([read(output) for output in outputs])
            assert rows["row"].tolist() == list(range(ROWS))
            assert rows["prediction"].tolist() == PREDICTED


class TestLies:
    """Whatever a server does to the answers, nothing wrong is published."""

    def lied_to(
        self, monkeypatch: pytest.MonkeyPatch, data: str, folder: Path, fault: Any, run: Any = explain
    ) -> ServerError:
        output = folder / "o.parquet"
        with row_server(FEATURES, fault=fault) as served:
            connect(monkeypatch, served)
            with pytest.raises(ServerError) as caught:
                run(data, output)
        assert sorted(path.name for path in folder.iterdir()) == ["rows.parquet"]
        return caught.value

    @pytest.mark.parametrize("seed", range(4))
    @pytest.mark.parametrize("run", [explain, predict])
    def test_shuffled(
        self, monkeypatch: pytest.MonkeyPatch, data: str, tmp_path: Path, seed: int, run: Any
    ) -> None:
        draw = random.Random(seed)

        def shuffle(_: str, samples: list[Any], answer: dict[str, Any]) -> Any:
            order = list(range(len(samples)))
            draw.shuffle(order)
            arrays = {
                key for key, value in answer.items() if len(value) == len(samples) and key != "feature_names"
            }
            return answer | {key: [answer[key][place] for place in order] for key in arrays}

        assert "order" in str(self.lied_to(monkeypatch, data, tmp_path, shuffle, run))

    @pytest.mark.parametrize("edit", [lambda rows: rows[:-1], lambda rows: [*rows, rows[0]], lambda _: []])
    def test_short_or_long(
        self, monkeypatch: pytest.MonkeyPatch, data: str, tmp_path: Path, edit: Any
    ) -> None:
        def fault(_: str, __: Any, answer: dict[str, Any]) -> Any:
            arrays = ("predictions", "local_drivers", "local_agop")
            return answer | {key: edit(answer[key]) for key in arrays}

        self.lied_to(monkeypatch, data, tmp_path, fault)

    def test_duplicated_and_shifted(self, monkeypatch: pytest.MonkeyPatch, data: str, tmp_path: Path) -> None:
        def fault(_: str, __: Any, answer: dict[str, Any]) -> Any:
            arrays = ("predictions", "local_drivers", "local_agop")
            return answer | {key: [answer[key][0], *answer[key][:-1]] for key in arrays}

        assert "order" in str(self.lied_to(monkeypatch, data, tmp_path, fault))

    @pytest.mark.parametrize("key", ["predictions", "local_drivers", "local_agop"])
    def test_without_a_value(
        self, monkeypatch: pytest.MonkeyPatch, data: str, tmp_path: Path, key: str
    ) -> None:
        def fault(_: str, __: Any, answer: dict[str, Any]) -> Any:
            hole = None if key == "predictions" else [None] * 3
            return answer | {key: [hole, *answer[key][1:]]}

        assert f"{key}: no value for 1 of 67 rows" in str(self.lied_to(monkeypatch, data, tmp_path, fault))

    def test_about_other_features(self, monkeypatch: pytest.MonkeyPatch, data: str, tmp_path: Path) -> None:
        def fault(_: str, __: Any, answer: dict[str, Any]) -> Any:
            return answer | {"feature_names": ["x", *NAMES[1:]]}

        assert "other features" in str(self.lied_to(monkeypatch, data, tmp_path, fault))

    def test_features_in_another_order_are_put_right(
        self, monkeypatch: pytest.MonkeyPatch, data: str, tmp_path: Path
    ) -> None:
        def fault(_: str, __: Any, answer: dict[str, Any]) -> Any:
            arrays = ("local_drivers", "local_agop")
            turned = {key: [row[::-1] for row in answer[key]] for key in arrays}
            return answer | turned | {"feature_names": NAMES[::-1]}

        with row_server(FEATURES, fault=fault) as served:
            connect(monkeypatch, served)
            explain(data, tmp_path / "o.parquet")
        assert read(tmp_path / "o.parquet")["driver_age"].tolist() == FRAME["age"].tolist()


class TestBadRows:
    def test_a_batch_that_is_too_large_is_halved_until_it_fits(
        self, monkeypatch: pytest.MonkeyPatch, data: str, tmp_path: Path
    ) -> None:
        def at_most_forty(_: str, samples: list[Any], answer: Any) -> Any:
            return (413, {"detail": "too large"}) if len(samples) > 40 else answer

        with row_server(FEATURES, fault=at_most_forty) as served:
            connect(monkeypatch, served)
            predict(data, tmp_path / "o.parquet", batch_rows=500, max_in_flight=1)
        assert read(tmp_path / "o.parquet")["prediction"].tolist() == PREDICTED
        assert sum(rows > 40 for _, rows in served.requests) <= 5, "what fits is remembered"

    @staticmethod
    def picky(_: str, samples: list[Any], answer: Any) -> Any:
        ages = [row[0] for row in samples]
        return (422, {"detail": "an age below 19"}) if min(ages) < 19 else answer

    def test_the_bad_row_is_named(self, monkeypatch: pytest.MonkeyPatch, data: str, tmp_path: Path) -> None:
        with row_server(FEATURES, fault=self.picky) as served:
            connect(monkeypatch, served)
            with pytest.raises(BadRowError, match="an age below 19") as caught:
                predict(data, tmp_path / "o.parquet", id_columns=["id"], max_in_flight=1)
        first = int(np.flatnonzero(FRAME["age"] < 19)[0])
        assert str(caught.value).startswith(f"row {first}, id '{first:04d}': ")
        assert [path.name for path in tmp_path.iterdir()] == ["rows.parquet"]

    @pytest.mark.parametrize("output", ["o.parquet", "o/"])
    def test_bad_rows_go_to_the_reject_file_and_the_counts_add_up(
        self, monkeypatch: pytest.MonkeyPatch, data: str, tmp_path: Path, output: str
    ) -> None:
        with row_server(FEATURES, fault=self.picky) as served:
            connect(monkeypatch, served)
            told = predict(data, f"{tmp_path}/{output}", id_columns=["id"], on_bad_rows="skip", part_rows=300)
        bad = FRAME[FRAME["age"] < 19]
        lines = [json.loads(line) for line in Path(told["rejects_uri"]).read_text().splitlines()]
        assert sorted(line["id"] for line in lines) == bad["id"].tolist()
        assert {line["values"]["age"] < 19 for line in lines} == {True}
        assert told["rows"] == told["rows_written"] + told["rows_rejected"] == ROWS
        assert told["rows_rejected"] == len(bad)
        kept = read(tmp_path / output.rstrip("/"))
        assert kept["id"].tolist() == FRAME[FRAME["age"] >= 19]["id"].tolist()

    @pytest.mark.parametrize("rows", [ROWS, 5])
    def test_a_request_that_no_row_survives_is_no_fault_of_the_rows(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rows: int
    ) -> None:
        FRAME[:rows].to_parquet(tmp_path / "d.parquet")

        def refuse(*_: Any) -> Any:
            return 422, {"detail": "no such option"}

        with row_server(FEATURES, fault=refuse) as served:
            connect(monkeypatch, served)
            with pytest.raises(ValidationError, match="no such option"):
                predict(str(tmp_path / "d.parquet"), tmp_path / "o.parquet", on_bad_rows="skip")
        assert len(served.requests) < 200
        assert not (tmp_path / "o.parquet").exists()

    def test_a_cell_that_is_no_number_is_a_bad_row(self, server: RowServer, tmp_path: Path) -> None:
        frame = FRAME.astype({"age": object})
        frame.loc[[3, 500], "age"] = ["canary", "inf"]
        frame.to_csv(tmp_path / "d.csv", index=False)
        with pytest.raises(BadRowError, match="row 3, id '0003': column 'age' is no number") as caught:
            predict(str(tmp_path / "d.csv"), tmp_path / "o.csv", id_columns=["id"])
        assert "canary" not in str(caught.value)
        told = predict(str(tmp_path / "d.csv"), tmp_path / "o.csv", on_bad_rows="skip")
        assert (told["rows_written"], told["rows_rejected"]) == (ROWS - 2, 2)
        assert sorted(set(range(ROWS)) - set(read(tmp_path / "o.csv")["row"])) == [3, 500]

    def test_a_repeated_identity_is_a_bad_row(self, server: RowServer, tmp_path: Path) -> None:
        frame = pd.concat([FRAME, FRAME[10:12]])
        frame.to_parquet(tmp_path / "d.parquet")
        with pytest.raises(BadRowError, match=r"row 1000, id '0010': a row before has the same 'id'"):
            predict(str(tmp_path / "d.parquet"), tmp_path / "o.csv", id_columns=["id"])
        told = predict(str(tmp_path / "d.parquet"), tmp_path / "o.csv", id_columns=["id"], on_bad_rows="skip")
        assert (told["rows"], told["rows_written"], told["rows_rejected"]) == (1002, 1000, 2)

    def test_what_the_model_has_not_met_is_counted_and_told_without_its_values(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, logged: Callable[[], str]
    ) -> None:
        frame = FRAME.assign(city=FRAME["city"].where(FRAME.index % 100 != 0, "canary"))
        frame.loc[[1, 2, 700], NAMES[1]] = np.nan
        frame.to_parquet(tmp_path / "d.parquet")
        told_of = {**FEATURES, NAMES[1]: FEATURES[NAMES[1]] | {"missing_share": 0.0}}
        with row_server(told_of) as served:
            connect(monkeypatch, served)
            told = predict(str(tmp_path / "d.parquet"), f"{tmp_path}/o/", part_rows=300)
        assert (told["unseen_categories"], told["unexpected_missing"], told["rows_written"]) == (10, 3, ROWS)
        lines = logged()
        assert "categories that the model does not know: 'city': 10" in lines
        assert f"missing values in columns that had none in training: {NAMES[1]!r}: 3" in lines
        assert "canary" not in lines

    @pytest.mark.parametrize(
        ("frame", "complaint"),
        [
            (FRAME.drop(columns="city"), "no column 'city'"),
            (FRAME.assign(age=FRAME["city"]), "the column 'age' is .*string, where a number is needed"),
            (FRAME.assign(city=[[1]] * ROWS), "where a simple value is needed"),
            (FRAME[:0], "there are no rows"),
        ],
    )
    def test_what_can_be_seen_early_costs_no_request(
        self, server: RowServer, tmp_path: Path, frame: pd.DataFrame, complaint: str
    ) -> None:
        frame.to_parquet(tmp_path / "d.parquet")
        with pytest.raises(StorageError, match=complaint):
            predict(str(tmp_path / "d.parquet"), tmp_path / "o.csv")
        assert not server.requests
        assert [path.name for path in tmp_path.iterdir()] == ["d.parquet"]

    @pytest.mark.parametrize(
        "output",
        [
            "rows.parquet",
            "folder/../rows.parquet",
            "folder/o.parquet",
            "folder/below/",
            "folder/",
            "folder/../folder/",
            "link/o.parquet",
        ],
    )
    def test_an_output_in_its_own_data_is_refused(
        self, server: RowServer, data: str, tmp_path: Path, output: str
    ) -> None:
        (tmp_path / "folder").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "folder")
        FRAME.to_parquet(tmp_path / "folder" / "d.parquet")
        source = data if output.endswith("rows.parquet") else str(tmp_path / "folder")
        with pytest.raises(StorageError, match="would replace the data"):
            predict(source, f"{tmp_path}/{output}")

    def test_a_column_with_the_name_of_an_answer_is_refused(
        self, server: RowServer, data: str, tmp_path: Path
    ) -> None:
        predict(data, tmp_path / "p.parquet", columns=["*"])
        with pytest.raises(ValidationError, match="'prediction' of the data has the name of an output"):
            predict(str(tmp_path / "p.parquet"), tmp_path / "o.parquet", columns=["prediction"])


class TestFlow:
    def test_no_more_requests_are_under_way_than_allowed(
        self, monkeypatch: pytest.MonkeyPatch, data: str, tmp_path: Path
    ) -> None:
        for most in (1, 3):
            with row_server(FEATURES) as served:
                connect(monkeypatch, served)
                predict(data, tmp_path / f"{most}.parquet", max_in_flight=most, batch_rows=40)
            assert served.most_in_flight <= most
            assert read(tmp_path / f"{most}.parquet")["prediction"].tolist() == PREDICTED

    def test_a_passing_fault_of_one_batch_is_retried(
        self, monkeypatch: pytest.MonkeyPatch, data: str, tmp_path: Path
    ) -> None:
        seen: list[int] = []

        def every_fifth(_: str, __: Any, answer: Any) -> Any:
            seen.append(1)
            return (503, {"detail": "later"}) if len(seen) % 5 == 0 else answer

        with row_server(FEATURES, fault=every_fifth) as served:
            connect(monkeypatch, served)
            predict(data, tmp_path / "o.parquet", batch_rows=200)
        assert read(tmp_path / "o.parquet")["prediction"].tolist() == PREDICTED

    def test_nothing_secret_is_written(
        self, server: RowServer, data: str, tmp_path: Path, logged: Callable[[], str]
    ) -> None:
        told = explain(data, f"{tmp_path}/out/")
        lines = logged()
        assert "1000 rows of" in lines
        assert "canary" not in json.dumps(told) + lines
        assert not [p for p in (tmp_path / "out").iterdir() if b"canary" in p.read_bytes()]


class TestPublication:
    @pytest.mark.parametrize("output", ["o.parquet", "o/"])
    def test_a_re_run_replaces_the_whole(
        self, server: RowServer, data: str, tmp_path: Path, output: str
    ) -> None:
        where = f"{tmp_path}/out/{output}"
        predict(data, where, part_rows=100)
        predict(f"{data}#rows=0-300", where, part_rows=100)
        assert read(tmp_path / "out" / output.rstrip("/"))["row"].tolist() == list(range(300))
        once = below(tmp_path / "out")
        predict(f"{data}#rows=0-300", where, part_rows=100)
        assert below(tmp_path / "out") == once, "the same work gives the same bytes"

    def test_a_folder_that_is_a_link_is_refused(self, server: RowServer, data: str, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "real")
        with pytest.raises(StorageError, match="a link, which would be replaced"):
            predict(data, f"{tmp_path}/link/")
        with pytest.raises(StorageError, match="no path has a NUL"):
            predict(data, f"{tmp_path}/a\0b.csv")
        assert not server.requests
        assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "real", "rows.parquet"]

    @pytest.mark.parametrize("output", ["o.parquet", "o/"])
    def test_if_exists(self, server: RowServer, data: str, tmp_path: Path, output: str) -> None:
        where = f"{tmp_path}/out/{output}"
        first = predict(data, where, if_exists="fail")
        assert predict(data, where, if_exists="fail") == first, "a retry finds its own output"
        with pytest.raises(StorageError, match="there is an output already"):
            predict(f"{data}#rows=0-10", where, if_exists="fail")
        server.requests.clear()
        assert predict(data, where, if_exists="skip") == first
        assert not server.requests
        assert predict(f"{data}#rows=0-10", where, if_exists="skip")["rows"] == 10

    def test_ten_map_indexes_and_two_dates_in_parallel_never_touch_each_other(
        self, server: RowServer, data: str, tmp_path: Path
    ) -> None:
        parts = partitions(data, rows=100)
        places = [
            f"{tmp_path}/out/{date}/{index}/" for date in ("2026-01-01", "2026-01-02") for index in range(10)
        ]
        with processes(4) as pool:
            told = list(pool.map(predict, parts * 2, places))
        assert [entry["rows_written"] for entry in told] == [100] * 20
        for date in ("2026-01-01", "2026-01-02"):
            written = [read(tmp_path / "out" / date / str(index)) for index in range(10)]
            assert pd.concat(written)["prediction"].tolist() == PREDICTED
        assert not list((tmp_path / "out").rglob("*.tmp"))

    def test_map_indexes_that_share_a_place_are_refused(
        self, server: RowServer, data: str, tmp_path: Path
    ) -> None:
        for place in (f"{tmp_path}/out/", f"{tmp_path}/out.csv"):
            instance(f"{data}#rows=0-100", place, map_index=0)
            with pytest.raises(StorageError, match=r"map indexes 0 and 1 .* put \{\{ ti.map_index \}\}"):
                instance(f"{data}#rows=100-200", place, map_index=1)
            anew = instance(f"{data}#rows=0-100", place, map_index=1)
            assert anew["rows"] == 100, "mapped anew, the same work"
        assert sorted(path.name for path in tmp_path.iterdir() if ".tmp" in path.name) == []

    def test_who_writes_to_a_place_at_the_same_time_is_refused_and_touches_nothing(
        self, server: RowServer, data: str, tmp_path: Path
    ) -> None:
        refused: list[BaseException | None] = []

        once = iter([True])

        def start_others(_: str, __: Any, answer: Any) -> Any:
            if next(once, False):
                for which in ({"map_index": 1}, {"run_id": "next"}):
                    other = pool.submit(instance, f"{data}#rows=0-9", f"{tmp_path}/out/", **which)
                    refused.append(other.exception())
            return answer

        server.fault = start_others
        with processes(1) as pool:
            predict(data, f"{tmp_path}/out/")
        assert [type(error) for error in refused] == [OutputInUseError] * 2
        assert "the map indexes -1 and 1 of this run" in str(refused[0])
        assert "out/: being written by task 'task' of DAG 'dag', run 'run', try 1" in str(refused[1])
        assert read(tmp_path / "out")["prediction"].tolist() == PREDICTED
        assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "rows.parquet"]

    def test_a_try_that_was_given_up_and_still_runs_leaves_the_output_to_the_next_try(
        self, server: RowServer, data: str, tmp_path: Path
    ) -> None:
        once = iter([True])

        def start_next(_: str, __: Any, answer: Any) -> Any:
            # Several are answered at once: none may see just ten of them.
            if len(server.requests) >= 10 and next(once, False):
                pool.submit(predict, data, f"{tmp_path}/out/", part_rows=100, try_number=2).result()
            return answer

        server.fault = start_next
        with processes(1) as pool, pytest.raises(OutputInUseError, match="taken over by"):
            predict(data, f"{tmp_path}/out/", part_rows=100)
        assert read(tmp_path / "out")["prediction"].tolist() == PREDICTED
        assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "rows.parquet"]

    def test_a_reader_of_a_folder_finds_the_old_output_or_the_new_one_at_any_moment(
        self, server: RowServer, data: str, tmp_path: Path
    ) -> None:
        place = tmp_path / "out"
        predict(f"{data}#rows=0-100", f"{place}/")
        seen: set[frozenset[str]] = set()
        ended = threading.Event()

        def look() -> None:
            while not ended.is_set():
                folder = os.open(place, os.O_RDONLY)
                try:
                    seen.add(frozenset(os.listdir(folder)))  # noqa: PTH208  (of what was opened)
                finally:
                    os.close(folder)

        with ThreadPoolExecutor(1) as pool:
            reader = pool.submit(look)
            for stop in (200, 300, 400):
                predict(f"{data}#rows=0-{stop}", f"{place}/")
            ended.set()
            reader.result()
        # A folder that was opened before its replacement may be on its way out; none mixes two outputs.
        assert {len(names - {"_SUCCESS"}) for names in seen} <= {0, 1}
        assert max(len(names) for names in seen) == 2

    def test_a_folder_is_replaced_also_where_folders_cannot_be_exchanged(
        self, server: RowServer, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("airflow_provider_cleartrace.storage.placing.exchange", lambda *_: False)
        for stop in (100, 200):
            predict(f"{data}#rows=0-{stop}", f"{tmp_path}/out/")
        assert read(tmp_path / "out")["row"].tolist() == list(range(200))
        assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "rows.parquet"]

    def test_a_folder_with_other_files_is_left_alone(
        self, server: RowServer, data: str, tmp_path: Path
    ) -> None:
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "thesis.txt").write_text("years of work")
        with pytest.raises(StorageError, match="no parts of an output"):
            predict(data, f"{tmp_path}/mine/")
        assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"

    def test_a_later_try_reuses_finished_parts(
        self, monkeypatch: pytest.MonkeyPatch, data: str, tmp_path: Path
    ) -> None:
        asked: list[int] = []

        def dies(_: str, samples: list[Any], answer: Any) -> Any:
            asked.append(len(samples))
            return (500, {"detail": "broken"}) if len(asked) > 7 else answer

        with row_server(FEATURES, fault=dies) as served:
            connect(monkeypatch, served)
            with pytest.raises(ServerError):
                predict(data, f"{tmp_path}/out/", part_rows=200, batch_rows=100, max_in_flight=1)
            assert not (tmp_path / "out").exists()
            served.fault = lambda _, __, answer: answer
            served.requests.clear()
            told = predict(data, f"{tmp_path}/out/", part_rows=200, batch_rows=100, max_in_flight=1)
        assert len(served.requests) == 4, "three parts of five were there"
        assert told["rows_written"] == ROWS
        assert read(tmp_path / "out")["prediction"].tolist() == PREDICTED
        assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "rows.parquet"]

    @pytest.mark.parametrize("change", ["training", "server"])
    def test_parts_of_another_server_or_of_a_model_before_it_was_trained_anew_are_not_reused(
        self, monkeypatch: pytest.MonkeyPatch, data: str, tmp_path: Path, change: str
    ) -> None:
        def dies(_: str, __: Any, answer: Any) -> Any:
            return (500, {"detail": "broken"}) if len(served.requests) > 7 else answer

        def export() -> Any:
            return predict(data, f"{tmp_path}/out/", part_rows=200, batch_rows=100, max_in_flight=1)

        with row_server(FEATURES, fault=dies) as served, row_server(FEATURES) as other:
            connect(monkeypatch, served)
            with pytest.raises(ServerError):
                export()
            if change == "training":
                served.fault, served.state = honest, 2.0
                served.requests.clear()
            else:
                connect(monkeypatch, other)
            export()
        assert len((served if change == "training" else other).requests) == 10

    def test_a_disk_that_cannot_be_written_leaves_the_old_output(
        self, server: RowServer, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        predict(data, tmp_path / "out.csv")
        before = (tmp_path / "out.csv").read_bytes()
        full = tmp_path / "full"
        full.write_text("a file where a folder is needed")
        with pytest.raises(StorageError, match="full"):
            predict(data, full / "out.csv")
        assert (tmp_path / "out.csv").read_bytes() == before


@pytest.mark.parametrize("output", ["o.parquet", "o/"])
def test_a_killed_task_leaves_the_old_output_and_the_next_try_completes(
    server: RowServer, data: str, tmp_path: Path, output: str
) -> None:
    where = f"{tmp_path}/out/{output}"
    predict(f"{data}#rows=0-100", where)
    killed_at(13, server, predict, data, where, batch_rows=50, part_rows=100)
    assert len(read(tmp_path / "out" / output.rstrip("/"))) == 100
    server.requests.clear()
    predict(data, where, batch_rows=50, part_rows=100)
    assert len(server.requests) <= 16, "two parts at least were there"
    assert read(tmp_path / "out" / output.rstrip("/"))["prediction"].tolist() == PREDICTED
    assert [p.name for p in (tmp_path / "out").glob(".o*.tmp")] == []


class TestReasons:
    TABLE = (
        {"feature": "age", "direction": "high", "code": "R01", "text": "Age above average"},
        {"feature": "age", "direction": "low", "code": "R02", "text": "Age below average"},
        {"feature": "city", "direction": "any", "code": "R03", "text": "Place of residence"},
    )

    def test_the_strongest_drivers_towards_the_unwanted_outcome_have_their_codes(
        self, monkeypatch: pytest.MonkeyPatch, data: str, tmp_path: Path
    ) -> None:
        def pushes(_: str, samples: list[Any], answer: Any) -> Any:
            drivers = [[50.0 - row[0], 9e9, -1.5] for row in samples]
            return answer | {"local_drivers": drivers}

        with row_server(FEATURES, fault=pushes) as served:
            connect(monkeypatch, served)
            explain(data, tmp_path / "o.parquet", raw_gradient=False, reasons=list(self.TABLE), top_k=2)
        written = read(tmp_path / "o.parquet")
        for age, first, second in zip(
            FRAME["age"], written["reason_1_code"], written["reason_2_code"], strict=True
        ):
            if age > 51:
                assert (first, second) == ("R01", "R03")
            elif age < 50:
                assert first == "R03"
                assert pd.isna(second)

    @pytest.mark.parametrize(
        ("entry", "complaint"),
        [
            ({"feature": "nobody", "direction": "any", "code": "1", "text": "x"}, "'nobody' is no feature"),
            ({"feature": "age", "direction": "up", "code": "1", "text": "x"}, "'up' is none of"),
            ({"feature": "city", "direction": "high", "code": "1", "text": "x"}, "no mean of 'city'"),
            ({"feature": "age", "direction": "any", "text": "x"}, "entry 0 has no code"),
            ("age", "entry 0 is no mapping with feature, direction, code, text"),
        ],
    )
    def test_a_table_that_does_not_fit_is_refused_before_a_row_is_sent(
        self, server: RowServer, data: str, tmp_path: Path, entry: Any, complaint: str
    ) -> None:
        with pytest.raises(ValidationError, match=complaint):
            explain(data, tmp_path / "o.csv", raw_gradient=False, reasons=[entry])
        assert not server.requests

    def test_a_date_is_neither_high_nor_low(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        pd.DataFrame({"since": ["2026-11-21"]}).to_csv(tmp_path / "d.csv", index=False)
        entry = {"feature": "since", "direction": "high", "code": "1", "text": "x"}
        with row_server({"since": {"dtype": "datetime", "mean": 20_000.0}}) as served:
            connect(monkeypatch, served)
            with pytest.raises(ValidationError, match="no mean of 'since'; use 'any'"):
                explain(f"{tmp_path}/d.csv", tmp_path / "o.csv", raw_gradient=False, reasons=[entry])

    def test_the_table_is_never_replaced_by_the_output(
        self, server: RowServer, data: str, tmp_path: Path
    ) -> None:
        pd.DataFrame(self.TABLE).to_csv(tmp_path / "reasons.csv", index=False)
        with pytest.raises(StorageError, match="would replace the data it is made from"):
            explain(data, tmp_path / "reasons.csv", raw_gradient=False, reasons=str(tmp_path / "reasons.csv"))
        with pytest.raises(ValidationError, match="the table has no entries"):
            explain(data, tmp_path / "o.csv", raw_gradient=False, reasons=[])
