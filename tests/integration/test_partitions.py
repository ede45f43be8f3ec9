"""An input that is cut into partitions ends as one output, or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pandas as pd
import pytest
from moto.server import ThreadedMotoServer

from airflow_provider_cleartrace.operators.inference import ClearTracePredictOperator
from airflow_provider_cleartrace.operators.partitions import partitions, publish_partitions
from airflow_provider_cleartrace.operators.rows.reader import BadRowError
from airflow_provider_cleartrace.storage.errors import StorageError
from airflow_provider_cleartrace.storage.sources import find_source
from tests.integration.airflow_tasks import context
from tests.integration.row_server import RowServer, row_server

AGE = {"age": {"dtype": "integer", "mean": 50.0}}
ROWS = 1000
PARTITIONS = 10


@pytest.fixture(scope="module", autouse=True)
def server() -> Iterator[RowServer]:
    with row_server(AGE) as served, pytest.MonkeyPatch.context() as environment:
        told = {"conn_type": "cleartrace", "host": served.url, "password": "canary-key"}
        environment.setenv("AIRFLOW_CONN_CLEARTRACE_DEFAULT", json.dumps(told))
        yield served


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder of four days, whose files are no multiples of a partition."""
    folder = tmp_path_factory.mktemp("data") / "rows"
    rows = pd.DataFrame({"age": range(ROWS), "day": [f"day-{row // 333}" for row in range(ROWS)]})
    rows.to_parquet(folder, partition_cols=["day"])
    return str(folder)


def predict(data: str, output: str, *, model_id: str = "m", **arguments: Any) -> dict[str, Any]:
    operator = ClearTracePredictOperator(
        task_id="t",
        model_id=model_id,
        data=data,
        output_uri=output,
        **{"columns": ["day", "age"]} | arguments,
    )
    return dict(operator.execute(context()))


@dataclass
class Mapped:
    """What the tasks of all partitions have made below a folder."""

    output_uri: str
    cut: list[str]
    made: list[dict[str, Any]]

    def publish(self) -> dict[str, Any]:
        return publish_partitions(self.output_uri, cut=self.cut, made=self.made)


def map_predict(data: str, output_uri: str, **arguments: Any) -> Mapped:
    cut = partitions(data, rows=ROWS // PARTITIONS)
    made = [predict(part, f"{output_uri}{index}/", **arguments) for index, part in enumerate(cut)]
    return Mapped(output_uri, cut, made)


def test_an_identity_that_is_in_two_ranges_is_found_before_the_input_is_cut(tmp_path: Path) -> None:
    data = str(tmp_path / "rows.csv")
    frame = pd.DataFrame({"bank": "a", "id": [f"{row:03d}" for row in range(30)], "age": 1})
    frame.to_csv(data, index=False)
    assert len(partitions(data, rows=10, id_columns=["bank", "id"])) == 3
    with pytest.raises(BadRowError, match=r"^row 1, bank 'a': a row before has the same 'bank'$"):
        partitions(data, rows=10, id_columns=["bank"])
    frame.loc[25, "id"] = "003"
    frame.to_csv(data, index=False)
    with pytest.raises(BadRowError, match=r"^row 25, id '003': a row before has the same 'id'$"):
        partitions(data, rows=10, id_columns=["id"])
    assert partitions(f"{data}#rows=10-30", rows=20, id_columns=["id"]) == [f"{data}#rows=10-30"]
    with pytest.raises(StorageError, match="no column 'name'"):
        partitions(data, rows=10, id_columns=["name"])


@pytest.fixture(scope="module")
def original(data: str, tmp_path_factory: pytest.TempPathFactory) -> Mapped:
    return map_predict(data, f"{tmp_path_factory.mktemp('original')}/out/")


@pytest.fixture
def mapped(original: Mapped, tmp_path: Path) -> Mapped:
    """A copy, to be spoiled."""
    shutil.copytree(original.output_uri, tmp_path / "out")
    made = [{**told, "output_uri": f"{tmp_path}/out/{index}/"} for index, told in enumerate(original.made)]
    return Mapped(f"{tmp_path}/out/", list(original.cut), made)


def read(uri: str) -> pd.DataFrame:
    columns = ["row", "day", "age", "prediction"]
    return pd.concat([block.batch.to_pandas() for block in find_source(uri).read(columns)], ignore_index=True)


def test_the_outputs_of_all_partitions_are_one_and_the_same_as_without_partitions(
    mapped: Mapped, data: str, tmp_path: Path
) -> None:
    told = mapped.publish()
    predict(data, f"{tmp_path}/whole.parquet")

    together = read(mapped.output_uri)
    pd.testing.assert_frame_equal(together, read(f"{tmp_path}/whole.parquet"))
    assert together["row"].tolist() == list(range(ROWS))
    assert (
        told.items()
        >= {
            "schema_version": 1,
            "model_id": "m",
            "output_uri": mapped.output_uri,
            "partitions": PARTITIONS,
            "rows": ROWS,
            "rows_filtered": 0,
            "rows_rejected": 0,
            "rows_written": ROWS,
            "files": PARTITIONS,
            "bytes": sum(path.stat().st_size for path in (tmp_path / "out").rglob("*.parquet")),
        }.items()
    )


def test_counts_add_up_over_rows_that_were_filtered_or_rejected(data: str, tmp_path: Path) -> None:
    rows = pd.DataFrame({"age": [str(row) if row % 100 else "old" for row in range(ROWS)], "day": "x"})
    rows.to_csv(tmp_path / "rows.csv", index=False)
    mapped = map_predict(
        f"{tmp_path}/rows.csv", f"{tmp_path}/out/", on_bad_rows="skip", filter=["age", "<", 850]
    )
    told = mapped.publish()
    counted = {name: told[name] for name in ("rows", "rows_filtered", "rows_rejected", "rows_written")}
    assert sum(counted.values()) == 2 * ROWS
    assert counted == {name: sum(made[name] for made in mapped.made) for name in counted}
    assert counted["rows_written"] == len(read(mapped.output_uri)) == 850 - 9


def test_partitions_are_made_one_on_s3(data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    store.start()
    try:
        host, port = store.get_host_and_port()
        settings = {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "canary-id",
            "AWS_SECRET_ACCESS_KEY": "canary-secret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="tables")
        mapped = map_predict(data, "s3://tables/run/out/")
        with pytest.raises(StorageError, match=r"s3://tables/run/out/: '0/part-.* there is no _SUCCESS"):
            find_source(mapped.output_uri)
        assert mapped.publish()["rows_written"] == ROWS
        assert read(mapped.output_uri)["row"].tolist() == list(range(ROWS))
    finally:
        store.stop()


def test_publishing_again_gives_the_same(mapped: Mapped, tmp_path: Path) -> None:
    first = mapped.publish(), (tmp_path / "out" / "_SUCCESS").read_bytes()
    assert (mapped.publish(), (tmp_path / "out" / "_SUCCESS").read_bytes()) == first


def test_no_reader_takes_some_of_the_partitions_for_the_output(mapped: Mapped) -> None:
    with pytest.raises(StorageError, match=r"out/: '0/part-.* there is no _SUCCESS: it is still being"):
        find_source(mapped.output_uri)
    mapped.publish()
    assert find_source(mapped.output_uri).count() == ROWS


class TestNothingIsPublished:
    @pytest.fixture(autouse=True)
    def no_manifest(self, tmp_path: Path) -> Iterator[None]:
        yield
        assert not (tmp_path / "out" / "_SUCCESS").exists()

    def test_when_a_task_returned_nothing(self, mapped: Mapped) -> None:
        lost = mapped.made[3]
        mapped.made[3:4] = [None]  # type: ignore[list-item]
        with pytest.raises(StorageError, match=f"1 of 10 partitions have no output, such as {lost['data']}"):
            mapped.publish()

    def test_when_two_tasks_had_the_same_rows(self, mapped: Mapped) -> None:
        mapped.made.append(dict(mapped.made[0]))
        with pytest.raises(StorageError, match=r"two tasks had the partition .*#rows=0-100"):
            mapped.publish()

    def test_when_a_task_had_other_rows(self, mapped: Mapped) -> None:
        mapped.cut.pop()
        with pytest.raises(StorageError, match="#rows=900-1000 is none of the 9 partitions"):
            mapped.publish()

    def test_when_there_was_nothing_to_cut(self, tmp_path: Path) -> None:
        with pytest.raises(StorageError, match="there are no partitions"):
            publish_partitions(f"{tmp_path}/out/", cut=[], made=[])

    def test_when_an_output_is_gone(self, mapped: Mapped, tmp_path: Path) -> None:
        shutil.rmtree(tmp_path / "out" / "4")
        with pytest.raises(StorageError, match=r"out/4/: the output of .*#rows=400-500 is not there"):
            mapped.publish()

    def test_when_a_file_of_an_output_is_not_as_it_was_written(self, mapped: Mapped, tmp_path: Path) -> None:
        (part,) = (tmp_path / "out" / "4").glob("part-*")
        part.write_bytes(part.read_bytes()[:-1])
        with pytest.raises(StorageError, match=r"out/4/: .* is damaged: 'part-"):
            mapped.publish()

    def test_when_an_output_was_replaced_meanwhile(self, mapped: Mapped) -> None:
        predict(mapped.cut[4], f"{mapped.output_uri}4/", filter=["age", "<", 450])
        with pytest.raises(StorageError, match=r"out/4/: .* was replaced by something else"):
            mapped.publish()

    def test_when_tasks_shared_a_folder(self, mapped: Mapped) -> None:
        mapped.made[1] |= {name: mapped.made[0][name] for name in ("output_uri", "fingerprint")}
        with pytest.raises(StorageError, match="put the map index into output_uri"):
            mapped.publish()

    def test_when_an_output_speaks_of_other_rows(self, mapped: Mapped) -> None:
        fewer = mapped.cut[4].replace("400-500", "400-499")
        mapped.made[4] = {**predict(fewer, f"{mapped.output_uri}4/"), "data": mapped.cut[4]}
        with pytest.raises(StorageError, match="is about 99 rows, not about 100"):
            mapped.publish()

    def test_when_two_models_answered(self, mapped: Mapped) -> None:
        mapped.made[4] = predict(mapped.cut[4], f"{mapped.output_uri}4/", model_id="other")
        with pytest.raises(StorageError, match="the work of 2 models"):
            mapped.publish()

    @pytest.mark.parametrize("other", [{"columns": ["age"]}, {"format": "csv"}, {"id_columns": ["age"]}])
    def test_when_a_task_was_asked_for_something_else(self, mapped: Mapped, other: dict[str, Any]) -> None:
        mapped.made[4] = predict(mapped.cut[4], f"{mapped.output_uri}4/", **other)
        with pytest.raises(StorageError, match=r"out/4/: .*#rows=400-500 was asked for otherwise"):
            mapped.publish()

    def test_when_outputs_are_elsewhere_or_no_folders(self, mapped: Mapped, tmp_path: Path) -> None:
        for elsewhere in (f"{tmp_path}/4/", f"{mapped.output_uri}4.parquet", mapped.output_uri):
            mapped.made[4] = {**mapped.made[4], "output_uri": elsewhere}
            with pytest.raises(StorageError, match=r"must be a folder below .*/out/"):
                mapped.publish()

    def test_when_an_output_is_no_table_of_parts(self, mapped: Mapped, tmp_path: Path) -> None:
        place = tmp_path / "out" / "4" / "_SUCCESS"
        told = json.loads(place.read_bytes())
        place.write_text(json.dumps(told | {"files": [told["files"][0] | {"name": "payloads.jsonl"}]}))
        with pytest.raises(StorageError, match=r"out/4/: .* holds 'payloads.jsonl', which is no part"):
            mapped.publish()

    def test_when_an_earlier_run_had_more_partitions(self, mapped: Mapped) -> None:
        predict(mapped.cut[0], f"{mapped.output_uri}10/")
        with pytest.raises(StorageError, match=r"also holds '10/part-.*belongs to none of the partitions"):
            mapped.publish()
