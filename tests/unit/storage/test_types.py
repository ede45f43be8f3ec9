"""A column has one type through all files of an input, and no value is lost for it."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_provider_cleartrace.operators.partitions import partitions
from airflow_provider_cleartrace.operators.rows.reader import Batch, RowPlan, RowReader
from airflow_provider_cleartrace.operators.rows.unseen import UNSEEN, UnseenValues
from airflow_provider_cleartrace.storage.errors import StorageError
from airflow_provider_cleartrace.storage.filters import RowFilter
from airflow_provider_cleartrace.storage.kinds import Kind
from airflow_provider_cleartrace.storage.sources import find_source

DAY = dt.date(2026, 11, 21)


def folder(tmp_path: Path, *columns: pa.Array) -> str:
    for number, column in enumerate(columns):
        pq.write_table(pa.table({"id": column}), tmp_path / f"{number}.parquet")
    return str(tmp_path)


def read(data: str, kind: Kind, where: RowFilter | None = None) -> list[Any]:
    source = find_source(data)
    source.check({"id": kind})
    plan = RowPlan(
        ids=(),
        carried=("id",),
        features=("id",),
        kinds={"id": kind},
        where=where,
        batch_rows=10,
        part_rows=10,
        on_bad_rows="fail",
    )
    items = RowReader(source, plan, lambda _: False)
    batches = [item.rows for item in items if isinstance(item, Batch) and item.rows is not None]
    return [value for batch in batches for value in batch.column("id").to_pylist()]


@pytest.mark.parametrize(
    ("columns", "values"),
    [
        ((pa.array([1]), pa.array(["0005"])), ["1", "0005"]),
        ((pa.array(["0005"]), pa.array([1])), ["0005", "1"]),
        ((pa.nulls(1), pa.array(["a"])), [None, "a"]),
        ((pa.array([1], pa.int8()), pa.array([2**60])), [1, 2**60]),
        ((pa.array([1]), pa.array([1.5])), [1.0, 1.5]),
        (
            (pa.array([DAY]), pa.array([dt.datetime(2026, 11, 22)])),
            [dt.datetime(2026, 11, d) for d in (21, 22)],
        ),
        ((pa.array(["a"], pa.string_view()), pa.array(["b"], pa.large_string())), ["a", "b"]),
        ((pa.array(["a"]).dictionary_encode(), pa.array([2])), ["a", "2"]),
    ],
)
def test_files_of_other_types_keep_every_value(tmp_path: Path, columns: Any, values: list[Any]) -> None:
    assert read(folder(tmp_path, *columns), "any") == values


def test_types_that_nothing_holds_are_refused_by_the_headers(tmp_path: Path) -> None:
    place = folder(tmp_path, pa.array([True]), pa.array([1.5]))
    with pytest.raises(StorageError, match="the column 'id' has another type in each file: bool, double"):
        find_source(place).check({"id": "any"})
    find_source(place).check({"id": "number"})


def test_an_integer_that_no_double_holds_is_the_nearest_one(tmp_path: Path) -> None:
    assert read(folder(tmp_path, pa.array([2**53 + 1])), "number") == [2.0**53]


def test_a_date_is_never_a_number(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="the column 'id' is int64, where a date is needed"):
        read(folder(tmp_path, pa.array([1_800_000_000])), "date")


@pytest.mark.parametrize("value", ["2026-11-21", True, {"a": 1}])
def test_a_filter_of_another_type_says_so_and_blames_no_file(tmp_path: Path, value: Any) -> None:
    place = folder(tmp_path, pa.array([1, 2]))
    with pytest.raises(StorageError, match="the filter compares with values of another type: 'id' is int64"):
        read(place, "any", RowFilter.parse([["id", ">", value]]))
    with pytest.raises(StorageError, match="a filter is a list of conditions"):
        RowFilter.parse([1])


def test_a_number_is_not_the_level_that_it_looks_like() -> None:
    unseen = UnseenValues({"city": ["007", "12"]}, ())
    assert unseen.count(pa.record_batch({"city": pa.array([7, 12, None])}))[UNSEEN] == 1


def test_a_header_without_a_line_break_is_a_file_without_rows(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("id,age")
    with pytest.raises(StorageError, match="there are no rows"):
        read(str(tmp_path / "d.csv"), "any")


def test_a_range_is_cut_into_ranges_of_the_whole(tmp_path: Path) -> None:
    place = folder(tmp_path, pa.array(range(10)))
    assert partitions(f"{place}#rows=2-20", rows=5) == [f"{place}#rows=2-7", f"{place}#rows=7-10"]
