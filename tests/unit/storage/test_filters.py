"""A missing value meets no condition, whatever the operator and the format of the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_provider_cleartrace.operators.rows.reader import ROW, Batch, RowPlan, RowReader, identity_of
from airflow_provider_cleartrace.storage.filters import RowFilter
from airflow_provider_cleartrace.storage.sources import find_source

NAN = float("nan")
TABLE = pa.table({"number": [1.0, None, NAN, 2.0, 3.0], "text": ["a", "b", "c", None, "d"]})


def written(path: Path) -> str:
    if path.suffix == ".csv":
        path.write_text("number,text\n1,a\n,b\nNaN,c\n2,\n3,d\n")
    else:
        pq.write_table(TABLE, path, row_group_size=1 if path.stem == "groups" else None)
    return str(path)


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet", "groups.parquet"])
@pytest.mark.parametrize(
    ("conditions", "rows"),
    [
        (["number", "!=", 1.0], [3, 4]),
        (["number", "not in", [1.0, 2.0]], [4]),
        (["number", "in", [1.0, 3.0]], [0, 4]),
        (["number", "<", 3.0], [0, 3]),
        (["number", ">=", 1.0], [0, 3, 4]),
        (["text", "!=", "a"], [1, 2, 4]),
        (["text", "not in", ["a", "d"]], [1, 2]),
        ([["number", "!=", 1.0], ["text", "!=", "a"]], [4]),
        ([[["number", "not in", [1.0]]], [["text", "==", "b"]]], [1, 3, 4]),
    ],
)
def test_a_missing_value_meets_no_condition(
    tmp_path: Path, name: str, conditions: Any, rows: list[int]
) -> None:
    plan = RowPlan(
        ids=(),
        carried=(),
        features=("number",),
        kinds={"number": "number", "text": "text"},
        where=RowFilter.parse(conditions),
        batch_rows=10,
        part_rows=10,
        on_bad_rows="fail",
    )
    reader = RowReader(find_source(written(tmp_path / name)), plan, lambda _: False)
    batches = [item.rows for item in reader if isinstance(item, Batch) and item.rows is not None]
    assert [row for batch in batches for row in identity_of(plan, batch).column(ROW).to_pylist()] == rows
