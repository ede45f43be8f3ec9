"""The facts of a report are those of the files, whatever their format, layout and parts."""

from __future__ import annotations

import dataclasses
import json
import traceback
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from airflow_provider_cleartrace.reports.errors import ReportError
from airflow_provider_cleartrace.reports.facts import Report
from airflow_provider_cleartrace.reports.reading.calibrated import read_calibrated
from airflow_provider_cleartrace.reports.reading.gathering import Inputs, gather, read_shares
from airflow_provider_cleartrace.reports.reading.predictions import BINS, round_edges
from airflow_provider_cleartrace.reports.reading.scenarios import read_scenarios
from airflow_provider_cleartrace.reports.wording.words import Words
from airflow_provider_cleartrace.storage.errors import StorageError
from airflow_provider_cleartrace.storage.locations import locate
from airflow_provider_cleartrace.storage.manifests import Manifest, manifest_place
from airflow_provider_cleartrace.storage.publishing import publish_bytes
from airflow_provider_cleartrace.storage.s3 import default_s3_client
from airflow_provider_cleartrace.storage.tables import BATCH_LINES, Table
from tests.unit.reports.run_files import (
    FEATURES,
    ROWS,
    calibrated,
    explained,
    known,
    lengthened,
    scenarios,
    whole,
    whole_report,
    written,
)


def about(wide: pd.DataFrame, path: Path) -> Report:
    return gather(known(), Inputs(explanations=written(wide, path), raw_gradient=False))


def manifested(path: str, id_columns: list[str], **asked: Any) -> None:
    """The manifest that a row task leaves beside its file."""
    made_by = {"id_columns": id_columns, "asked": asked}
    publish_bytes(manifest_place(locate(path)), Manifest("f", (), {}, made_by).to_bytes())


def peak_of(read: Callable[[], object]) -> int:
    """The most memory that a reading takes."""
    tracemalloc.start()
    read()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most


class TestNumbers:
    """Each is recomputed from the file by pandas, another way than the report's own."""

    def test_of_the_predictions_are_those_of_the_file(self, tmp_path: Path) -> None:
        wide = explained()
        told = about(wide, tmp_path / "e.parquet").predictions

        assert told is not None
        described = wide["prediction"].describe()
        assert told.rows == ROWS
        assert [
            told.mean,
            told.minimum,
            told.lower_quartile,
            told.median,
            told.upper_quartile,
            told.maximum,
        ] == (
            pytest.approx(
                [described[name] for name in ("mean", "min", "25%", "50%", "75%", "max")], rel=1e-12
            )
        )
        assert told.below == (wide["prediction"] < 0.5).sum()
        cut = pd.cut(wide["prediction"], np.linspace(0, 1, BINS + 1), right=False)
        assert [each.rows for each in told.bins] == cut.value_counts(sort=False).tolist()

    def test_of_the_drivers_are_those_of_the_file(self, tmp_path: Path) -> None:
        wide = explained()
        told = about(wide, tmp_path / "e.parquet").drivers

        assert told is not None
        assert {each.feature: each.raising_share for each in told.listed} == {
            name: (wide[f"driver_{name}"] > 0).mean() for name in FEATURES
        }

    def test_of_reasons_count_rows_and_first_places(self, tmp_path: Path) -> None:
        wide = explained()
        told = about(wide, tmp_path / "e.parquet").reasons

        assert told is not None
        codes = wide[["reason_1_code", "reason_2_code"]]
        assert {each.code: (each.rows, each.first) for each in told.listed} == {
            code: ((codes == code).any(axis=1).sum(), (codes["reason_1_code"] == code).sum())
            for code in ("R1", "R2", "R3")
        }
        assert told.rows == ROWS

    def test_of_chosen_rows_are_the_highest_median_and_lowest(self, tmp_path: Path) -> None:
        wide = explained()
        rows = about(wide, tmp_path / "e.parquet").rows

        assert [row.why for row in rows] == ["highest", "median", "lowest"]
        ordered = wide.sort_values("prediction", ignore_index=True)
        assert [row.identity for row in rows] == [
            ordered["id"][place] for place in (ROWS - 1, (ROWS - 1) // 2, 0)
        ]
        own = wide.set_index("id")
        for row in rows:
            assert row.prediction == own["prediction"][row.identity]
            assert {each.feature: each.driver for each in row.drivers} == {
                name: own[f"driver_{name}"][row.identity] for name in FEATURES
            }

    def test_of_the_weaker_drivers_are_their_sum_of_sizes(self, tmp_path: Path) -> None:
        features = [f"f{number}" for number in range(12)]
        wide = explained(features=features)
        path = written(wide, tmp_path / "e.parquet")
        row = gather(known(features), Inputs(explanations=path, raw_gradient=False)).rows[0]

        sizes = wide.set_index("id").loc[row.identity, [f"driver_{name}" for name in features]].abs()
        assert row.n_rest == 4
        assert row.rest == pytest.approx(sizes.astype(float).nsmallest(4).sum())

    def test_of_scenarios_count_rows_not_lines(self, tmp_path: Path) -> None:
        told = whole_report(tmp_path).scenarios

        assert told is not None
        assert (told.rows, told.solved, told.already_there, told.unsolved) == (4, 2, 1, 1)
        assert (told.needed, told.solved_share, told.mean_edits) == (3, 2 / 3, 1.0)
        assert [(row.identity, row.before, row.after, row.found) for row in told.shown] == [
            ("c0", 0.25, 0.75, 2),
            ("c1", 0.4375, 0.5625, 1),
        ]
        assert told.shown[0].edits[0].model_dump() == {"feature": "income", "before": "1", "after": "high"}

    def test_of_scenarios_that_nobody_needed_are_none(self, tmp_path: Path) -> None:
        (tmp_path / "none.jsonl").write_text("")
        told = gather(known(), Inputs(scenarios=str(tmp_path / "none.jsonl"))).scenarios
        assert told is not None
        assert (told.rows, told.solved, told.shown) == (0, 0, ())

    def test_of_personas_are_counted_in_the_rows(self, tmp_path: Path) -> None:
        told = whole_report(tmp_path).segments

        assert told is not None
        assert [(each.name, each.rows, each.share) for each in told.personas] == [
            ("Old", 3, 0.75),
            ("Young", 1, 0.25),
        ]

    def test_of_intervals_leave_open_ones_out_of_the_width(self, tmp_path: Path) -> None:
        told = whole_report(tmp_path).calibrated

        assert told is not None
        assert (told.rows, told.mean_width, told.coverage) == (4, pytest.approx(0.25), 0.875)
        assert [row.high is None for row in told.shown] == [True, False, False, False]

    def test_of_classes_are_of_the_most_probable(self, tmp_path: Path) -> None:
        random = np.random.default_rng(1).dirichlet([2, 1, 1], 300)
        frame = pd.DataFrame({"row": range(300)})
        frame[["probability_a", "probability_b", "probability_c"]] = random
        path = written(frame, tmp_path / "p.parquet")
        told = gather(known(schema={"task": "multiclass"}), Inputs(predictions=path)).predictions

        assert told is not None
        assert [each.rows for each in told.classes] == np.bincount(random.argmax(axis=1)).tolist()
        assert [each.mean_probability for each in told.classes] == pytest.approx(random.mean(axis=0).tolist())
        assert told.mean == pytest.approx(random.max(axis=1).mean())
        assert told.below is None

    def test_of_a_quantity_have_round_bins_and_no_boundary(self, tmp_path: Path) -> None:
        frame = pd.DataFrame({"row": range(100), "prediction": np.linspace(-12.5, 987.5, 100)})
        path = written(frame, tmp_path / "p.csv")
        told = gather(known(schema={"task": "regression"}), Inputs(predictions=path)).predictions

        assert told is not None
        assert (told.scale, told.boundary) == ("value", None)
        assert sum(each.rows for each in told.bins) == 100
        assert {round(each.high - each.low, 9) for each in told.bins} == {100.0}

    @pytest.mark.parametrize(("low", "high"), [(0, 1e-9), (-3.7, 12345.6), (99.9, 100.1), (-1e6, -1)])
    def test_of_bins_are_few_and_hold_everything(self, low: float, high: float) -> None:
        edges = round_edges(low, high)
        assert edges[0] <= low
        assert edges[-1] >= high
        assert len(edges) <= BINS + 1

    def test_that_are_all_the_same_have_one_bin(self, tmp_path: Path) -> None:
        frame = pd.DataFrame({"row": range(5), "prediction": 7.0})
        path = written(frame, tmp_path / "p.parquet")
        told = gather(known(schema={"task": "regression"}), Inputs(predictions=path)).predictions
        assert told is not None
        assert [each.rows for each in told.bins] == [5]


class TestFiles:
    @pytest.mark.parametrize("extension", ["csv", "jsonl"])
    def test_of_another_format_tell_the_same(self, tmp_path: Path, extension: str) -> None:
        wide = explained()
        first = about(wide, tmp_path / "e.parquet")
        other = about(wide, tmp_path / f"e.{extension}")

        assert other.rows == first.rows
        assert (other.reasons, other.drivers) == (first.reasons, first.drivers)
        assert other.predictions == first.predictions

    @pytest.mark.parametrize("extension", ["parquet", "csv", "jsonl"])
    def test_in_the_long_layout_tell_the_same(self, tmp_path: Path, extension: str) -> None:
        wide = explained().filter(regex="^(?!reason)")
        first = about(wide, tmp_path / "e.parquet")
        long = about(lengthened(wide), tmp_path / f"long.{extension}")

        assert (long.rows, long.drivers, long.predictions) == (first.rows, first.drivers, first.predictions)

    @pytest.mark.parametrize("extension", ["parquet", "jsonl"])
    def test_in_parts_tell_the_same(self, tmp_path: Path, extension: str) -> None:
        wide = explained()
        first = about(wide, tmp_path / "e.parquet")
        for number, start in enumerate(range(0, ROWS, 200)):
            written(wide[start : start + 200], tmp_path / "parts" / f"part-{number}.{extension}")
        parts = gather(known(), Inputs(explanations=f"{tmp_path}/parts/", raw_gradient=False))

        assert (parts.rows, parts.drivers, parts.reasons) == (first.rows, first.drivers, first.reasons)
        assert parts.predictions == first.predictions

    def test_of_predictions_may_be_of_more_rows_than_the_explained(self, tmp_path: Path) -> None:
        wide = explained()
        path = written(wide[["id", "prediction"]], tmp_path / "p.parquet")
        few = written(wide[:50], tmp_path / "e.parquet")
        told = gather(known(), Inputs(predictions=path, explanations=few))

        assert told.predictions is not None
        assert told.predictions.rows == ROWS
        assert {row.identity for row in told.rows} <= set(wide["id"][:50])

    def test_of_drivers_are_those_of_an_interpret_task(self, tmp_path: Path) -> None:
        frame = pd.DataFrame({"feature": ["b", "a"], "share": [0.75, 0.25]})
        assert read_shares(written(frame, tmp_path / "d.csv")) == [("b", 0.75), ("a", 0.25)]
        with pytest.raises(ReportError, match="the column 'share' has missing or infinite values"):
            read_shares(written(frame.assign(share=np.nan), tmp_path / "n.csv"))

    def test_are_named_with_what_identifies_their_content(self, tmp_path: Path) -> None:
        told = whole_report(tmp_path)
        assert [source.role for source in told.sources] == [
            "data",
            "explanations",
            "scenarios",
            "segments",
            "comparison",
            "calibrated",
        ]
        assert all((source.fingerprint or "").startswith("sha256:") for source in told.sources)

    def test_say_in_their_manifests_what_names_a_row_and_what_was_asked(self, tmp_path: Path) -> None:
        wide = explained().rename(columns={"id": "loan"})
        wide.insert(0, "bank", ["north", "south"] * (ROWS // 2))
        wide.insert(2, "persona", "a column of the data that was carried along")
        manifested(written(wide, tmp_path / "e.csv"), ["bank", "loan"], raw_gradient=False)
        data = wide[["bank", "loan"]].assign(age=range(ROWS))
        inputs = Inputs(explanations=f"{tmp_path}/e.csv", data=written(data, tmp_path / "d.csv"))
        told = gather(known(), dataclasses.replace(inputs, rows=["south / c7"]))

        (row,) = told.rows
        assert (row.identity, row.persona) == ("south / c7", None)
        assert {each.feature: each.value for each in row.drivers}["age"] == "7"

    def test_of_reasons_are_counted_in_the_long_layout_as_well(self, tmp_path: Path) -> None:
        wide = explained()
        reasons = [name for name in wide.columns if name.startswith("reason")]
        long = lengthened(wide).merge(wide[["id", *reasons]], on="id", sort=False)
        assert about(long, tmp_path / "long.parquet").reasons == about(wide, tmp_path / "e.parquet").reasons

    def test_of_scenarios_that_are_not_shown_are_not_held(self, tmp_path: Path) -> None:
        line = json.loads(Path(scenarios(tmp_path / "few.jsonl")).read_text().splitlines()[0])

        def peak(rows: int) -> int:
            path = tmp_path / f"{rows}.jsonl"
            path.write_text("".join(json.dumps(line | {"id": f"c{row}"}) + "\n" for row in range(rows)))
            return peak_of(lambda: read_scenarios(Table(str(path), default_s3_client), []))

        peak(10)  # what is imported stays
        assert peak(3 * BATCH_LINES) - peak(2 * BATCH_LINES) < 64 * BATCH_LINES

    def test_of_calibrated_rows_that_are_not_shown_are_not_held(self, tmp_path: Path) -> None:
        def peak(rows: int) -> int:
            folder = calibrated(tmp_path / str(rows), rows)
            return peak_of(lambda: read_calibrated(locate(folder)))

        peak(10)
        assert peak(2_000) - peak(500) < 64 * 1_500


class TestRowsAskedFor:
    def test_are_shown_in_the_order_asked_with_their_values(self, tmp_path: Path) -> None:
        told = whole_report(tmp_path, rows=["c8", "c3"])

        assert [(row.identity, row.why) for row in told.rows] == [("c8", "asked"), ("c3", "asked")]
        assert {each.value for each in told.rows[0].drivers} == {"1.0"}
        assert {each.value for each in told.rows[1].drivers} == {"0.375"}

    def test_that_are_not_there_are_named(self, tmp_path: Path) -> None:
        with pytest.raises(ReportError, match=r"no row 'c9999'; rows are named by id"):
            whole_report(tmp_path, rows=["c9999"])

    def test_numbered_rows_find_their_values_by_position(self, tmp_path: Path) -> None:
        wide = explained().rename(columns={"id": "row"}).assign(row=range(ROWS))
        data = written(pd.DataFrame({"age": range(1000, 1000 + ROWS)}), tmp_path / "d.csv")
        path = written(wide, tmp_path / "e.parquet")
        (row,) = gather(known(), Inputs(explanations=path, data=data, rows=["7"], raw_gradient=False)).rows
        assert {each.feature: each.value for each in row.drivers}["age"] == "1007"


def test_gradients_per_unit_are_not_ranked_against_each_other(tmp_path: Path) -> None:
    path = written(explained(), tmp_path / "e.parquet")
    told = gather(known(), Inputs(explanations=path))

    assert [row.drivers for row in told.rows] == [(), (), ()]
    assert "Explain with raw_gradient=False" in Words("business", told).rows_lead()


class TestRefused:
    def test_explanations_of_another_model(self, tmp_path: Path) -> None:
        with pytest.raises(ReportError, match="no driver of the feature 'plan'"):
            about(explained().drop(columns="driver_plan"), tmp_path / "e.parquet")

    def test_predictions_where_explanations_are_needed(self, tmp_path: Path) -> None:
        with pytest.raises(ReportError, match="no drivers"):
            about(explained()[["id", "prediction"]], tmp_path / "e.parquet")

    def test_a_table_without_predictions(self, tmp_path: Path) -> None:
        with pytest.raises(StorageError, match="no column 'prediction'"):
            about(explained().drop(columns="prediction"), tmp_path / "e.parquet")

    def test_predictions_that_are_no_numbers_by_column_alone(self, tmp_path: Path) -> None:
        with pytest.raises(StorageError, match=r"e.csv: column 'prediction' is not all numbers") as caught:
            about(explained().assign(prediction="secret"), tmp_path / "e.csv")
        assert "secret" not in str(caught.value)

    def test_json_lines_that_are_none_by_number(self, tmp_path: Path) -> None:
        (tmp_path / "e.jsonl").write_text('{"id": 1, "prediction": 0.5}\nnonsense\n')
        with pytest.raises(StorageError, match="line 2 is no JSON object"):
            gather(known(), Inputs(predictions=str(tmp_path / "e.jsonl")))

    def test_other_files_as_segments_scenarios_and_calibrated(self, tmp_path: Path) -> None:
        inputs = whole(tmp_path)
        (tmp_path / "x.json").write_text("{}")
        for name, wrong, message in (
            ("segments", str(tmp_path / "x.json"), "no JSON of a segmentation"),
            ("scenarios", inputs.explanations, "not an output of a Scenario task"),
            ("calibrated", str(tmp_path), "not the folder of a CalibratedExplain task"),
        ):
            with pytest.raises(ReportError, match=message):
                gather(known(), dataclasses.replace(inputs, **{name: wrong}))


def test_a_calibrated_folder_that_is_not_finished_is_refused(tmp_path: Path) -> None:
    folder = whole(tmp_path).calibrated or ""
    (Path(folder) / "_SUCCESS").unlink()
    with pytest.raises(ReportError, match="no _SUCCESS: it is being replaced, or its task failed"):
        gather(known(), Inputs(calibrated=folder))


def test_a_damaged_row_of_calibrated_rules_is_not_quoted(tmp_path: Path) -> None:
    folder = whole(tmp_path).calibrated or ""
    place = Path(folder) / "payloads.jsonl"
    place.write_text(place.read_text().replace('"age <= 30"', '{"secret": 1}'))
    with pytest.raises(ReportError, match="a line is no calibrated explanation") as caught:
        gather(known(), Inputs(calibrated=folder))
    assert "secret" not in "".join(traceback.format_exception(caught.value))


def test_the_json_of_a_report_reads_as_the_same_report(tmp_path: Path) -> None:
    told = whole_report(tmp_path)
    assert Report.from_bytes(told.to_bytes()) == told
    assert json.loads(told.to_bytes())["schema_version"] == 1


def test_the_json_of_a_newer_schema_is_refused(tmp_path: Path) -> None:
    document = json.loads(whole_report(tmp_path).to_bytes()) | {"schema_version": 2}
    with pytest.raises(ValueError, match="schema_version"):
        Report.from_bytes(json.dumps(document).encode())
