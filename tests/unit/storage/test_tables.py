"""A table reads alike from every format that tasks write, and names what is wrong without quoting rows."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_provider_cleartrace.storage.errors import StorageError
from airflow_provider_cleartrace.storage.locations import Location
from airflow_provider_cleartrace.storage.tables import BATCH_LINES, Table, identities, numbers
from airflow_provider_cleartrace.storage.writing import csv_header_size, table_writer

ROWS = BATCH_LINES + 3


def no_s3() -> Any:
    raise AssertionError("a local file needs no S3")


def located(path: Path) -> Location:
    return Location(str(path), str(path))


def write(frame: pd.DataFrame, path: Path) -> None:
    """A file in the format of its extension."""
    path.parent.mkdir(parents=True, exist_ok=True)
    match path.suffix:
        case ".parquet":
            frame.to_parquet(path)
        case ".csv":
            frame.to_csv(path, index=False)
        case _:
            path.write_text("".join(json.dumps(row) + "\n" for row in frame.to_dict("records")))


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {"id": [f"c{row}" for row in range(ROWS)], "day": "Monday", "score": np.arange(ROWS) / 4}
    )


@pytest.mark.parametrize("name", ["t.parquet", "t.csv", "t.jsonl", "folder"])
def test_every_format_has_the_same_rows_in_order(tmp_path: Path, frame: pd.DataFrame, name: str) -> None:
    if name == "folder":
        write(frame[:5], tmp_path / name / "part-0.jsonl")
        write(frame[5:], tmp_path / name / "part-1.jsonl")
        for hidden in ("_part-2.jsonl", ".out.0123456789ab.tmp/part-2.jsonl", "sub/_old/part-2.jsonl"):
            (tmp_path / name / hidden).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / hidden).write_text("not visible\n")
    else:
        write(frame, tmp_path / name)
    table = Table(str(tmp_path / name), no_s3)

    assert table.columns == ["id", "day", "score"]
    batches = list(table.batches(["day", "id", "score"]))
    assert np.concatenate([numbers(batch, ["score"], table.uri)[:, 0] for batch in batches]) == pytest.approx(
        frame["score"]
    )
    named = [name for batch in batches for name in identities(batch, ["id", "day"])]
    assert named == [f"{row} / Monday" for row in frame["id"]]


def test_what_is_missing_or_infinite_is_no_number() -> None:
    batch = pa.record_batch({"a": pa.array([1.5, None, float("inf")])})
    assert numbers(batch, ["a"], "t")[:, 0] == pytest.approx([1.5, np.nan, np.nan], nan_ok=True)


class TestRefused:
    def test_parts_of_an_output_that_is_not_finished(self, tmp_path: Path, frame: pd.DataFrame) -> None:
        write(frame[:5], tmp_path / "out" / "part-00000-0123456789ab.jsonl")
        with pytest.raises(StorageError, match="is part of an output, but there is no _SUCCESS"):
            list(Table(f"{tmp_path}/out/", no_s3).batches(["id"]))

    def test_texts_for_numbers(self) -> None:
        with pytest.raises(StorageError, match="t: column 'a' is not all numbers") as caught:
            numbers(pa.record_batch({"a": ["secret"]}), ["a"], "t")
        assert "secret" not in str(caught.value)

    @pytest.mark.parametrize("name", ["t.parquet", "t.jsonl"])
    def test_a_column_that_is_not_there(self, tmp_path: Path, frame: pd.DataFrame, name: str) -> None:
        write(frame, tmp_path / name)
        with pytest.raises(StorageError, match="no column 'nobody'"):
            list(Table(str(tmp_path / name), no_s3).batches(["id", "nobody"]))

    def test_a_line_that_is_no_object_by_its_number(self, tmp_path: Path) -> None:
        (tmp_path / "t.jsonl").write_text('{"a": 1}\n\n["secret"]\n')
        with pytest.raises(StorageError, match="line 3 is no JSON object"):
            list(Table(str(tmp_path / "t.jsonl"), no_s3).batches(["a"]))

    def test_values_of_different_types_in_one_column(self, tmp_path: Path) -> None:
        (tmp_path / "t.jsonl").write_text('{"a": 1}\n{"a": "secret"}\n')
        with pytest.raises(StorageError, match="a column has values of different types"):
            list(Table(str(tmp_path / "t.jsonl"), no_s3).batches(["a"]))


class TestFormulas:
    """What a spreadsheet would calculate is a text in CSV, and as it came everywhere else."""

    TEXTS = (
        '=HYPERLINK("http://x.example";"y")',
        "@SUM(1)",
        "\t=1",
        "\r=1",
        "-1+cmd|' /C calc'!A0",
        "+\n=1",
        "plain",
        "-5.2",
        "+1e-3",
        "a=b",
        None,
    )
    SEEN = tuple(f"'{text}" for text in TEXTS[:6]) + TEXTS[6:]

    @pytest.mark.parametrize("dictionary", [False, True])
    def test_names_and_cells_are_inert(self, tmp_path: Path, dictionary: bool) -> None:
        texts = pa.array(self.TEXTS, pa.string())
        batch = pa.record_batch(
            {"=1+1": texts.dictionary_encode() if dictionary else texts, "number": [-1.5] * len(texts)}
        )
        place = located(tmp_path / "t.csv")
        with table_writer(place, batch.schema) as writer:
            writer.write(batch)
        with (tmp_path / "t.csv").open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
        assert header == ["'=1+1", "number"]
        assert [row[0] for row in rows] == [text or "" for text in self.SEEN]
        assert {row[1] for row in rows} == {"-1.5"}
        assert csv_header_size(batch.schema.names) == csv_header_size(header)

    def test_parquet_holds_what_came(self, tmp_path: Path) -> None:
        batch = pa.record_batch({"=1+1": pa.array(self.TEXTS, pa.string())})
        with table_writer(located(tmp_path / "t.parquet"), batch.schema) as writer:
            writer.write(batch)
        assert pq.read_table(tmp_path / "t.parquet").to_pydict() == {"=1+1": list(self.TEXTS)}
