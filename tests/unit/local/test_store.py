"""The queue's record: one job for one submit, one publisher for one job."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from airflow_provider_cleartrace.local.records import Job
from airflow_provider_cleartrace.local.refusals import NotFound, NotReady, QueueFull, Taken
from airflow_provider_cleartrace.local.store import Store

OWNER = "0123456789abcdef"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "state.db")


def submit(
    store: Store,
    kind: str = "fit",
    *,
    owner: str = OWNER,
    model_id: str = "m",
    fingerprint: str = "a",
    folder: str = "f",
    length: int = 10,
    share: int = 10,
) -> Job:
    return store.submit(
        owner,
        model_id,
        kind,
        fingerprint=fingerprint,
        folder=folder,
        queue_length=length,
        queue_share=share,
    )


def claimed(store: Store) -> Job:
    job = store.claim()
    assert job is not None
    return job


def trained(store: Store) -> Job:
    submit(store)
    job = claimed(store)
    assert store.complete(job)
    return job


class TestSubmit:
    def test_the_same_work_is_the_same_job_while_it_waits_runs_and_is_done(self, store: Store) -> None:
        first = submit(store, folder="one")
        assert submit(store, folder="two") == first
        job = claimed(store)
        assert submit(store).job_id == first.job_id
        store.complete(job)
        assert submit(store).job_id == first.job_id

    def test_a_failed_job_is_tried_anew(self, store: Store) -> None:
        first = submit(store)
        store.fail(claimed(store), "no")
        assert submit(store).job_id != first.job_id

    @pytest.mark.parametrize(("kind", "fingerprint"), [("fit", "b"), ("fit_distill", "a")])
    def test_other_work_waits_for_the_end(self, store: Store, kind: str, fingerprint: str) -> None:
        first = submit(store)
        with pytest.raises(Taken, match="pending"):
            submit(store, kind, fingerprint=fingerprint)
        store.complete(claimed(store))
        assert submit(store, kind, fingerprint=fingerprint).job_id != first.job_id

    def test_a_full_queue_takes_no_job_and_makes_no_model(self, store: Store) -> None:
        with pytest.raises(QueueFull):
            submit(store, length=0)
        assert not store.model_exists(OWNER, "m")

    def test_an_analysis_needs_a_trained_model(self, store: Store) -> None:
        with pytest.raises(NotFound):
            submit(store, "segment")
        submit(store)
        with pytest.raises(NotReady, match="pending"):
            submit(store, "segment")

    def test_threads_that_submit_the_same_get_one_job(self, store: Store) -> None:
        found: list[int] = []
        threads = [threading.Thread(target=lambda: found.append(submit(store).job_id)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 8
        assert len(set(found)) == 1


class TestFairness:
    def test_owners_take_turns_whatever_the_length_of_their_queues(self, store: Store) -> None:
        for owner, jobs in (("a", 5), ("b", 2), ("c", 1)):
            for number in range(jobs):
                submit(store, owner=owner, model_id=f"m{number}")
        order = [claimed(store) for _ in range(8)]
        assert [job.owner for job in order] == ["a", "b", "c", "a", "b", "a", "a", "a"]
        assert [job.model_id for job in order if job.owner == "a"] == ["m0", "m1", "m2", "m3", "m4"]

    def test_one_who_comes_late_is_next_and_gets_no_more_than_a_turn(self, store: Store) -> None:
        for number in range(4):
            submit(store, owner="a", model_id=f"m{number}")
        assert [claimed(store).owner, claimed(store).owner] == ["a", "a"]
        for number in range(2):
            submit(store, owner="b", model_id=f"m{number}")
        assert [claimed(store).owner for _ in range(4)] == ["b", "a", "b", "a"]

    def test_turns_outlast_the_server(self, tmp_path: Path) -> None:
        first = Store(tmp_path / "state.db")
        for owner in ("a", "b"):
            for number in range(2):
                submit(first, owner=owner, model_id=f"m{number}")
        assert claimed(first).owner == "a"
        assert claimed(Store(tmp_path / "state.db")).owner == "b"

    def test_one_owner_cannot_fill_the_queue(self, store: Store) -> None:
        for number in range(2):
            submit(store, owner="a", model_id=f"m{number}", length=4, share=2)
        with pytest.raises(QueueFull, match="of this key"):
            submit(store, owner="a", model_id="m2", length=4, share=2)
        assert submit(store, owner="b", length=4, share=2).owner == "b"


class TestFencing:
    def test_an_orphan_of_an_earlier_attempt_cannot_publish(self, store: Store) -> None:
        submit(store)
        orphan = claimed(store)
        assert store.requeue_interrupted() == 1
        current = claimed(store)
        assert (current.job_id, current.attempt) == (orphan.job_id, 2)
        assert not store.complete(orphan)
        store.fail(orphan, "late")
        assert store.is_current(current)
        assert store.complete(current)
        assert store.training(OWNER, "m").artefact == current.artefact_name

    def test_a_cancelled_job_cannot_publish(self, store: Store) -> None:
        submit(store)
        job = claimed(store)
        store.cancel(job)
        assert not store.is_current(job)
        assert not store.complete(job)
        assert (store.job(job.job_id).status, store.job(job.job_id).error) == ("failed", "cancelled")

    def test_a_finished_job_cannot_be_cancelled(self, store: Store) -> None:
        job = trained(store)
        store.cancel(job)
        assert store.job(job.job_id).status == "completed"

    def test_an_analysis_of_a_replaced_model_fails(self, store: Store) -> None:
        trained(store)
        submit(store, "segment")
        analysis = claimed(store)
        submit(store, fingerprint="b")
        store.complete(claimed(store))
        assert not store.complete(analysis)
        assert "anew" in str(store.job(analysis.job_id).error)


class TestModels:
    def test_a_new_model_replaces_the_old_one_only_when_complete(self, store: Store) -> None:
        first = trained(store)
        submit(store, fingerprint="b")
        second = claimed(store)
        assert store.training(OWNER, "m").job_id == first.job_id
        store.complete(second)
        assert store.training(OWNER, "m").job_id == second.job_id
        assert store.live_artefacts() == [second.artefact_name]

    def test_live_artefacts_are_the_model_and_its_own_analyses(self, store: Store) -> None:
        model = trained(store)
        submit(store, "segment")
        segments = claimed(store)
        store.complete(segments)
        assert sorted(store.live_artefacts()) == sorted([model.artefact_name, segments.artefact_name])
        found = store.latest_completed(OWNER, "m", "segment", based_on=model.job_id)
        assert found is not None
        assert found.job_id == segments.job_id

    def test_an_owner_sees_only_its_own(self, store: Store) -> None:
        trained(store)
        with pytest.raises(NotFound):
            store.training("another", "m")
        assert store.latest("another", "m") is None

    def test_an_untrained_model_says_why(self, store: Store) -> None:
        store.announce_upload(OWNER, "m", "csv")
        with pytest.raises(NotReady, match="no fit was submitted"):
            store.training(OWNER, "m")
        submit(store)
        store.fail(claimed(store), "row 3 is ragged")
        with pytest.raises(NotReady, match="row 3 is ragged"):
            store.training(OWNER, "m")
