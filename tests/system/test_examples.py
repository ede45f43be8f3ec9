"""The example DAGs for real jobs, on one whole Airflow: they start together, each test waits for its own."""

from __future__ import annotations

import csv
import json
import time
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from airflow_provider_cleartrace.client import ClearTrace
from example_dags.demo.scorer import Scorer, running_scorer
from example_dags.demo.stack import Stack
from tests.system.runs import RUN_LIMIT, RUN_POLL, Run, scheduled, start, unpause

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

EXAMPLES = Path(__file__).parents[2] / "example_dags"

BY_HAND = ("churn_winback", "suspicious_activity")
BY_SCHEDULE = ("nightly_distil", "underwriting_model", "underwriting", "lead_scoring")
WEAK_MODEL = "leads-weak"


@pytest.fixture(scope="module")
def scorer() -> Iterator[Scorer]:
    with running_scorer() as running:
        yield running


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, scorer: Scorer) -> Iterator[Stack]:
    with Stack(
        tmp_path_factory.mktemp("examples") / "run",
        EXAMPLES,
        cleartrace_flags=scorer.cleartrace_flags,
        settings=scorer.settings,
    ) as running:
        yield running


@pytest.fixture(scope="module", autouse=True)
def runs(stack: Stack) -> dict[str, Run]:
    """The first run of each example that is started by hand; all are under way at once: add yours here."""
    started = {dag_id: start(stack, dag_id) for dag_id in BY_HAND}
    put_a_weak_model_to_use(stack)
    for dag_id in BY_SCHEDULE:
        unpause(stack, dag_id)
    return started


def client(stack: Stack) -> ClearTrace:
    return ClearTrace(stack.cleartrace_url, stack.cleartrace_key, poll_interval=0.2)


def read_json(path: str | Path) -> Any:
    return json.loads(Path(path).read_text(encoding="utf-8"))


class TestNightlyDistil:
    """Two nights: one with a scorer that can be followed, one with a scorer that nobody could follow."""

    @pytest.fixture(scope="class")
    @classmethod
    def first(cls, stack: Stack) -> Run:
        (run,) = scheduled(stack, "nightly_distil", count=1)
        run.ended()
        return run

    @pytest.fixture(scope="class")
    @classmethod
    def second(cls, stack: Stack, scorer: Scorer, first: Run) -> Run:
        scorer.score = without_sense
        run = start(stack, "nightly_distil")
        run.ended("failed")
        return run

    def test_the_first_student_is_promoted_with_nothing_to_compare_it_with(self, first: Run) -> None:
        states = first.states()
        assert {states[name] for name in ("in_use", "explain_in_use", "compare")} == {"skipped"}
        assert first.told("faithful") == first.told("student")["fidelity"]["agreement"] >= 0.9
        assert first.told("promote") == first.told("student")["model_id"]
        assert "comparison" not in first.told("report")["sections"]

    def test_a_student_that_does_not_follow_its_scorer_is_not_promoted(
        self, stack: Stack, first: Run, second: Run
    ) -> None:
        states = second.states()
        assert (states["faithful"], states["promote"]) == ("failed", "upstream_failed")
        in_use = stack.api.request("GET", "/variables/student_in_use")["value"]
        assert in_use == first.told("student")["model_id"] != second.told("student")["model_id"]

    def test_the_report_says_how_both_students_differ(self, first: Run, second: Run) -> None:
        comparison = read_json(second.told("report")["json_uri"])["comparison"]
        assert comparison["verdict"] == second.told("compare")["verdict"] == "drift"
        students = [comparison[side]["model_id"] for side in ("reference", "current")]
        assert students == [run.told("student")["model_id"] for run in (first, second)]


def without_sense(application: Mapping[str, Any]) -> float:
    """A probability that says nothing of an application, and is the same whenever it is asked."""
    return zlib.crc32(json.dumps(application, sort_keys=True).encode()) % 1000 / 1000


def test_only_the_drafts_that_a_person_approves_are_filed(stack: Stack, runs: dict[str, Run]) -> None:
    """The person answers in Airflow's UI, which sends the same requests."""
    run = runs["suspicious_activity"]
    cases = asked_of_people(run, "review")
    assert len(cases) > 1
    assert not (run.folder / "filed.json").exists()

    answers = ["Approve", *["Reject"] * (len(cases) - 1)]
    answer_until_nothing_is_asked(run, answers)
    run.ended()

    filed = read_json(run.folder / "filed.json")
    assert filed["model_id"] == run.told("fit")["model_id"]
    assert [case["case"] for case in filed["cases"]] == [case["subject"] for case in cases]
    assert [case["decision"] for case in filed["cases"]] == answers
    assert {case["by"] for case in filed["cases"]} == {stack.user}
    drafts = [case.get("draft") for case in filed["cases"]]
    assert drafts == [cases[0]["body"], *[None] * (len(cases) - 1)]


def asked_of_people(run: Run, task_id: str) -> list[dict[str, Any]]:
    """What a mapped task asks, in its order, once all of it waits for a person."""
    for states in watched(run):
        waiting = {state for label, state in states.items() if label.startswith(f"{task_id}[")}
        if waiting == {"awaiting_input"}:
            break
        assert "failed" not in states.values(), run.failures()
    return open_questions(run)


def answer_until_nothing_is_asked(run: Run, answers: list[str]) -> None:
    """Answer by map index whenever asked: Airflow may retry a task whose answer came just as it parked."""
    for states in watched(run):
        for question in open_questions(run):
            index = question["task_instance"]["map_index"]
            place = f"{run.path}/taskInstances/{question['task_instance']['task_id']}/{index}/hitlDetails"
            run.stack.api.request("PATCH", place, {"chosen_options": [answers[index]], "params_input": {}})
        if states["record"] is not None:
            return


def watched(run: Run) -> Iterator[dict[str, str | None]]:
    """The states of the tasks, again and again, as long as a run may take."""
    deadline = time.monotonic() + RUN_LIMIT
    while True:
        run.stack.check()
        states = run.states()
        yield states
        assert time.monotonic() < deadline, states
        time.sleep(RUN_POLL)


def open_questions(run: Run) -> list[dict[str, Any]]:
    """What a person has not answered yet, in the order of the mapped tasks that ask."""
    asked = run.stack.api.request("GET", f"{run.path}/hitlDetails?response_received=false")["hitl_details"]
    return sorted(asked, key=lambda each: each["task_instance"]["map_index"])


class TestChurnWinback:
    @pytest.fixture(scope="class")
    @classmethod
    def run(cls, runs: dict[str, Run]) -> Run:
        assert set(runs["churn_winback"].ended().values()) == {"success"}
        return runs["churn_winback"]

    @pytest.fixture(scope="class")
    @classmethod
    def customers(cls, run: Run) -> pd.DataFrame:
        return pd.read_parquet(run.told("explain")["output_uri"]).set_index("customer", drop=False)

    def test_only_those_about_to_leave_are_grouped_and_searched_for_offers(
        self, run: Run, customers: pd.DataFrame
    ) -> None:
        leaving = customers[customers["prediction"] >= 0.5]
        assert 0 < len(leaving) < len(customers) == 250
        assert run.told("segment")["rows"] == len(leaving)
        offers = pd.read_json(run.told("scenario")["output_uri"], lines=True)
        assert set(offers["customer"]) == set(leaving["customer"])

    def test_the_offer_keeps_the_customer_who_is_called(
        self, stack: Stack, run: Run, customers: pd.DataFrame
    ) -> None:
        call = run.told("choose")
        customer = customers.loc[[call["customer"]]]
        offer = json.loads(call["offer"])
        assert offer.keys() <= {"contract", "discount_percent", "pays_automatically"}
        assert customer["prediction"].item() >= 0.5
        with client(stack) as asked:
            asked.load(run.told("fit")["model_id"])
            features = customer[asked.get_schema().feature_names]
            kept = features.assign(**{name: change["to"] for name, change in offer.items()})
            assert call["risk_then"] < 0.5
            assert float(asked.predict(kept)[0]) == pytest.approx(call["risk_then"])

    def test_the_report_shows_that_customer_in_business_words(self, run: Run) -> None:
        told = run.told("report")
        assert told["audience"] == "business"
        report = read_json(told["json_uri"])
        assert [row["identity"] for row in report["rows"]] == [run.told("choose")["customer"]]
        assert report["scenarios"]["shown"][0]["identity"] == run.told("choose")["customer"]
        assert "Risk of leaving" in Path(told["markdown_uri"]).read_text(encoding="utf-8")


class TestUnderwriting:
    DAYS = ("2025-01-06", "2025-01-07")

    @pytest.fixture(scope="class")
    @classmethod
    def home(cls, stack: Stack) -> Path:
        return stack.output / "underwriting"

    @pytest.fixture(scope="class")
    @classmethod
    def days(cls, stack: Stack) -> list[Run]:
        """The runs that catch up with the days that are over, in their order."""
        days = scheduled(stack, "underwriting", count=len(cls.DAYS))
        for run in days:
            assert set(run.ended().values()) == {"success"}
        return days

    @pytest.fixture(scope="class")
    @classmethod
    def codes(cls) -> dict[str, str]:
        with (EXAMPLES / "data" / "adverse_action.csv").open(encoding="utf-8") as file:
            return {row["code"]: row["feature"] for row in csv.DictReader(file)}

    @pytest.mark.parametrize("day", DAYS)
    def test_a_day_is_decided_with_reasons_for_what_is_not_approved(
        self, days: list[Run], home: Path, codes: dict[str, str], day: str
    ) -> None:
        applications = pd.read_csv(home / f"applications/day={day}/branches.csv")
        decisions = pd.read_csv(home / f"decisions/day={day}.csv").set_index("application")
        assert set(decisions.index) == set(applications["application"])
        assert len(decisions) == 15
        approved = decisions["low"] >= 0.5
        declined = decisions["high"] < 0.5
        assert set(decisions[approved]["decision"]) == {"approve"}
        assert set(decisions[declined]["decision"]) <= {"decline"}
        assert set(decisions[~approved & ~declined]["decision"]) <= {"refer"}
        assert decisions[approved]["reason_1_code"].isna().all()
        reasoned = decisions[~approved]
        assert not reasoned.empty
        assert reasoned["reason_1_code"].map(codes).tolist() == reasoned["reason_1_feature"].tolist()

    def test_the_trail_has_a_record_of_each_decision(self, days: list[Run], home: Path) -> None:
        for run, day in zip(days, self.DAYS, strict=True):
            with (home / f"decisions/day={day}.csv").open(encoding="utf-8") as file:
                decisions = [row | {"model_id": "underwriting-2025"} for row in csv.DictReader(file)]
            records = trail(home, day)
            assert [record["decided"] for record in records] == decisions
            (made_with,) = {(r["fingerprint"], r["run_id"], r["provider_version"]) for r in records}
            assert made_with[:2] == (run.told("score")["fingerprint"], run.run_id)
            assert all(len(record["manifest_sha256"]) == 64 for record in records)

    def test_a_report_says_what_changed_since_the_day_before(self, days: list[Run]) -> None:
        first, second = (read_json(run.told("report")["json_uri"]) for run in days)
        assert first["changes"] is None
        assert second["changes"]["earlier_made_at"] == first["made_at"]
        assert second["calibrated"]["rows"] == 15

    def test_a_day_that_is_done_again_comes_to_the_same_and_a_trail_that_disagrees_stays(
        self, days: list[Run], home: Path
    ) -> None:
        first, day = days[0], self.DAYS[0]
        made = [home / f"decisions/day={day}.csv", home / f"audit/day={day}.jsonl"]
        before = [path.read_bytes() for path in made]
        first.clear()
        assert set(first.ended().values()) == {"success"}
        assert [path.read_bytes() for path in made] == before

        forged = before[1].replace(b'"approve"', b'"decline"')
        assert forged != before[1]
        made[1].write_bytes(forged)
        first.clear("audit")
        first.ended()
        assert first.states()["audit"] == "failed"
        assert made[1].read_bytes() == forged


def trail(home: Path, day: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (home / f"audit/day={day}.jsonl").read_text().splitlines()]


class TestLeadScoring:
    """The model in use is a weak one at first; the schedule's run trains a better candidate, ours a worse."""

    @pytest.fixture(scope="class")
    @classmethod
    def better(cls, stack: Stack) -> Run:
        (run,) = scheduled(stack, "lead_scoring", count=1)
        run.ended()
        return run

    @pytest.fixture(scope="class")
    @classmethod
    def worse(cls, stack: Stack, better: Run) -> Run:
        run = start(stack, "lead_scoring", conf={"weeks": 1})
        run.ended()
        return run

    def test_a_better_candidate_is_promoted_and_its_asset_tells(self, stack: Stack, better: Run) -> None:
        found = better.told("measure")
        assert found["in_use"] == WEAK_MODEL
        assert found["auc_candidate"] > max(0.7, found["auc_in_use"])
        assert decided(better) == "promote"
        (event,) = stack.api.request("GET", "/assets/events?source_dag_id=lead_scoring")["asset_events"]
        assert event["extra"]["candidate"] == found["candidate"]
        assert better.told("score")["model_id"] == found["candidate"]

    def test_a_worse_candidate_is_kept_out_and_the_reason_is_told(
        self, stack: Stack, better: Run, worse: Run
    ) -> None:
        found = worse.told("measure")
        assert found["in_use"] == better.told("measure")["candidate"]
        assert found["auc_candidate"] < found["auc_in_use"]
        assert decided(worse) == "keep"
        assert worse.told("keep").startswith(f"{found['in_use']} stays: AUC {found['auc_in_use']:.3f}")
        assert worse.told("score")["model_id"] == found["in_use"]
        assert stack.api.request("GET", "/variables/lead_scoring_model")["value"] == found["in_use"]

    def test_the_leads_of_the_week_are_scored_and_reported(self, better: Run, worse: Run) -> None:
        for run in (better, worse):
            assert len(pd.read_csv(run.told("score")["output_uri"])) == 50
        report = read_json(worse.told("report")["json_uri"])
        assert report["comparison"]["verdict"] == worse.told("compare")["verdict"] == "drift"


def decided(run: Run) -> str:
    """Which of the two branches was taken."""
    states = run.states()
    assert {states["promote"], states["keep"]} == {"success", "skipped"}
    return "promote" if states["promote"] == "success" else "keep"


def put_a_weak_model_to_use(stack: Stack) -> None:
    """Train on leads of which most outcomes were lost, and name that model as the one in use."""
    leads = pd.read_csv(EXAMPLES / "data" / "leads.csv").head(40).drop(columns=["lead", "week"])
    with client(stack) as trained:
        trained.fit(leads, target="won", model_id=WEAK_MODEL, mode="fast")
    stack.api.request("POST", "/variables", {"key": "lead_scoring_model", "value": WEAK_MODEL})
