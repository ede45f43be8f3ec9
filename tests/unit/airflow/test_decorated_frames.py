"""A DataFrame becomes a file whose bytes say what it holds, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from airflow_provider_cleartrace.api.errors import ValidationError
from airflow_provider_cleartrace.decorators.frames import write_frame

FRAME = pd.DataFrame(
    {
        "amount": [1200.5, None, 80.0],
        "purpose": pd.Categorical(["car", "tv", "car"]),
        "since": pd.to_datetime(["2026-01-01", None, "2026-03-01"]),
        "telephone": ["yes", None, "no"],
        7: [1, 2, 3],
    }
)


def written(frame: pd.DataFrame, path: Path) -> bytes:
    write_frame(frame, path)
    return path.read_bytes()


def test_equal_frames_become_equal_bytes(tmp_path: Path) -> None:
    rebuilt = pd.DataFrame({name: FRAME[name].copy() for name in FRAME.columns})
    rebuilt.index = pd.Index([5, 3, 9], name="of no account")
    rebuilt.attrs["made"] = "by another try"

    assert written(FRAME, tmp_path / "a.parquet") == written(rebuilt, tmp_path / "b.parquet")
    assert written(FRAME[::-1], tmp_path / "c.parquet") != written(FRAME, tmp_path / "d.parquet")


def test_values_are_kept_as_they_are(tmp_path: Path) -> None:
    write_frame(FRAME, tmp_path / "a.parquet")

    read = pd.read_parquet(tmp_path / "a.parquet")
    pd.testing.assert_frame_equal(
        read, FRAME.rename(columns=str), check_dtype=False, check_categorical=False, check_column_type=False
    )


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (FRAME[:0], "no rows"),
        (
            pd.DataFrame({"mixed": [1, "canary"]}),
            "column 'mixed' of the DataFrame holds values of no one type",
        ),
        (pd.DataFrame({"nested": [object(), object()]}), "column 'nested' of the DataFrame"),
        (pd.DataFrame([[1, 2]], columns=["x", "x"]), "more than one column 'x'"),
    ],
)
def test_what_no_file_can_hold_is_refused_by_column_without_its_values(
    frame: Any, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValidationError, match=message) as refused:
        write_frame(frame, tmp_path / "a.parquet")
    assert "canary" not in str(refused.value)
    assert refused.value.__cause__ is None
