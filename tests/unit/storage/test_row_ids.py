"""A repeated identity is found wherever it was, in a few bytes a row."""

from __future__ import annotations

import pyarrow as pa

from airflow_provider_cleartrace.storage.row_ids import SeenIds


def ids(*columns: list[object]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(
        [pa.array(column) for column in columns], names=[f"c{index}" for index in range(len(columns))]
    )


def test_within_a_batch_and_across_batches() -> None:
    seen = SeenIds()
    assert seen.add(ids(["a", "b", "a"])) == [2]
    for start in range(0, 5000, 7):
        assert seen.add(ids([f"n{number}" for number in range(start, start + 7)])) == []
    assert seen.add(ids(["x", "n4999", "b"])) == [1, 2]


def test_all_columns_count_and_a_missing_value_is_one_too() -> None:
    seen = SeenIds()
    assert seen.add(ids(["a", "a", None], [1, 2, 1])) == []
    assert seen.add(ids(["a", None, None], [2, 1, 2])) == [0, 1]


def test_numbers_that_python_hashes_alike_are_told_apart() -> None:
    assert SeenIds().add(ids([-1, -2, 0, 2**61 - 1])) == []


def test_memory_is_eight_bytes_a_row() -> None:
    seen = SeenIds()
    for start in range(0, 100_000, 1000):
        seen.add(ids(list(range(start, start + 1000))))
    assert sum(run.nbytes for run in seen._runs) == 8 * 100_000
    assert len(seen._runs) < 20
