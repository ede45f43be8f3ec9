"""Files become tables: types, gaps and errors of CSV, Parquet and pickled frames."""

from __future__ import annotations

import datetime
import io
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_provider_cleartrace.local.datasets import SizeLimits
from airflow_provider_cleartrace.local.engine.errors import InputError
from airflow_provider_cleartrace.local.engine.table import Table
from airflow_provider_cleartrace.local.files import (
    column_names,
    load_table,
    read_file,
    save_table,
    table_from_arrow,
)

LIMITS = SizeLimits(rows=1000, columns=10)


def read_csv(folder: Path, content: str | bytes) -> Table:
    path = folder / "data.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_file(path, "csv", LIMITS)


class TestCsv:
    def test_types_gaps_and_quotes_follow_rfc_4180(self, tmp_path: Path) -> None:
        table = read_csv(
            tmp_path,
            'a,b,c,d,e\r\n1,"x, ""y""",true,2024-01-31,\r\n'
            ',"two\r\nlines",false,,1.5\r\n2.5,,,2024-02-29,NA\r\n',
        )
        assert table.to_json() == {
            "a": [1.0, None, 2.5],
            "b": ['x, "y"', "two\r\nlines", None],
            "c": [True, False, None],
            "d": ["2024-01-31", None, "2024-02-29"],
            "e": [None, 1.5, None],
        }

    def test_a_column_is_typed_by_all_its_rows(self, tmp_path: Path) -> None:
        late = "a\n" + "1\n" * 900 + "text\n"
        assert read_csv(tmp_path, late)["a"][-1] == "text"

    def test_a_byte_order_mark_is_no_part_of_a_name(self, tmp_path: Path) -> None:
        assert read_csv(tmp_path, b"\xef\xbb\xbfa,b\n1,2\n").names == ("a", "b")

    @pytest.mark.parametrize(
        ("content", "named"),
        [
            ("a,b\n1,2\n3\n", "row 3 .* 1 values"),
            ("a,b\n1,2\n1,2\n3,4,5\n", "row 4 .* 3 values"),
            ("", "empty"),
            ("a,b\n", "no rows"),
            ("a,a\n1,2\n", "'a'"),
            ("a,\n1,2\n", "column 2"),
            (b"a\n\xff\xfe\n", "UTF-8"),
            (",".join("abcdefghijk") + "\n" + ",".join("1" * 11) + "\n", "11 columns"),
            ("a\n" + "1\n" * 1001, "1001 rows"),
        ],
    )
    def test_errors_name_the_row_or_column(self, tmp_path: Path, content: str | bytes, named: str) -> None:
        with pytest.raises(InputError, match=named):
            read_csv(tmp_path, content)

    def test_no_error_holds_data(self, tmp_path: Path) -> None:
        with pytest.raises(InputError) as caught:
            read_csv(tmp_path, "a,b\nsecret-one,2\nsecret-two\n")
        assert "secret" not in str(caught.value)
        assert caught.value.__cause__ is None

    def test_the_header_is_read_alone(self) -> None:
        assert column_names(io.BytesIO(b"a,b\r\n" + b"1,2\r\n" * 10_000 + b"\xff"), "csv") == ["a", "b"]


class TestParquet:
    def test_every_sensible_type_has_a_form(self) -> None:
        moment = datetime.datetime(2024, 1, 31, 12, 30, tzinfo=datetime.UTC)
        arrow = pa.table(
            {
                "int": pa.array([1, None], pa.int64()),
                "decimal": pa.array([Decimal("1.50"), None]),
                "null": pa.nulls(2),
                "bool": pa.array([True, None]),
                "dictionary": pa.array(["x", None]).dictionary_encode(),
                "large": pa.array(["x", None], pa.large_string()),
                "date": pa.array([datetime.date(2024, 1, 31), None]),
                "moment": pa.array([moment, None], pa.timestamp("us", tz="Europe/Oslo")),
            }
        )
        table = table_from_arrow(arrow)
        assert {name: values[0] for name, values in table.to_json().items()} == {
            "int": 1.0,
            "decimal": 1.5,
            "null": None,
            "bool": True,
            "dictionary": "x",
            "large": "x",
            "date": "2024-01-31",
            "moment": "2024-01-31T12:30:00.000000",
        }
        assert all(values[1] is None for values in table.to_json().values())

    def test_a_nested_column_is_named(self) -> None:
        with pytest.raises(InputError, match="'lists' has the type list"):
            table_from_arrow(pa.table({"lists": [[1], [2]]}))

    def test_a_pandas_index_is_no_feature(self, tmp_path: Path) -> None:
        path = tmp_path / "frame.parquet"
        pd.DataFrame({"a": [1, 2]}, index=[5, 9]).to_parquet(path)
        assert read_file(path, "parquet", LIMITS).names == ("a",)
        with path.open("rb") as file:
            assert column_names(file, "parquet") == ["a"]

    def test_a_table_survives_being_stored(self, tmp_path: Path) -> None:
        table = Table.from_columns(
            {"n": [1, None], "t": ["x", None], "b": [True, None], "d": ["2024-01-31", None]}
        )
        save_table(table, tmp_path / "t.parquet")
        assert load_table(tmp_path / "t.parquet").to_json() == table.to_json()

    def test_damage_is_an_input_error(self, tmp_path: Path) -> None:
        path = tmp_path / "t.parquet"
        pq.write_table(pa.table({"a": list(range(5000))}), path)
        content = bytearray(path.read_bytes())
        content[10:400] = b"\0" * 390
        path.write_bytes(content)
        with pytest.raises(InputError, match="Parquet"):
            read_file(path, "parquet", SizeLimits(10_000, 10))


class TestPickle:
    def test_a_frame_is_read_where_it_is_allowed(self, tmp_path: Path) -> None:
        path = tmp_path / "frame.pkl"
        pd.DataFrame({"a": [1, 2], "c": pd.Categorical(["x", "y"])}).to_pickle(path)
        assert read_file(path, "pkl", LIMITS).to_json() == {"a": [1.0, 2.0], "c": ["x", "y"]}

    @pytest.mark.parametrize("content", [b"", b"no pickle"])
    def test_anything_else_is_an_input_error(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "frame.pkl"
        path.write_bytes(content)
        with pytest.raises(InputError, match="pickle"):
            read_file(path, "pkl", LIMITS)
