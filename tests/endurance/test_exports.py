"""Exports that are killed again and again, and one of 5,000 features by 10,000 rows."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_provider_cleartrace.storage.errors import StorageError
from airflow_provider_cleartrace.storage.locations import locate
from airflow_provider_cleartrace.storage.sources import find_source
from tests.integration.killed_task import killed_after
from tests.integration.row_server import row_server
from tests.integration.test_rows import FEATURES, FRAME, PREDICTED, connect, explain, predict
from tests.integration.test_s3 import BUCKET, endpoint, s3

__all__ = ["endpoint", "s3"]

KILLS = 20
"""Of each kind of output: the four of them take three minutes."""


def published(where: str) -> list[float] | None:
    """The predictions that whoever comes next reads there; None where it is refused."""
    try:
        blocks = list(find_source(where).read(["prediction"]))
    except StorageError:
        return None
    return [value for block in blocks for value in block.batch.column(0).to_pylist()]


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("s3")
@pytest.mark.parametrize(
    "output", ["o.parquet", "o/", f"s3://{BUCKET}/out/o.parquet", f"s3://{BUCKET}/out/o/"]
)
def test_kills_at_random_moments_leave_the_old_output_or_the_new_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, output: str
) -> None:
    data = str(tmp_path / "rows.parquet")
    on_s3 = output.startswith("s3://")
    where = output if on_s3 else f"{tmp_path}/out/{output}"
    # Objects are replaced one by one: in between there is no output, and whoever looks is told so.
    whole = [PREDICTED[:100], PREDICTED, *([None] if on_s3 and output.endswith("/") else [])]
    FRAME.to_parquet(data)
    draw = random.Random()
    killed = 0
    with row_server(FEATURES) as served:
        connect(monkeypatch, served)
        predict(f"{data}#rows=0-100", where)
        longest = killed_after(None, served, predict, data, where, batch_rows=39, part_rows=139)
        assert longest is not None
        for batch_rows in range(40, 40 + KILLS):  # each another output, so that nothing is reused
            options = {"batch_rows": batch_rows, "part_rows": 100 + batch_rows}
            predict(f"{data}#rows=0-100", where)
            moment = draw.uniform(0, longest)
            killed += killed_after(moment, served, predict, data, where, **options) is None
            assert published(where) in whole, f"killed after {moment} of {longest} s"
            if draw.random() < 0.3:
                predict(data, where, **options)
                assert published(where) == PREDICTED
                place = locate(where)
                assert place.sibling(f".{place.name}.tmp").names() == []
    assert killed > KILLS / 4, "tasks were killed, and did not end by themselves"


@pytest.mark.timeout(1800)
def test_five_thousand_features_by_ten_thousand_rows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names = [f"f{index}" for index in range(5000)]
    values = np.random.default_rng(0).integers(0, 1000, (1000, 5000)).astype(float)
    block = pa.table({name: values[:, index] for index, name in enumerate(names)})
    with pq.ParquetWriter(tmp_path / "d.parquet", block.schema) as writer:
        for _ in range(10):
            writer.write_table(block)
    with row_server({name: {"dtype": "number"} for name in names}) as served:
        connect(monkeypatch, served)
        told = explain(str(tmp_path / "d.parquet"), tmp_path / "o.parquet", batch_rows=None)
    assert (told["rows_written"], told["n_columns"]) == (10_000, 10_002)
    written = pq.ParquetFile(tmp_path / "o.parquet")
    drivers = written.read(columns=[f"driver_{name}" for name in names[::500]]).to_pandas().to_numpy()
    assert np.array_equal(drivers, np.tile(values[:, ::500], (10, 1)))
    assert json.loads((tmp_path / ".o.parquet.manifest.json").read_text())["counts"]["rows_out"] == 10_000
