"""What a training body asks for: its options, and its rows as features and a target."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from airflow_provider_cleartrace.api.models import DistillBody, FitBody, TrainingBody
from airflow_provider_cleartrace.local.buckets import placed_file
from airflow_provider_cleartrace.local.datasets import SizeLimits, TrainingData, read_rows, training_data
from airflow_provider_cleartrace.local.engine.errors import InputError
from airflow_provider_cleartrace.local.engine.fit_config import FitConfig
from airflow_provider_cleartrace.local.engine.schema import infer_schema
from airflow_provider_cleartrace.local.engine.target import read_target
from airflow_provider_cleartrace.local.files import read_file


def options(body: TrainingBody) -> FitConfig:
    """Read the training options, which travel as flat extra keys.

    Raises:
        InputError: an unknown key, or a value of the wrong type or range; the message names it.
    """
    return FitConfig.from_mapping(body.model_extra or {})


def check_inline(body: TrainingBody, limits: SizeLimits) -> None:
    """Check rows that came with the body as the job will read them.

    Raises:
        InputError: whatever the caller can mend about rows, target, features and options.
    """
    config = options(body)
    data = _inline(body, limits)
    if isinstance(body, FitBody):
        read_target(data.target_name, data.target, config.task)
    infer_schema(data.features, body.feature_schema)


def check_file(body: TrainingBody, columns: Sequence[str] | None) -> None:
    """Check a body whose rows lie in a file, of which only the columns are known (None: not even these).

    Raises:
        InputError: unknown options, or columns that are not there.
    """
    options(body)
    target = _target(body)
    if target is not None and not isinstance(target, str):
        raise InputError("target: name a column of the uploaded file; a list of values goes with data")
    if columns is None:
        return
    if target is not None and target not in columns:
        raise InputError(
            f"the target {target!r} is not a column of the file; the columns are {list(columns)}"
        )
    unknown = [name for name in body.feature_fields or () if name not in columns]
    if unknown:
        raise InputError(f"feature_fields: unknown columns {unknown}; the columns are {list(columns)}")


def read(body: TrainingBody, folder: Path, limits: SizeLimits) -> TrainingData:
    """Read the rows of a job, from its body or from the data file in its folder.

    Raises:
        InputError: whatever the caller can mend about the rows.
    """
    if body.data is not None:
        return _inline(body, limits)
    placed = placed_file(folder)
    if placed is None:
        raise InputError("the job has neither rows nor a file")
    return training_data(read_file(*placed, limits), _target(body), body.feature_fields)


def _inline(body: TrainingBody, limits: SizeLimits) -> TrainingData:
    rows = body.data or ()
    is_array = bool(rows) and isinstance(rows[0], list)
    # Nothing else could name the columns of an array; of records, feature_fields chooses some.
    names = body.feature_fields if is_array else None
    table = read_rows(rows, names, limits)
    return training_data(table, _target(body), None if is_array else body.feature_fields)


def _target(body: TrainingBody) -> str | list[Any] | None:
    if isinstance(body, FitBody):
        return body.target
    if isinstance(body, DistillBody):
        return body.target if body.target is not None else body.labels
    return None
