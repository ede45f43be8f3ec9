"""Stored models: they predict the same, hold nothing that runs, and say what is wrong with a damaged one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from airflow_provider_cleartrace.local.engine import Model, ModelFileError, explain
from tests.unit.engine.engine_tables import Labelled

MODELS = [(base, task) for base in ("xrfm", "xgboost") for task in ("regression", "binary", "multiclass")]
Models = dict[tuple[str, str], Model]


@pytest.mark.parametrize("key", MODELS)
def test_a_stored_model_is_the_same_model(
    models: Models, unseen: Labelled, tmp_path: Path, key: tuple[str, str]
) -> None:
    model = models[key]
    model.save(tmp_path / "new" / "model")
    loaded = Model.load(tmp_path / "new" / "model")
    np.testing.assert_array_equal(loaded.predict(unseen.table), model.predict(unseen.table))
    one, other = explain(loaded, unseen.table), explain(model, unseen.table)
    np.testing.assert_array_equal(one.local_drivers, other.local_drivers)
    np.testing.assert_array_equal(loaded.global_drivers, model.global_drivers)
    np.testing.assert_array_equal(loaded.reference, model.reference)
    assert loaded.reference_table.to_json() == model.reference_table.to_json()
    assert loaded.schema == model.schema
    for field in ("metrics", "trials", "notes", "config", "fidelity", "calibration"):
        assert getattr(loaded, field) == getattr(model, field)


def test_no_file_of_a_model_is_a_pickle(models: Models, tmp_path: Path) -> None:
    for base in ("xrfm", "xgboost"):
        models[base, "binary"].save(tmp_path / base)
        for file in (tmp_path / base).iterdir():
            if file.suffix == ".json":
                json.loads(file.read_text(encoding="utf-8"))
            else:
                with np.load(file, allow_pickle=False) as arrays:
                    assert all(arrays[name].dtype.kind == "f" for name in arrays.files)


class TestDamage:
    @pytest.fixture
    def stored(self, models: Models, tmp_path: Path) -> Path:
        models["xrfm", "binary"].save(tmp_path)
        return tmp_path

    def test_a_missing_folder_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(ModelFileError, match="nowhere"):
            Model.load(tmp_path / "nowhere")

    @pytest.mark.parametrize("name", ["model.json", "arrays.npz", "kernel.npz", "reference.json"])
    def test_a_missing_or_cut_file_is_an_error_of_its_own(self, stored: Path, name: str) -> None:
        content = (stored / name).read_bytes()
        (stored / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(ModelFileError, match="cannot be read"):
            Model.load(stored)
        (stored / name).unlink()
        with pytest.raises(ModelFileError, match="cannot be read"):
            Model.load(stored)

    def test_another_format_version_is_refused(self, stored: Path) -> None:
        document = json.loads((stored / "model.json").read_text(encoding="utf-8"))
        document["format_version"] = 99
        (stored / "model.json").write_text(json.dumps(document), encoding="utf-8")
        with pytest.raises(ModelFileError, match="format version 99"):
            Model.load(stored)
