"""Exports that are killed again and again, and one of 5,000 features by 10,000 rows."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.integration.killed_task import killed_at
from tests.integration.row_server import row_server
from tests.integration.test_rows import FEATURES, FRAME, PREDICTED, ROWS, connect, explain, predict, read


@pytest.mark.timeout(900)
@pytest.mark.parametrize("output", ["o.parquet", "o/"])
def test_kills_at_random_moments_leave_the_old_output_or_the_new_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, output: str
) -> None:
    data, where = str(tmp_path / "rows.parquet"), f"{tmp_path}/out/{output}"
    FRAME.to_parquet(data)
    draw = random.Random()
    with row_server(FEATURES) as served:
        connect(monkeypatch, served)
        predict(f"{data}#rows=0-100", where)
        for batch_rows in range(40, 60):  # each another output, so that nothing is reused
            options = {"batch_rows": batch_rows, "part_rows": 100 + batch_rows}
            killed_at(draw.randrange(1, 9), served, predict, data, where, **options)
            assert len(read(tmp_path / "out" / output.rstrip("/"))) in {100, ROWS}
            if draw.random() < 0.3:
                predict(data, where, **options)
                assert read(tmp_path / "out" / output.rstrip("/"))["prediction"].tolist() == PREDICTED


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
