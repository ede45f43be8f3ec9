"""Outputs are compared by figures that a plain computation over all rows gives as well."""

from __future__ import annotations

import json
import math
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from airflow_provider_cleartrace.comparison.comparing import Model, compare
from airflow_provider_cleartrace.comparison.errors import ComparisonError
from airflow_provider_cleartrace.comparison.intervals import BOUNDS, KIND
from airflow_provider_cleartrace.comparison.models import Comparison
from airflow_provider_cleartrace.explanations.table import rule_fields
from airflow_provider_cleartrace.storage.errors import StorageError
from tests.unit.comparison.outputs import FEATURES, Frame, explained, long, rule, written

DRIVERS = [f"driver_{name}" for name in FEATURES]


def outputs(reference: pd.DataFrame, current: pd.DataFrame, **options: Any) -> Comparison:
    told: Any = {"thresholds": {}} | options
    return compare(outputs=(Frame(reference, "old"), Frame(current, "new")), **told)


class TestFigures:
    def test_of_predictions_are_those_of_numpy(self) -> None:
        then, now = explained(300), explained(200, seed=1, shift=0.5)
        (told,) = outputs(then, now).predictions
        edges = np.quantile(then["prediction"], np.arange(1, 10) / 10, method="inverted_cdf")
        before, after = (
            np.bincount(np.searchsorted(edges, side["prediction"]), minlength=10) for side in (then, now)
        )
        r, c = before / 300, np.maximum(after, 0.5) / 200
        assert told.psi == pytest.approx(np.sum((c - r) * np.log(c / r)))
        assert [each.reference_rows for each in told.bins] == before.tolist() == [30] * 10
        assert [each.current_rows for each in told.bins] == after.tolist()
        assert [each.high for each in told.bins] == [*edges.tolist(), None]
        assert told.reference_mean == pytest.approx(then["prediction"].mean())
        assert told.current_mean == pytest.approx(now["prediction"].mean())
        assert told.psi_by_chance == pytest.approx(9 * (1 / 300 + 1 / 200))

    def test_of_drivers_are_those_of_pandas_and_scipy(self) -> None:
        then, now = explained(300), explained(200, seed=1, shift=2)
        told = outputs(then, now).drivers
        assert told is not None
        absolute = [side[DRIVERS].abs().mean() for side in (then, now)]
        shares = [side / side.sum() for side in absolute]
        assert told.rank_correlation == pytest.approx(stats.spearmanr(*absolute).statistic)
        assert told.shift == pytest.approx((shares[1] - shares[0]).abs().sum() / 2)
        for each in told.features:
            name = f"driver_{each.feature}"
            assert each.reference_mean_absolute == pytest.approx(absolute[0][name])
            assert each.current_mean_absolute == pytest.approx(absolute[1][name])
            assert each.share_difference == pytest.approx(shares[1][name] - shares[0][name])
            assert each.current_mean == pytest.approx(now[name].mean())
            assert each.reference_rank == absolute[0].rank(ascending=False)[name]
        moved = [abs(each.share_difference) for each in told.features]
        assert moved == sorted(moved, reverse=True)

    def test_of_personas_are_those_of_a_contingency_table(self) -> None:
        then, now = explained(300), explained(200, seed=1)
        now.loc[:20, "persona"] = "Strangers"
        now.loc[30:32, "persona"] = None
        told = outputs(then, now).personas
        assert told is not None
        before, after = (side["persona"].value_counts(dropna=False) for side in (then, now))
        assert {each.persona: (each.reference_rows, each.current_rows) for each in told.personas} == {
            None if isinstance(name, float) else name: (before.get(name, 0), after.get(name, 0))
            for name in after.index
        }
        differences = [after.get(name, 0) / 200 - before.get(name, 0) / 300 for name in after.index]
        assert told.shift == pytest.approx(sum(map(abs, differences)) / 2)
        shares = [(max(before.get(name, 0), 0.5) / 300, after[name] / 200) for name in after.index]
        assert told.psi == pytest.approx(sum((c - r) * math.log(c / r) for r, c in shares))

    def test_of_more_than_two_classes_are_told_for_each_and_judged_by_the_worst(self) -> None:
        random = np.random.default_rng(0)
        frames = []
        for weights in ([2, 3, 4], [2, 3, 9]):
            values = random.dirichlet(weights, 150)
            frames.append(pd.DataFrame({f"probability_{name}": values[:, i] for i, name in enumerate("abc")}))
        told = outputs(frames[0], frames[1][["probability_c", "probability_a", "probability_b"]])
        assert [each.label for each in told.predictions] == ["a", "b", "c"]
        assert told.predictions[2].current_mean == pytest.approx(frames[1]["probability_c"].mean())
        assert told.figures == {"psi": max(each.psi for each in told.predictions)}

    def test_of_models_are_those_of_their_shares(self) -> None:
        one = Model("old", {"a": 0.5, "b": 0.3, "c": 0.2})
        other = Model("new", {"c": 0.6, "a": 0.3, "b": 0.1})
        told = compare(models=(one, other), thresholds={"global_driver_shift": 0.3})
        assert told.global_drivers is not None
        assert told.global_drivers.shift == pytest.approx(0.4)
        assert told.global_drivers.rank_correlation == pytest.approx(
            stats.spearmanr([0.5, 0.3, 0.2], [0.3, 0.1, 0.6]).statistic
        )
        assert told.global_drivers.features[0].feature == "c"
        assert told.verdict == "drift"


class TestProperties:
    def test_an_output_does_not_drift_from_itself(self) -> None:
        then = explained(100)
        told = outputs(then, then, thresholds={"psi": 0, "driver_rank_correlation": 1, "persona_psi": 0})
        assert told.verdict == "stable"
        assert {name: told.figures[name] for name in ("psi", "persona_shift", "driver_shift")} == {
            "psi": 0, "persona_shift": 0, "driver_shift": 0,
        }  # fmt: skip

    @settings(max_examples=10, deadline=None)
    @given(st.integers(0, 10**6), st.integers(1, 60), st.integers(1, 60), st.integers(1, 70))
    def test_the_order_of_rows_and_the_size_of_batches_change_nothing(
        self, seed: int, before: int, after: int, batch: int
    ) -> None:
        then, now = explained(before, seed), explained(after, seed + 1, shift=0.3)
        shuffled = [side.sample(frac=1, random_state=seed) for side in (then, now)]
        told = outputs(then, now)
        again = compare(
            outputs=(Frame(shuffled[0], "old", batch), Frame(shuffled[1], "new", batch)), thresholds={}
        )
        assert again.figures == pytest.approx(told.figures, rel=1e-9, abs=1e-12)
        assert again.predictions[0].bins == told.predictions[0].bins

    @settings(max_examples=10, deadline=None)
    @given(st.integers(0, 10**6))
    def test_what_needs_no_reference_is_symmetric(self, seed: int) -> None:
        then, now = explained(80, seed), explained(60, seed + 1, shift=0.5)
        there, back = outputs(then, now).figures, outputs(now, then).figures
        for name in ("driver_rank_correlation", "driver_shift", "persona_psi", "persona_shift"):
            assert there[name] == pytest.approx(back[name])

    def test_each_row_is_read_once(self) -> None:
        then, now = Frame(explained(50)), Frame(explained(50, seed=1))
        compare(outputs=(then, now), thresholds={})
        assert [len(then.reads), len(now.reads)] == [1, 1]


class Lines:
    """A table of any number of rows, made as they are read."""

    uri = "rows.parquet"
    columns = ("prediction", *DRIVERS)

    def __init__(self, rows: int) -> None:
        self._rows = rows

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        random = np.random.default_rng(0)
        for _ in range(self._rows // 10_000):
            yield pa.RecordBatch.from_pydict({name: random.normal(size=10_000) for name in columns})


def test_memory_does_not_grow_with_the_rows() -> None:
    def peak(rows: int) -> int:
        tracemalloc.start()
        told = compare(outputs=(Lines(rows), Lines(rows)), thresholds={})
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert told.reference.rows == rows
        return most

    peak(10_000)  # what is imported stays
    assert peak(1_000_000) < 1.2 * peak(100_000)


class TestLayouts:
    @pytest.mark.parametrize("batch", [1, 2, 100])
    def test_long_and_wide_give_the_same_figures(self, batch: int) -> None:
        then, now = explained(60), explained(40, seed=1, shift=1)
        wide = outputs(then, now)
        mixed = compare(outputs=(Frame(long(then), "old", batch), Frame(now, "new")), thresholds={})
        both = compare(outputs=(Frame(long(then), "old"), Frame(long(now), "new", batch)), thresholds={})
        for told in (mixed, both):
            assert told.figures == pytest.approx(wide.figures)
            assert (told.reference.rows, told.current.rows) == (60, 40)
            assert told.personas == wide.personas

    @pytest.mark.parametrize(("one", "other"), [(".parquet", ".csv"), (".csv", ".jsonl")])
    def test_every_format_that_tasks_write_gives_the_same_figures(
        self, tmp_path: Path, one: str, other: str
    ) -> None:
        then, now = explained(60), explained(40, seed=1, shift=1)
        tables = written(then, tmp_path / f"then{one}"), written(now, tmp_path / f"now{other}")
        told = compare(outputs=tables, thresholds={})
        assert told.figures == pytest.approx(outputs(then, now).figures)

    def test_columns_that_were_carried_along_are_no_drivers(self) -> None:
        then, now = explained(30), explained(30, seed=1)
        now.insert(0, "driver_license", "B")
        told = outputs(then, now)
        assert told.drivers is not None
        assert {each.feature for each in told.drivers.features} == set(FEATURES)

    def test_predictions_alone_are_compared_with_an_explanation(self) -> None:
        then = explained(30)
        assert set(outputs(then, then[["row", "prediction"]]).figures) == {"psi"}


class TestRules:
    OLD = rule(("age", ">", 30), ("purpose", "==", "car"))
    YOUNG = rule(("age", "<=", 30))
    GAP = rule(("income", "is missing", None))
    SPAN = rule(("income", "between", [10, 20]))

    def sides(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        then = pd.DataFrame({"prediction": [0.1, 0.2, 0.3], "rules": [[self.OLD], [self.OLD, self.GAP], []]})
        now = pd.DataFrame(
            {
                "age": [40, 40, 20, 50],
                "purpose": ["car", "boat", "car", None],
                "income": [15.0, None, 30.0, 5.0],
                "prediction": [0.1, 0.2, 0.3, 0.4],
                "rules": [[rule(("purpose", "==", "car"), ("age", ">", 30))], [self.YOUNG], [self.SPAN], []],
            }
        )
        return then, now

    @pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
    def test_hold_for_rows_by_their_conditions_and_are_shared_in_whatever_order(
        self, tmp_path: Path, suffix: str
    ) -> None:
        frames = self.sides()
        if suffix == ".csv":
            frames = tuple(side.assign(rules=side["rules"].map(json.dumps)) for side in frames)
        tables = [written(side, tmp_path / f"{place}{suffix}") for place, side in enumerate(frames)]
        told = compare(outputs=(tables[0], tables[1]), thresholds={}).rules
        assert told is not None
        assert (told.reference_rules, told.reference_rows_with_rules, told.current_rows_with_rules) == (
            2,
            2,
            3,
        )
        assert told.match_rate == 2 / 4  # the first by age and purpose, the second for its gap
        assert told.shared_rate == 1 / 4

    def test_need_the_features_to_be_tried_and_say_so(self) -> None:
        then, now = self.sides()
        told = outputs(then, now.drop(columns="income"))
        assert told.rules is not None
        assert told.rules.match_rate is None
        assert told.rules.why_no_match_rate is not None
        assert "'income'" in told.rules.why_no_match_rate
        assert "rule_match_rate" not in told.figures
        with pytest.raises(ComparisonError, match="does not tell rule_match_rate"):
            outputs(then, now.drop(columns="income"), thresholds={"rule_match_rate": 0.5})

    def test_told_as_texts_are_shared_but_not_tried(self) -> None:
        frame = pd.DataFrame({"prediction": [0.1], "rules": [[{"text": "age is high", "conditions": []}]]})
        told = outputs(frame, frame).rules
        assert told is not None
        assert (told.shared_rate, told.match_rate) == (1, None)

    def test_between_is_above_the_first_and_at_most_the_second(self) -> None:
        then = pd.DataFrame({"prediction": [0.1], "rules": [[self.SPAN]]})
        now = pd.DataFrame({"income": [10, 11, 20, 21], "prediction": 0.1, "rules": [[]] * 3 + [[self.SPAN]]})
        told = outputs(then, now).rules
        assert told is not None
        assert told.match_rate == 0.5

    def test_compare_dates_as_dates(self) -> None:
        then = pd.DataFrame({"prediction": [0.1], "rules": [[rule(("since", ">", "2026-01-31T00:00:00"))]]})
        dates = pd.to_datetime(["2026-01-31", "2026-02-01"])
        now = pd.DataFrame({"since": dates, "prediction": 0.1, "rules": then["rules"].tolist() * 2})
        told = outputs(then, now).rules
        assert told is not None
        assert told.match_rate == 0.5


class TestIntervals:
    def rules(self, width: float, open_rules: int = 0) -> pd.DataFrame:
        """The rules of twenty rows, one each."""
        low = np.linspace(0, 0.4, 20)
        frame = pd.DataFrame({"row": range(20), "kind": "factual"})
        frame["prediction_low"], frame["prediction_high"] = low, low + width
        frame["weight_low"], frame["weight_high"] = -low, width
        frame.loc[: open_rules - 1, "prediction_high"] = np.inf
        return frame

    def test_mean_widths_and_their_ratio_are_those_of_numpy(self) -> None:
        then, now = self.rules(0.2), self.rules(0.3, open_rules=2)
        told = compare(
            calibrated=(Frame(then, "old"), Frame(now, "new")), thresholds={"interval_width_ratio": 1.4}
        )
        assert told.intervals is not None
        closed = now[2:]
        assert told.intervals.current.mean_prediction_width == pytest.approx(0.3)
        assert told.intervals.current.mean_weight_width == pytest.approx(
            (closed["weight_high"] - closed["weight_low"]).mean()
        )
        assert (told.intervals.current.rules, told.intervals.current.open_rules) == (20, 2)
        assert told.figures == {"interval_width_ratio": pytest.approx(1.5)}
        assert [str(each) for each in told.crossed] == ["interval_width_ratio 1.5 is above 1.4"]

    @pytest.mark.parametrize("batch", [1, 3, 7, 1000])
    def test_of_predictions_count_each_row_once_however_many_rules_it_has(self, batch: int) -> None:
        random = np.random.default_rng(3)
        counts = random.integers(1, 6, 30)
        ids = {"bank": np.repeat(np.arange(30) // 10, counts), "loan": np.repeat(np.arange(30) % 10, counts)}
        many = pd.DataFrame({**ids, "kind": "alternative", "weight_low": 0.0, "weight_high": 1.0})
        many["prediction_low"] = 0.0
        many["prediction_high"] = random.uniform(size=len(many))
        many.loc[many.index % 9 == 0, "prediction_high"] = np.inf
        many.loc[(many["bank"] == 1) & (many["loan"] == 4), "prediction_high"] = np.inf
        told = compare(calibrated=(Frame(many, batch_rows=batch),) * 2, thresholds={}).intervals
        assert told is not None
        finite = many.replace(np.inf, np.nan)
        by_row = finite.groupby(["bank", "loan"])["prediction_high"].mean()
        assert told.current.mean_prediction_width == pytest.approx(by_row.mean())
        assert (told.current.rows, told.current.rules) == (30, len(many))

    def test_are_looked_for_where_a_table_of_rules_has_them(self) -> None:
        names = [each.name for each in rule_fields()]
        assert set(BOUNDS) <= set(names)
        assert names[0] == KIND

    def test_of_something_else_are_refused(self) -> None:
        with pytest.raises(ComparisonError, match="not the rules of a CalibratedExplain task"):
            compare(calibrated=(Frame(self.rules(1)), Frame(explained(3))), thresholds={})


class TestVerdict:
    def test_names_the_thresholds_that_are_crossed_and_not_those_just_reached(self) -> None:
        then, now = explained(200), explained(200, seed=1, shift=1)
        figures = outputs(then, now).figures
        told = outputs(
            then, now, thresholds={"psi": 0.2, "driver_shift": figures["driver_shift"], "persona_psi": 5}
        )
        assert [(each.figure, each.side) for each in told.crossed] == [("psi", "above")]
        assert told.verdict == "drift"

    def test_is_left_open_without_thresholds(self) -> None:
        assert outputs(explained(9), explained(9)).verdict == "not judged"

    def test_survives_json(self) -> None:
        told = outputs(explained(50), explained(50, seed=1), thresholds={"psi": 0.2})
        assert Comparison.model_validate_json(told.model_dump_json()) == told
        assert json.loads(told.model_dump_json())["schema_version"] == 1


class TestRefused:
    def refused(self, message: str, then: pd.DataFrame, now: pd.DataFrame, **options: Any) -> list[list[str]]:
        tables = Frame(then, "old"), Frame(now, "new")
        with pytest.raises(ComparisonError, match=message):
            compare(outputs=tables, **({"thresholds": {}} | options))
        return tables[0].reads + tables[1].reads

    def test_other_features_before_a_row_is_read(self) -> None:
        now = explained(5).rename(columns={"driver_age": "driver_height"})
        assert self.refused("new: .*it lacks 'age'; the reference lacks 'height'", explained(5), now) == []

    def test_other_classes_before_a_row_is_read(self) -> None:
        then = pd.DataFrame({"probability_a": [0.5], "probability_b": [0.5]})
        now = pd.DataFrame({"probability_a": [0.5], "probability_c": [0.5]})
        assert self.refused("new: predicts 'probability_a', 'probability_c'", then, now) == []
        assert (
            self.refused("new: predicts 'prediction', the reference 'probability_a'", then, explained(3))
            == []
        )

    def test_a_threshold_on_what_will_not_be_told_before_a_row_is_read(self) -> None:
        now = explained(5).drop(columns="persona")
        read = self.refused(
            "does not tell persona_psi; it tells psi, driver_",
            explained(5),
            now,
            thresholds={"persona_psi": 0.1},
        )
        assert read == []

    def test_no_rows(self) -> None:
        self.refused("old: no rows", explained(0), explained(5))
        self.refused("new: no rows", explained(5), explained(0))

    def test_no_predictions(self, tmp_path: Path) -> None:
        (tmp_path / "empty.jsonl").write_bytes(b"")
        table = written(explained(3), tmp_path / "rows.jsonl")
        empty = type(table)(str(tmp_path / "empty.jsonl"), table.s3)
        with pytest.raises(StorageError, match=r"empty\.jsonl: no column 'prediction'.*without rows"):
            compare(outputs=(table, empty), thresholds={})

    @pytest.mark.parametrize("column", ["prediction", "driver_age"])
    @pytest.mark.parametrize("value", [None, math.nan, math.inf])
    def test_missing_and_infinite_values(self, column: str, value: float | None) -> None:
        now = explained(5)
        now.loc[3, column] = value
        self.refused(f"new: the column '{column}' has missing or infinite values", explained(5), now)

    def test_texts_for_numbers_without_quoting_them(self, tmp_path: Path) -> None:
        now = explained(5)
        now["prediction"] = "canary-value"
        table, damaged = written(explained(5), tmp_path / "then.csv"), written(now, tmp_path / "now.csv")
        with pytest.raises(StorageError, match="column 'prediction' is not all numbers") as refusal:
            compare(outputs=(table, damaged), thresholds={})
        assert "canary" not in str(refusal.value)

    def test_a_long_output_that_is_not_whole(self) -> None:
        now = long(explained(5))
        self.refused("new: 5 rows, but 4 drivers of 'income'", explained(5), now.drop(index=7))
        strange = now.assign(feature=now["feature"].where(now.index != 10, "height"))
        self.refused("new: an entry has the feature 'height'", explained(5), strange)

    def test_nothing_to_compare_and_no_such_file(self, tmp_path: Path) -> None:
        with pytest.raises(ComparisonError, match="nothing to compare"):
            compare(thresholds={})
        table = written(explained(5), tmp_path / "rows.parquet")
        gone = type(table)(str(tmp_path / "gone.parquet"), table.s3)
        with pytest.raises(StorageError, match=r"gone\.parquet: no such file"):
            compare(outputs=(table, gone), thresholds={})

    def test_models_of_other_features(self) -> None:
        with pytest.raises(ComparisonError, match=r"new: .*it lacks 'a'"):
            compare(models=(Model("old", {"a": 1, "b": 0}), Model("new", {"b": 1})), thresholds={})
