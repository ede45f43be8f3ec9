"""Calibrated explanations of models on a real server: the operator's files, the hook, and refused input."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import boto3
import jsonschema
import pandas as pd
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer
from sklearn.datasets import load_diabetes, load_wine

from airflow_provider_cleartrace.api.errors import NotFoundError, ValidationError
from airflow_provider_cleartrace.client import ClearTrace
from airflow_provider_cleartrace.explanations.errors import ExplanationError
from airflow_provider_cleartrace.explanations.explainer import CalibratedExplainer
from airflow_provider_cleartrace.explanations.question import Question
from airflow_provider_cleartrace.explanations.schema import json_schema
from airflow_provider_cleartrace.hooks.cleartrace import ClearTraceHook
from airflow_provider_cleartrace.operators.calibrated import ClearTraceCalibratedExplainOperator
from airflow_provider_cleartrace.operators.rows.reader import BadRowError
from airflow_provider_cleartrace.storage.claims import Claim, Claimant, OutputInUseError
from airflow_provider_cleartrace.storage.errors import StorageError
from airflow_provider_cleartrace.storage.locations import locate
from airflow_provider_cleartrace.storage.manifests import Manifest
from tests.integration import explained_rows
from tests.integration.airflow_tasks import context
from tests.integration.killed_task import killed_at
from tests.integration.local_server import LocalServer
from tests.integration.row_server import row_server

CREDIT = Path(__file__).parents[2] / "example_dags" / "data" / "german_credit.csv"
FAST = {"mode": "fast", "n_hyperopt_steps": 1}
MODEL = "calibrated-credit"
TARGET = "good_credit"
WHOLE = {"_SUCCESS", "manifest.json", "payloads.jsonl", "predictions.parquet", "rules.parquet"}

pytestmark = pytest.mark.usefixtures("connection")


@pytest.fixture(scope="module")
def credit() -> pd.DataFrame:
    frame = pd.read_csv(CREDIT)
    return frame.sample(frac=1, random_state=0).reset_index(drop=True)


@pytest.fixture(scope="module")
def trained(local_server: LocalServer, credit: pd.DataFrame) -> str:
    with ClearTrace(local_server.base_url, local_server.api_key, poll_interval=0.05) as client:
        client.fit(credit[:600], target=TARGET, model_id=MODEL, **FAST)
    return MODEL


@pytest.fixture
def files(tmp_path: Path, credit: pd.DataFrame, trained: str) -> dict[str, Any]:
    """The arguments of a small task."""
    credit[:600].to_csv(tmp_path / "training.csv", index=False)
    credit[600:850].to_csv(tmp_path / "calibration.csv", index=False)
    rows = credit[850:880].rename_axis("application").drop(columns=TARGET)
    rows.to_csv(tmp_path / "rows.csv")
    return {
        "task_id": "explain",
        "model_id": trained,
        "calibration_data": str(tmp_path / "calibration.csv"),
        "target": TARGET,
        "data": str(tmp_path / "rows.csv"),
        "output_uri": f"{tmp_path}/explained/",
    }


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows of each prediction that is asked for from here on."""
    counts: list[int] = []
    original = ClearTrace.predict

    def counting(client: ClearTrace, /, X: Any) -> Any:
        counts.append(len(X))
        return original(client, X)

    monkeypatch.setattr(ClearTrace, "predict", counting)
    return counts


def run(arguments: dict[str, Any], **more: Any) -> dict[str, Any]:
    return ClearTraceCalibratedExplainOperator(**arguments | more).execute(context("explain"))


def listed(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def payloads(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(manifest["payloads_uri"]).read_text().splitlines()]


class TestOutput:
    def test_every_row_has_a_payload_that_fits_the_schema_and_its_rules_in_the_table(
        self, files: dict[str, Any]
    ) -> None:
        told = run(files, kind="alternative", id_columns=["application"])

        lines = payloads(told)
        for line in lines:
            jsonschema.validate(line, json_schema())
        assert [line["id"] for line in lines] == [{"application": str(number)} for number in range(850, 880)]
        table = pq.read_table(told["rules_uri"]).to_pylist()
        assert (
            len(table)
            == told["rules"]
            == sum(len(each["payload"]["core"]["feature_rules"]) for each in lines)
        )
        by_row = iter(table)
        for line in lines:
            for rule in line["payload"]["core"]["feature_rules"]:
                entry = next(by_row)
                assert entry["application"] == line["id"]["application"]
                assert entry["rule"] == rule["condition"]["text"]
                assert entry["weight"] == rule["weight"]["value"]
                interval = rule["prediction"]["uncertainty_interval"]
                assert [entry["prediction_low"], entry["prediction_high"]] == interval
        assert {entry["kind"] for entry in table} == {"alternative"}
        assert any(entry["is_counter"] for entry in table)

    def test_rules_speak_of_levels_and_not_of_codes(
        self, files: dict[str, Any], credit: pd.DataFrame
    ) -> None:
        told = run(files)

        table = pq.read_table(told["rules_uri"]).to_pylist()
        purposes = [entry for entry in table if entry["features"] == ["purpose"]]
        assert purposes
        for entry in purposes:
            assert entry["operator"] == "=="
            assert entry["value"] == credit.loc[850 + entry["row"], "purpose"]
            assert entry["rule"] == f"purpose = {entry['value']}"

    def test_the_manifest_tells_what_it_was_made_from_and_how_far_it_can_be_believed(
        self, files: dict[str, Any]
    ) -> None:
        told = run(files)

        assert json.loads((Path(files["output_uri"]) / "manifest.json").read_text()) == told
        assert told["calibration_fingerprint"].startswith("sha256:")
        assert told["calibration_rows"] + told["held_out_rows"] == 250
        assert 0 < told["mean_interval_width"] < 0.5
        assert 0 <= told["held_out_calibration_error"] < 0.3
        assert told["rows"] == 30
        assert told["calls"] <= 6
        assert told["rows_sent"] < 8_000

    def test_conjunctions_and_filters_take_few_requests(self, files: dict[str, Any]) -> None:
        told = run(
            files,
            kind="alternative",
            conjunctions={"n_top_features": 3, "max_rule_size": 2},
            filters=["counter", "ensured"],
            focus_columns=["duration_in_month", "credit_amount", "purpose", "savings_account_and_bonds"],
        )

        table = pq.read_table(told["rules_uri"]).to_pylist()
        assert told["calls"] <= 7
        assert all(entry["is_counter"] and entry["is_ensured"] for entry in table)
        assert any(entry["conjunctive"] and len(entry["features"]) == 2 for entry in table)

    def test_each_row_has_its_interval_in_a_table(self, files: dict[str, Any]) -> None:
        told = run(files, id_columns=["application"])

        table = pq.read_table(told["predictions_uri"]).to_pylist()
        expected = []
        for line in payloads(told):
            core, metadata = line["payload"]["core"], line["payload"]["metadata"]
            low, high = core["prediction"]["uncertainty_interval"]
            figures = {
                "prediction": core["prediction"]["value"],
                "prediction_low": low,
                "prediction_high": high,
            }
            about = {"class": str(metadata["class"]), "rules": len(core["feature_rules"])}
            expected.append(line["id"] | figures | about)
        assert table == expected

    def test_the_same_seed_gives_the_same_bytes(self, files: dict[str, Any]) -> None:
        few = {"focus_columns": ["duration_in_month", "credit_amount", "purpose"], "conjunctions": {}}
        contents = []
        for _ in range(2):
            told = run(files, **few, plots=[0, 12])
            names = [*sorted(WHOLE - {"_SUCCESS"}), *told["plots"]]
            contents.append([(Path(told["output_uri"]) / name).read_bytes() for name in names])
        assert len(contents[0]) == 6
        assert contents[0] == contents[1]

    def test_alternatives_are_the_same_whatever_the_batches(self, files: dict[str, Any]) -> None:
        few = {"focus_columns": ["duration_in_month", "credit_amount", "purpose"], "conjunctions": {}}
        contents = []
        for batch_rows in (30, 7):
            told = run(files, **few, kind="alternative", held_out=0, batch_rows=batch_rows)
            contents.append([Path(told[name]).read_bytes() for name in ("payloads_uri", "rules_uri")])
        assert contents[0] == contents[1]

    def test_a_failed_task_leaves_the_old_output(self, files: dict[str, Any], tmp_path: Path) -> None:
        told = run(files)
        before = Path(told["payloads_uri"]).read_bytes()
        rows = pd.read_csv(files["data"])
        rows["duration_in_month"] = rows["duration_in_month"].astype(object)
        rows.loc[20, "duration_in_month"] = "long"
        rows.to_csv(tmp_path / "bad.csv", index=False)

        with pytest.raises(ValidationError, match="'duration_in_month' is no number"):
            run(files, data=str(tmp_path / "bad.csv"), batch_rows=5)

        assert Path(told["payloads_uri"]).read_bytes() == before
        assert set(listed(tmp_path / "explained")) == WHOLE
        assert not [name for name in listed(tmp_path) if name.startswith(".")]

    def test_chosen_rows_are_plotted(self, files: dict[str, Any]) -> None:
        told = run(files, plots=[0, 12], held_out=0)

        assert told["plots"] == ["plots/row-0.svg", "plots/row-12.svg"]
        for name in told["plots"]:
            assert b"<svg" in (Path(files["output_uri"]) / name).read_bytes()

        again = run(files, plots=[3], held_out=0)
        assert listed(Path(files["output_uri"]) / "plots") == ["row-3.svg"]
        assert again["plots"] == ["plots/row-3.svg"]

    def test_calibration_rows_without_a_target_are_counted(self, files: dict[str, Any]) -> None:
        calibration = pd.read_csv(files["calibration_data"])
        calibration[TARGET] = calibration[TARGET].astype(float)
        calibration.loc[:49, TARGET] = None
        calibration.to_csv(files["calibration_data"], index=False)

        told = run(files, kind="fast")

        assert told["calibration_rows_dropped"] == 50
        assert told["calibration_rows"] + told["held_out_rows"] == 200

    def test_a_plot_of_a_row_that_there_is_not_is_told(
        self, files: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        operator = ClearTraceCalibratedExplainOperator(**files, plots=[0, 30])
        warned: list[str] = []
        monkeypatch.setattr(operator.log, "warning", lambda text, *parts: warned.append(text % parts))
        told = operator.execute(context("explain"))
        assert told["plots"] == ["plots/row-0.svg"]
        assert "plots: there is no row 30; the 30 rows are numbered from 0" in warned

    def test_missing_numbers_and_unknown_levels_get_a_prediction_and_no_rule(
        self, files: dict[str, Any], tmp_path: Path
    ) -> None:
        rows = pd.read_csv(files["data"]).head(3)
        rows["duration_in_month"] = rows["duration_in_month"].astype(float)
        rows.loc[0, "duration_in_month"] = None
        rows.loc[1, "purpose"] = "a spaceship"
        rows.to_csv(tmp_path / "odd.csv", index=False)

        lines = payloads(run(files, data=str(tmp_path / "odd.csv")))

        unplaced = [line["payload"]["metadata"]["unplaced"] for line in lines]
        assert unplaced == [["duration_in_month"], ["purpose"], []]
        for line, absent in zip(lines, unplaced, strict=True):
            told = {rule["condition"]["feature"] for rule in line["payload"]["core"]["feature_rules"]}
            assert told
            assert not told.intersection(absent)
            jsonschema.validate(line, json_schema())


class TestPublication:
    def test_success_names_every_file_with_its_digest(self, files: dict[str, Any]) -> None:
        told = run(files, plots=[0])

        folder = Path(files["output_uri"])
        success = Manifest.read(locate(str(folder / "_SUCCESS")))
        assert success is not None
        assert success.fingerprint == told["fingerprint"]
        assert {entry.name for entry in success.files} == WHOLE - {"_SUCCESS"} | {"plots/row-0.svg"}
        for entry in success.files:
            content = (folder / entry.name).read_bytes()
            assert (entry.bytes, entry.sha256) == (len(content), hashlib.sha256(content).hexdigest())

    def test_skip_keeps_what_is_made_of_the_same_and_replaces_what_is_not(
        self, files: dict[str, Any], asked: list[int]
    ) -> None:
        first = run(files, kind="fast", if_exists="skip")
        assert asked
        asked.clear()

        assert run(files, kind="fast", if_exists="skip") == first
        assert asked == []

        second = run(files, kind="fast", if_exists="skip", features_to_ignore=["purpose"])
        assert asked
        assert second["fingerprint"] != first["fingerprint"]

        calibration = pd.read_csv(files["calibration_data"])
        calibration[:-1].to_csv(files["calibration_data"], index=False)
        asked.clear()
        run(files, kind="fast", if_exists="skip", features_to_ignore=["purpose"])
        assert asked

    def test_fail_refuses_another_output_before_the_model_is_asked_and_takes_its_own(
        self, files: dict[str, Any], asked: list[int]
    ) -> None:
        told = run(files, kind="fast", if_exists="fail")
        asked.clear()
        assert run(files, kind="fast", if_exists="fail") == told
        with pytest.raises(StorageError, match="there is an output already"):
            run(files, kind="fast", if_exists="fail", held_out=0)
        assert asked == []

    def test_a_task_that_was_killed_between_the_two_renames_is_completed_by_the_next_try(
        self, files: dict[str, Any], asked: list[int], tmp_path: Path
    ) -> None:
        told = run(files, kind="fast")
        # The state after the old output was moved away: the new one is whole, but not in its place.
        hidden = tmp_path / ".explained.tmp"
        (hidden / "replaced").mkdir(parents=True)
        (tmp_path / "explained").rename(hidden / told["fingerprint"][:12])
        asked.clear()

        assert run(files, kind="fast") == told
        assert asked == []
        assert set(listed(tmp_path / "explained")) == WHOLE
        assert not [name for name in listed(tmp_path) if name.startswith(".")]

    def test_a_second_map_index_with_the_same_folder_is_refused(
        self, files: dict[str, Any], asked: list[int], tmp_path: Path
    ) -> None:
        def mapped(index: int, rows: str) -> dict[str, Any]:
            arguments = files | {"data": f"{files['data']}#rows={rows}", "kind": "fast"}
            return ClearTraceCalibratedExplainOperator(**arguments).execute(
                context("explain", map_index=index)
            )

        first = mapped(0, "0-5")
        assert [line["id"]["row"] for line in payloads(first)] == list(range(5))
        asked.clear()
        with pytest.raises(StorageError, match="the map indexes 0 and 1 of this run write to the same place"):
            mapped(1, "5-9")
        assert asked == []
        assert mapped(0, "0-4")["rows"] == 4

    def test_a_folder_that_another_task_writes_at_this_moment_is_refused(
        self, files: dict[str, Any], asked: list[int], tmp_path: Path
    ) -> None:
        place = locate(files["output_uri"])
        for who, named in (
            (("dag", "explain", "run", 7), "the map indexes 7 and -1 of this run write to the same place"),
            (("dag", "explain", "run-0", -1), "being written by task 'explain' of DAG 'dag', run 'run-0'"),
        ):
            with (
                Claim(place, place.sibling(".explained.tmp/claims"), Claimant(who, 1)),
                pytest.raises(OutputInUseError, match=named),
            ):
                run(files, kind="fast")
        assert asked == []

    def test_a_folder_with_anything_else_and_the_folder_of_the_data_are_refused(
        self, files: dict[str, Any], asked: list[int], tmp_path: Path
    ) -> None:
        (tmp_path / "explained").mkdir()
        (tmp_path / "explained" / "notes.txt").write_text("mine")
        with pytest.raises(StorageError, match=r"such as 'notes\.txt'"):
            run(files)
        with pytest.raises(StorageError, match="would replace the data it is made from"):
            run(files, output_uri=f"{tmp_path}/")
        with pytest.raises(StorageError, match="end it with a slash"):
            run(files, output_uri=str(tmp_path / "one-file"))
        assert asked == []
        assert (tmp_path / "explained" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("kind", ["factual", "alternative"])
def test_a_killed_task_leaves_the_old_output_and_the_next_try_goes_on_from_its_finished_parts(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def contents() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}

    explained_rows.calibration_frame().to_csv(tmp_path / "calibration.csv", index=False)
    explained_rows.rows_frame().to_csv(tmp_path / "rows.csv", index=False)
    asked = {"kind": kind, "conjunctions": {}}
    with row_server(explained_rows.FEATURES) as server:
        told = {"conn_type": "cleartrace", "host": server.url, "password": "canary-key"}
        monkeypatch.setenv("AIRFLOW_CONN_CLEARTRACE_DEFAULT", json.dumps(told))
        explained_rows.explain(str(tmp_path), f"{tmp_path}/out/", **asked)
        whole, requests = contents(), len(server.requests)
        explained_rows.explain(str(tmp_path), f"{tmp_path}/out/", rows="#rows=0-10", **asked)
        old = contents()

        killed_at(requests - 2, server, explained_rows.explain, str(tmp_path), f"{tmp_path}/out/", **asked)
        assert contents() == old
        server.requests.clear()
        explained_rows.explain(str(tmp_path), f"{tmp_path}/out/", **asked)

    assert contents() == whole, "the same bytes as without a kill, what the model was asked included"
    assert len(server.requests) < requests / 2 + 2, "two parts of three were there"
    assert sorted(listed(tmp_path)) == ["calibration.csv", "out", "rows.csv"]


def test_rows_and_results_may_lie_on_s3(
    files: dict[str, Any], monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    store = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    store.start()
    request.addfinalizer(store.stop)
    host, port = store.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "canary-id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket="calibrated")
    for name in ("calibration_data", "data"):
        s3.upload_file(files[name], "calibrated", f"{name}.csv")
        files[name] = f"s3://calibrated/{name}.csv"

    told = run(files, kind="fast", output_uri="s3://calibrated/out/")
    assert run(files, kind="fast", output_uri="s3://calibrated/out/", if_exists="skip") == told
    with pytest.raises(StorageError, match="there is an output already"):
        run(files, kind="fast", output_uri="s3://calibrated/out/", if_exists="fail", held_out=0)

    objects = {entry["Key"] for entry in s3.list_objects_v2(Bucket="calibrated")["Contents"]}
    objects -= {"data.csv", "calibration_data.csv"}
    assert objects == {f"out/{name}" for name in WHOLE}
    lines = s3.get_object(Bucket="calibrated", Key="out/payloads.jsonl")["Body"].read().splitlines()
    assert len(lines) == told["rows"] == 30


class TestRefused:
    @pytest.mark.parametrize(
        ("more", "text"),
        [
            ({"kind": "factual", "filters": ["super"]}, "filters choose among alternatives"),
            ({"kind": "alternative", "filters": ["best"]}, "unknown filter 'best'"),
            ({"threshold": 0.5}, "threshold is for regressions"),
            ({"features_to_ignore": ["shoe_size"]}, "'shoe_size' is no feature of the model"),
            ({"focus_columns": []}, "leave no feature to explain"),
            ({"kind": "fast", "conjunctions": {}}, "fast explanations have no conditions to join"),
            ({"confidence": 0.9}, "of a regression's intervals"),
            ({"conjunctions": {"max_rule_size": 9}}, "max_rule_size must be 2 to 3"),
            ({"conjunctions": {"size": 2}}, "conjunctions: no setting 'size'; there are n_top_features"),
            ({"conjunctions": {"n_top_features": 2.5}}, "n_top_features must be a whole number, not 2.5"),
            ({"confidence": "90"}, "confidence must lie between 0 and 1, not '90'"),
            ({"percentiles": (5,)}, r"percentiles must be \(low, high\)"),
            ({"features_to_ignore": "shoe_size"}, "'shoe_size' is no feature of the model"),
            ({"plots": [-1]}, "plots must be a whole number of at least 0, not -1"),
            ({"seed": "x"}, "seed must be a whole number of at least 0, not 'x'"),
            ({"kind": "fast", "plots": [0]}, "plots of factual and alternative explanations"),
            ({"id_columns": ["rule"]}, "the id column 'rule' has the name of an output column"),
        ],
    )
    def test_an_option_that_does_not_fit_fails_before_the_model_is_asked(
        self, files: dict[str, Any], more: dict[str, Any], text: str, asked: list[int]
    ) -> None:
        with pytest.raises((ExplanationError, ValidationError), match=text):
            run(files, **more)
        assert asked == []

    @pytest.mark.parametrize(
        ("spoil", "text"),
        [
            (lambda frame: frame.head(20), "16 calibration rows are too few: 30 are needed; of 20 rows"),
            (lambda frame: frame[frame[TARGET] == 1], "no calibration row has the class 0"),
            (lambda frame: frame.replace({TARGET: {0: 7}}), "1 values that are no classes of the model"),
            (lambda frame: frame.assign(purpose=frame.index), "'purpose' has 250 levels"),
            (lambda frame: frame.drop(columns="purpose"), "no column 'purpose'"),
        ],
    )
    def test_calibration_data_that_cannot_calibrate_fails_before_the_model_is_asked(
        self, files: dict[str, Any], spoil: Any, text: str, asked: list[int]
    ) -> None:
        spoil(pd.read_csv(files["calibration_data"])).to_csv(files["calibration_data"], index=False)
        with pytest.raises((ExplanationError, StorageError), match=text):
            run(files)
        assert asked == []

    def test_another_target_than_the_model_s_is_named(self, files: dict[str, Any], asked: list[int]) -> None:
        with pytest.raises(ValidationError, match="trained on the target 'good_credit', not on 'purpose'"):
            run(files, target="purpose")
        assert asked == []

    def test_rows_without_a_column_are_refused_before_the_model_is_asked(
        self, files: dict[str, Any], asked: list[int]
    ) -> None:
        pd.read_csv(files["data"]).drop(columns="purpose").to_csv(files["data"], index=False)
        with pytest.raises(StorageError, match="no column 'purpose'"):
            run(files)
        assert asked == []

    def test_calibration_data_that_is_no_file_is_named(self, files: dict[str, Any], tmp_path: Path) -> None:
        (tmp_path / "folder").mkdir()
        for place, text in ((tmp_path / "nowhere.csv", "no such file"), (tmp_path / "folder", "not a file")):
            with pytest.raises(StorageError, match=f"{place}: {text}"):
                run(files, calibration_data=str(place))

    def test_a_row_that_cannot_be_read_is_named_without_advice_that_does_not_apply(
        self, files: dict[str, Any]
    ) -> None:
        pd.read_csv(files["data"]).assign(duration_in_month="long").to_csv(files["data"], index=False)
        with pytest.raises(BadRowError, match=r"row 0: column 'duration_in_month' is no number$"):
            run(files)

    def test_calibrating_with_the_training_data_is_warned_of(
        self, files: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        training = files["calibration_data"]
        operator = ClearTraceCalibratedExplainOperator(**files, training_data=training)
        warned = []
        monkeypatch.setattr(operator.log, "warning", lambda text, *parts: warned.append(text % parts))
        operator.execute(context("explain"))
        assert any(f"{training} is the training data" in text for text in warned)

    def test_an_unknown_model_is_not_found(self, files: dict[str, Any]) -> None:
        with pytest.raises(NotFoundError):
            run(files, model_id="nobody-trained-this")


class TestOtherTasks:
    def test_a_regression_s_intervals_hold_their_confidence_and_thresholds_give_probabilities(
        self, local_server: LocalServer, tmp_path: Path
    ) -> None:
        frame = load_diabetes(as_frame=True).frame.sample(frac=1, random_state=0).reset_index(drop=True)
        with ClearTrace(local_server.base_url, local_server.api_key, poll_interval=0.05) as client:
            client.fit(frame[:150], target="target", model_id="calibrated-diabetes", **FAST)
        frame[150:420].to_parquet(tmp_path / "calibration.parquet")
        frame[420:].to_parquet(tmp_path / "rows.parquet")
        arguments = {
            "task_id": "explain",
            "model_id": "calibrated-diabetes",
            "calibration_data": str(tmp_path / "calibration.parquet"),
            "target": "target",
            "data": str(tmp_path / "rows.parquet"),
            "output_uri": f"{tmp_path}/out/",
            "held_out": 0.5,
        }

        plain = run(arguments, confidence=0.9)
        assert 0.8 < plain["held_out_coverage"] <= 1
        (first, *_) = payloads(plain)
        uncertainty = first["payload"]["metadata"]["prediction_uncertainty"]
        assert uncertainty["representation"] == "percentile"
        assert uncertainty["confidence_level"] == pytest.approx(0.9)

        likely = run(arguments, threshold=(100.0, 200.0), kind="alternative", filters=["counter"])
        for line in payloads(likely):
            jsonschema.validate(line, json_schema())
            base = line["payload"]["core"]["prediction"]["value"]
            assert 0 <= base <= 1
            for rule in line["payload"]["core"]["feature_rules"]:
                assert (rule["prediction"]["value"] > 0.5) != (base > 0.5) or rule["prediction"][
                    "value"
                ] == 0.5

    def test_more_than_two_classes_are_explained_by_their_labels(self, local_server: LocalServer) -> None:
        data = load_wine(as_frame=True)
        frame = data.frame.assign(target=[data.target_names[each] for each in data.target])
        frame = frame.sample(frac=1, random_state=0).reset_index(drop=True)
        with ClearTrace(local_server.base_url, local_server.api_key, poll_interval=0.05) as client:
            client.fit(frame[:80], target="target", model_id="calibrated-wine", **FAST)

        with ClearTraceHook().calibrated_explainer("calibrated-wine", frame[80:150], "target") as explainer:
            told = explainer.alternatives(frame[150:160], filters=("super",))

        for explanation in told:
            assert explanation.prediction["classes"] in set(data.target_names)
            assert sum(explanation.prediction["__full_probabilities__"]) == pytest.approx(1)


def test_the_hook_s_explainer_predicts_what_the_rules_say(trained: str, credit: pd.DataFrame) -> None:
    with ClearTraceHook().calibrated_explainer(trained, credit[600:850], TARGET) as explainer:
        assert isinstance(explainer, CalibratedExplainer)
        told = explainer.explain(credit[850:855], Question(kind="alternative"))
        for explanation in told:
            rule = explanation.feature_rules[0]
            changed = [
                {**dict(zip(told.feature_names, explanation.instance, strict=True)), rule.features[0]: value}
                for value in rule.sampled_values[0]
            ]
            again = explainer.factual(pd.DataFrame(changed))
            mean = sum(each.prediction["predict"] for each in again) / len(again)
            assert mean == pytest.approx(rule.prediction.value, abs=1e-9)
