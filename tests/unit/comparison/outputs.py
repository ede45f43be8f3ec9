"""Explained outputs in memory, as the tasks that write them shape them, and files of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from airflow_provider_cleartrace.storage.tables import Table

FEATURES = ("age", "income", "debt, total")


@dataclass
class Frame:
    """A table of the tests: a pandas frame, read in small batches. ``reads`` counts how often."""

    frame: pd.DataFrame
    uri: str = "rows.parquet"
    batch_rows: int = 7
    reads: list[list[str]] = field(default_factory=list)

    @property
    def columns(self) -> list[str]:
        return list(self.frame.columns)

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        self.reads.append(list(columns))
        table = pa.Table.from_pandas(self.frame[list(columns)], preserve_index=False)
        yield from table.to_batches(max_chunksize=self.batch_rows)


def explained(
    rows: int, seed: int = 0, *, features: Sequence[str] = FEATURES, shift: float = 0
) -> pd.DataFrame:
    """Rows with predictions, drivers and personas."""
    random = np.random.default_rng(seed)
    columns: dict[str, Any] = {"row": np.arange(rows)}
    columns["prediction"] = 1 / (1 + np.exp(-random.normal(shift, 1, rows)))
    for place, name in enumerate(features):
        columns[f"driver_{name}"] = random.normal(shift, place + 1, rows)
    columns["persona"] = random.choice(
        ["Careful savers", "New borrowers", "Old hands"], rows, p=[0.5, 0.3, 0.2]
    )
    return pd.DataFrame(columns)


def long(wide: pd.DataFrame, features: Sequence[str] = FEATURES) -> pd.DataFrame:
    """The same with an entry for each row and feature."""
    rows = wide.loc[wide.index.repeat(len(features)), ["row", "prediction", "persona"]].reset_index(drop=True)
    drivers = wide[[f"driver_{name}" for name in features]].to_numpy()
    return rows.assign(feature=list(features) * len(wide), driver=drivers.reshape(-1))


def rule(*conditions: tuple[str, str, Any]) -> dict[str, Any]:
    """A rule as an output has it."""
    return {
        "text": " and ".join(f"{feature} {operator} {value}" for feature, operator, value in conditions),
        "conditions": [
            {"feature": feature, "operator": operator, "value": json.dumps(value)}
            for feature, operator, value in conditions
        ],
    }


def written(frame: pd.DataFrame, path: Path) -> Table:
    """A file of it, by its extension."""
    match path.suffix:
        case ".csv":
            frame.to_csv(path, index=False)
        case ".jsonl":
            frame.to_json(path, orient="records", lines=True, double_precision=15)
        case _:
            frame.to_parquet(path)
    return Table(str(path), no_s3)


def no_s3() -> Any:
    raise AssertionError("a local file needs no S3")
