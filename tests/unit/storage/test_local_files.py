"""Local files: read strictly, written whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_provider_cleartrace.storage.errors import StorageError
from airflow_provider_cleartrace.storage.filters import RowFilter
from airflow_provider_cleartrace.storage.locations import locate
from airflow_provider_cleartrace.storage.publishing import publish_bytes, published
from airflow_provider_cleartrace.storage.reading import read_frame
from airflow_provider_cleartrace.storage.sources import find_source
from airflow_provider_cleartrace.storage.writing import table_writer

TABLE = pa.table({"id": ["007", 'é,\n"x"'], "value": [1.5, None], "count": [2**60, 3]})


def file(tmp_path: Path, name: str, content: bytes) -> str:
    path = tmp_path / name
    path.write_bytes(content)
    return str(path)


@pytest.mark.parametrize(
    ("uri", "complaint"),
    [
        ("s3://canary-id:canary-secret@bucket/key", "^an S3 URI carries no credentials"),
        ("s3://bucket/in/../key", "without empty parts or dots alone"),
        ("s3://bucket//key", "without empty parts"),
        ("s3://bucket", "an S3 URI is s3://bucket/key"),
        ("gs://bucket/key", "gs:// is not supported"),
        ("a\0b", "no path has a NUL"),
        ("", "an empty path"),
    ],
)
def test_a_place_that_is_none_is_refused_and_no_secret_of_it_told(uri: str, complaint: str) -> None:
    with pytest.raises(StorageError, match=complaint) as caught:
        locate(uri)
    assert "canary" not in str(caught.value)


def test_a_store_that_cannot_be_reached_is_named_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:1"),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "canary"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    with pytest.raises(StorageError, match=r"^s3://bucket/rows\.csv: network connection$"):
        locate("s3://bucket/rows.csv").is_file()


class TestReading:
    @pytest.mark.parametrize("name", ["rows.csv", "rows.CSV", "rows.csv.gz", "rows.parquet", "rows.pq"])
    def test_rows_come_in_blocks_of_the_columns_asked_for(self, tmp_path: Path, name: str) -> None:
        frame = pd.DataFrame({"a": range(25), "b": list("xyzuv") * 5, "c": 1.0})
        path = tmp_path / name
        frame.to_parquet(path) if name.endswith(("parquet", "pq")) else frame.to_csv(path, index=False)

        blocks = list(find_source(str(path)).read(["b", "a"]))

        assert sum(block.batch.num_rows for block in blocks) == 25
        read = pa.Table.from_batches([block.batch for block in blocks]).to_pandas()
        assert read.astype(str).equals(frame[["b", "a"]].astype(str))

    @pytest.mark.parametrize("group_rows", [60_001, 125_000, 140_000])
    def test_a_row_group_of_any_size_is_read_whole_and_in_order(
        self, tmp_path: Path, group_rows: int
    ) -> None:
        rows = range(140_001)
        texts = pa.array([str(row) if row % 7 else None for row in rows]).dictionary_encode()
        pq.write_table(
            pa.table({"number": rows, "text": texts}), tmp_path / "t.parquet", row_group_size=group_rows
        )

        blocks = list(find_source(str(tmp_path / "t.parquet")).read(["text", "number"]))

        read = pa.Table.from_batches([block.batch for block in blocks])
        assert [block.first for block in blocks] == [block.batch["number"][0].as_py() for block in blocks]
        assert read["number"].to_pylist() == list(rows)
        assert read["text"].to_pylist() == texts.to_pylist()

    @pytest.mark.parametrize("start", [0, 2, 9])
    def test_a_csv_that_ends_before_its_range_is_refused(self, tmp_path: Path, start: int) -> None:
        place = file(tmp_path, "rows.csv", b"a\n1\n2\n3\n")
        assert sum(block.batch.num_rows for block in find_source(f"{place}#rows=1-3").read(["a"])) == 2
        with pytest.raises(StorageError, match=r"rows\.csv: has only 3 rows, not 10"):
            list(find_source(f"{place}#rows={start}-10").read(["a"]))

    def test_csv_follows_rfc_4180(self, tmp_path: Path) -> None:
        content = b'\xef\xbb\xbfname,note,n\r\n"a, b","line 1\r\nline 2",1\r\n"say ""hi""",,2\r\n'
        frame = read_frame(locate(file(tmp_path, "rfc.csv", content)))
        assert list(frame.columns) == ["name", "note", "n"]
        assert frame["name"].tolist() == ["a, b", 'say "hi"']
        assert frame["note"].tolist()[0] == "line 1\r\nline 2"
        assert frame["note"].isna().tolist() == [False, True]

    @pytest.mark.parametrize(
        ("name", "content", "complaint"),
        [
            ("empty.csv", b"", "empty.csv: the file is empty"),
            ("header.csv", b"a,b\n", "no rows"),
            ("ragged.csv", b"a,b\n1,2\n3,4,canary\n", "row 3 has 3 values, the header has 2"),
            ("latin.csv", "a,b\nM\xfcller,canary\n".encode("latin-1"), "the column 'a' is not UTF-8"),
            ("twice.csv", b"a,a\n1,2\n", "duplicate columns 'a'"),
            ("none.parquet", b"canary, not a parquet", "none.parquet: not a Parquet file"),
            ("none.csv.gz", b"canary, not gzip", "none.csv.gz: not a CSV table"),
            ("data.xlsx", b"canary", r"\.xlsx extension"),
            ("data", b"canary", "no extension"),
        ],
    )
    def test_what_cannot_be_read_is_named_and_never_quoted(
        self, tmp_path: Path, name: str, content: bytes, complaint: str
    ) -> None:
        with pytest.raises(StorageError, match=complaint) as caught:
            read_frame(locate(file(tmp_path, name, content)))
        assert "canary" not in str(caught.value)

    @pytest.mark.parametrize("suffix", [".csv", ".parquet"])
    def test_rows_are_chosen_by_columns_that_are_not_read(self, tmp_path: Path, suffix: str) -> None:
        rows = pd.DataFrame({"a": [1, 2, 3, 4], "quarter": ["1", "2", "2", "1"], "p": [0.5, None, 0.7, 0.2]})
        place = tmp_path / f"rows{suffix}"
        rows.to_csv(place, index=False) if suffix == ".csv" else rows.to_parquet(place)
        where = RowFilter.parse([["quarter", "==", "2"], ["p", ">=", 0.5]])
        assert read_frame(locate(place), columns=["a"], where=where).to_dict("list") == {"a": [3]}
        nothing = RowFilter.parse(["p", ">", 1])
        with pytest.raises(StorageError, match=f"rows{suffix}: no row is wanted by the filter"):
            read_frame(locate(place), columns=["a"], where=nothing)

    def test_missing_files_folders_and_columns_are_named(self, tmp_path: Path) -> None:
        with pytest.raises(StorageError, match="no such file"):
            read_frame(locate(tmp_path / "none.csv"))
        (tmp_path / "folder.csv").mkdir()
        with pytest.raises(StorageError, match="not a file"):
            read_frame(locate(tmp_path / "folder.csv"))
        with pytest.raises(StorageError, match="no column 'z'; its columns: 'a'"):
            read_frame(locate(file(tmp_path, "a.csv", b"a\n1\n")), columns=["z"])
        with pytest.raises(StorageError, match="gs://"):
            locate("gs://bucket/key.csv")
        with pytest.raises(StorageError, match="empty path"):
            locate("")

    def test_the_fingerprint_is_of_the_bytes(self, tmp_path: Path) -> None:
        one, same, other = (
            locate(file(tmp_path, name, content))
            for name, content in (("1", b"x" * 3_000_000), ("2", b"x" * 3_000_000), ("3", b"y"))
        )
        assert one.fingerprint() == same.fingerprint() != other.fingerprint()


class TestWriting:
    @pytest.mark.parametrize("extension", ["parquet", "csv", "jsonl"])
    def test_values_survive_every_format(self, tmp_path: Path, extension: str) -> None:
        path = tmp_path / "new" / f"out.{extension}"
        with table_writer(locate(path), TABLE.schema) as writer:
            for batch in TABLE.to_batches(max_chunksize=1):
                writer.write(batch)
        assert writer.rows == 2

        if extension == "parquet":
            assert pq.read_table(path).equals(TABLE)
        elif extension == "csv":
            frame = pd.read_csv(path, dtype={"id": str})
            assert frame["id"].tolist() == TABLE["id"].to_pylist()
            assert frame["count"].tolist() == [2**60, 3]
        else:
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            assert lines == TABLE.to_pylist()

    @pytest.mark.parametrize("extension", ["parquet", "csv", "jsonl"])
    def test_a_failure_leaves_the_old_file_and_nothing_else(self, tmp_path: Path, extension: str) -> None:
        path = tmp_path / f"out.{extension}"
        path.write_text("old")

        def fail_half_way() -> None:
            with table_writer(locate(path), TABLE.schema) as writer:
                writer.write(TABLE.to_batches()[0])
                raise RuntimeError("half-way")

        with pytest.raises(RuntimeError, match="half-way"):
            fail_half_way()
        assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
        assert path.read_text() == "old"

    def test_a_reader_never_sees_a_half_written_file(self, tmp_path: Path) -> None:
        path = tmp_path / "out.txt"
        with published(locate(path)) as stream:
            stream.write(b"all of it")
            stream.flush()
            assert not path.exists()
        assert path.read_bytes() == b"all of it"

    def test_a_place_that_cannot_be_written_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x")
        with pytest.raises(StorageError, match="below"):
            publish_bytes(locate(tmp_path / "file" / "below.txt"), b"x")
        with (
            pytest.raises(StorageError, match=r"\.xlsx extension"),
            table_writer(locate(tmp_path / "out.xlsx"), TABLE.schema),
        ):
            pass

    @pytest.mark.parametrize("extension", ["csv", "jsonl"])
    def test_what_is_not_finite_is_null_in_json(self, tmp_path: Path, extension: str) -> None:
        path = tmp_path / f"out.{extension}"
        rows = pa.table({"values": [[float("nan"), float("inf"), -float("inf"), 1.5]]})
        with table_writer(locate(path), rows.schema) as writer:
            writer.write(rows.to_batches()[0])

        def refuse(name: str) -> None:
            raise AssertionError(f"{name} is no JSON")

        text = pd.read_csv(path)["values"][0] if extension == "csv" else path.read_text()
        told = json.loads(text, parse_constant=refuse)
        assert (told if extension == "csv" else told["values"]) == [None, None, None, 1.5]
