"""What one look at a job means, and when the next one is due."""

from __future__ import annotations

import statistics

import pytest

from airflow_provider_cleartrace.api.errors import (
    AuthenticationError,
    JobFailedError,
    JobStalledError,
    NotFoundError,
    OuterProductError,
    PollTimeoutError,
    RateLimitError,
    ServerError,
    TransportError,
)
from airflow_provider_cleartrace.api.models import StatusResult
from airflow_provider_cleartrace.client.polling import Ended, Ending, Patience, Poller, Wait


def status(word: str, **fields: str) -> StatusResult:
    return StatusResult(model_id="m", status=word, **fields)


def poller(deadline: float | None = None, **patience: float) -> Poller:
    return Poller(Patience(**patience), started=0.0, deadline=deadline)


def delays(poller: Poller, count: int) -> list[float]:
    verdicts = [poller.on_status(status("running"), now=0.0) for _ in range(count)]
    return [verdict.delay for verdict in verdicts if isinstance(verdict, Wait)]


class TestPace:
    def test_delays_grow_from_the_poll_interval_to_the_cap_with_a_fifth_of_jitter(self) -> None:
        seen = delays(poller(poll_interval=2.0, max_interval=30.0), 12)

        for attempt, delay in enumerate(seen):
            middle = min(30.0, 2.0 * 1.5**attempt)
            assert 0.8 * middle <= delay <= 1.2 * middle

    def test_two_pollers_do_not_look_at_the_same_instants(self) -> None:
        assert delays(poller(), 5) != delays(poller(), 5)

    def test_a_job_of_an_hour_costs_at_most_130_looks(self) -> None:
        def looks_in_an_hour() -> int:
            watched, now, looks = poller(), 0.0, 0
            while now < 3600:
                verdict = watched.on_status(status("running"), now)
                assert isinstance(verdict, Wait)
                now += verdict.delay
                looks += 1
            return looks

        seen = [looks_in_an_hour() for _ in range(50)]

        assert 115 <= statistics.mean(seen) <= 130
        assert max(seen) <= 135  # chance moves one wait by a look or two

    def test_a_wait_of_days_does_not_overflow(self) -> None:
        assert len(delays(poller(), 5000)) == 5000

    def test_retry_after_is_never_undercut(self) -> None:
        verdict = poller(poll_interval=0.1).on_error(RateLimitError("slow down", retry_after=7.0), now=0.0)

        assert isinstance(verdict, Wait)
        assert verdict.delay >= 7.0


class TestDeadline:
    def test_the_last_look_falls_on_the_deadline(self) -> None:
        watched = poller(deadline=10.0, poll_interval=60.0, max_interval=60.0)

        assert watched.on_status(status("running"), now=4.0) == Wait(6.0)

    def test_a_job_that_ended_in_time_is_not_reported_late(self) -> None:
        verdict = poller(deadline=10.0).on_status(status("completed"), now=10.0)

        assert isinstance(verdict, Ended)
        assert verdict.ending is Ending.COMPLETED

    def test_past_the_deadline_the_first_look_decides(self) -> None:
        verdict = poller(deadline=10.0).on_status(status("running"), now=50.0)

        assert isinstance(verdict, Ended)
        assert verdict.ending is Ending.TIMEOUT
        assert verdict.elapsed == 50.0
        error = verdict.error(model_id="m", job="fit")
        assert isinstance(error, PollTimeoutError)
        assert "may still run" in str(error)
        assert (error.elapsed, error.model_id) == (50.0, "m")


class TestEndings:
    def test_a_failed_job_carries_the_service_s_reason(self) -> None:
        verdict = poller().on_status(status("failed", error="target is constant"), now=3.0)

        assert isinstance(verdict, Ended)
        error = verdict.error(model_id="m-1", job="fit")
        assert isinstance(error, JobFailedError)
        assert str(error) == "ClearTrace fit of model 'm-1' failed: target is constant"

    def test_an_unknown_status_is_borne_for_a_while_and_then_named(self) -> None:
        watched = poller(unknown=100.0)

        assert isinstance(watched.on_status(status("PAUSED"), now=0.0), Wait)
        assert isinstance(watched.on_status(status("PAUSED"), now=99.0), Wait)
        verdict = watched.on_status(status("PAUSED"), now=100.0)

        assert isinstance(verdict, Ended)
        assert verdict.ending is Ending.REFUSED
        assert "'PAUSED'" in verdict.reason

    def test_a_known_status_forgives_the_unknown_ones_before_it(self) -> None:
        watched = poller(unknown=100.0)
        watched.on_status(status("PAUSED"), now=0.0)
        watched.on_status(status("running"), now=50.0)

        assert isinstance(watched.on_status(status("PAUSED"), now=120.0), Wait)


class TestStandstill:
    def running(self, progress: float) -> StatusResult:
        return StatusResult(model_id="m", status="running", progress=progress)

    def test_ends_the_wait_when_neither_status_nor_progress_moves(self) -> None:
        watched = poller(stall=60.0)
        watched.on_status(self.running(0.1), now=10.0)

        assert isinstance(watched.on_status(self.running(0.1), now=69.0), Wait)
        verdict = watched.on_status(self.running(0.1), now=70.0)
        assert isinstance(verdict, Ended)
        assert verdict.ending is Ending.STALLED
        assert verdict.gave_up
        error = verdict.error(model_id="m", job="fit", fate="it was cancelled", page="http://h/#m")
        assert isinstance(error, JobStalledError)
        assert str(error) == (
            "ClearTrace fit of model 'm' does not move: 'running', no progress for 60 s; it was cancelled; "
            "see http://h/#m"
        )

    def test_is_over_with_each_change(self) -> None:
        watched = poller(stall=60.0)
        for now in range(0, 3000, 50):
            assert isinstance(watched.on_status(self.running(now / 3000), now=float(now)), Wait)

    def test_does_not_count_the_time_in_which_no_look_succeeded(self) -> None:
        watched = poller(stall=60.0)
        watched.on_status(self.running(0.1), now=10.0)
        watched.on_status(self.running(0.1), now=40.0)
        for now in (50.0, 400.0):
            assert isinstance(watched.on_error(TransportError("gone"), now=now), Wait)

        assert isinstance(watched.on_status(self.running(0.1), now=500.0), Wait)
        assert isinstance(watched.on_status(self.running(0.1), now=529.0), Wait)
        verdict = watched.on_status(self.running(0.1), now=530.0)
        assert isinstance(verdict, Ended)
        assert verdict.reason == "'running', no progress for 60 s"

    def test_is_borne_for_ever_where_nobody_set_a_limit(self) -> None:
        watched = poller()
        assert isinstance(watched.on_status(self.running(0.1), now=1.0), Wait)
        assert isinstance(watched.on_status(self.running(0.1), now=1e6), Wait)

    def test_as_pending_from_the_start_tells_that_nothing_was_submitted(self) -> None:
        # Counted from the start of the wait: a poller in another triggerer goes on where this one stopped.
        verdict = poller(unstarted=900.0).on_status(status("pending"), now=900.0)

        assert isinstance(verdict, Ended)
        assert verdict.ending is Ending.NOT_STARTED
        assert not verdict.gave_up

    def test_as_pending_tells_nothing_of_a_job_that_was_seen_to_run(self) -> None:
        watched = poller(unstarted=900.0)
        watched.on_status(status("running"), now=10.0)

        assert isinstance(watched.on_status(status("pending"), now=2000.0), Wait)


class TestOutage:
    @pytest.mark.parametrize(
        "error",
        [
            TransportError("reset"),
            RateLimitError("429"),
            ServerError("500", status_code=500),
            ServerError("503", status_code=503),
            ServerError("truncated JSON", status_code=200),
        ],
    )
    def test_a_passing_error_is_borne_by_time_not_by_count(self, error: OuterProductError) -> None:
        watched = poller(outage=900.0)

        verdicts = [watched.on_error(error, now=float(second)) for second in range(0, 900, 10)]

        assert all(isinstance(verdict, Wait) for verdict in verdicts)
        lost = watched.on_error(error, now=900.0)
        assert isinstance(lost, Ended)
        assert lost.ending is Ending.LOST
        assert "may still run" in str(lost.error(model_id="m", job="fit"))

    def test_goes_on_in_a_poller_that_continues_the_wait(self) -> None:
        continued = Poller(Patience(outage=900.0), started=0.0, memory={"last_answer": 100.0})

        assert isinstance(continued.on_error(TransportError("reset"), now=999.0), Wait)
        assert isinstance(continued.on_error(TransportError("reset"), now=1000.0), Ended)

    def test_one_good_answer_starts_the_count_anew(self) -> None:
        watched = poller(outage=100.0)
        watched.on_error(TransportError("reset"), now=90.0)
        watched.on_status(status("running"), now=95.0)

        assert isinstance(watched.on_error(TransportError("reset"), now=190.0), Wait)

    def test_a_missing_model_is_awaited_shortly_after_the_start_only(self) -> None:
        watched = poller(missing=60.0)

        assert isinstance(watched.on_error(NotFoundError("404"), now=59.0), Wait)
        verdict = watched.on_error(NotFoundError("404"), now=60.0)
        assert isinstance(verdict, Ended)
        assert isinstance(verdict.error(model_id="m", job="fit"), NotFoundError)

    def test_a_refused_key_ends_the_wait_at_once_and_keeps_its_type(self) -> None:
        verdict = poller().on_error(AuthenticationError("401"), now=0.0)

        assert isinstance(verdict, Ended)
        assert isinstance(verdict.error(model_id="m", job="fit"), AuthenticationError)
