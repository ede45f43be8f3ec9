"""A watcher hears of each completed job once."""

from __future__ import annotations

from airflow_provider_cleartrace.api.models import StatusResult
from airflow_provider_cleartrace.triggers.completions import REMEMBERED, Completions


def shown(word: str, job_id: str | None = None, model_id: str = "m") -> StatusResult:
    return StatusResult(model_id=model_id, status=word, job="fit", job_id=job_id)


def news(completions: Completions, *looks: StatusResult) -> list[bool]:
    return [completions.is_news(look) for look in looks]


def watching(**options: bool) -> Completions:
    """A first watch that finds the model ``m``."""
    completions = Completions(**options)
    completions.begin(["m"])
    return completions


def test_a_job_that_ends_while_it_is_watched_is_news_once() -> None:
    looks = [shown("pending", "1"), shown("running", "1"), shown("completed", "1"), shown("completed", "1")]
    assert news(watching(), *looks) == [False, False, True, False]


def test_a_new_training_is_news_even_when_it_was_never_seen_running() -> None:
    looks = [shown("completed", "1"), shown("completed", "2"), shown("completed", "2")]
    assert news(watching(), *looks) == [False, True, False]


def test_what_was_complete_before_is_news_only_on_request() -> None:
    assert news(watching(), shown("completed", "1")) == [False]
    assert news(watching(include_existing=True), shown("completed", "1"), shown("completed", "1")) == [
        True,
        False,
    ]


def test_a_model_that_appears_later_is_news_when_it_is_first_seen() -> None:
    assert news(watching(), shown("completed", "7", "new")) == [True]


def test_a_job_that_fails_is_no_news_and_hides_none() -> None:
    looks = [shown("completed", "1"), shown("failed", "2"), shown("completed", "1"), shown("completed", "3")]
    assert news(watching(), *looks) == [False, False, False, True]


def test_without_job_ids_a_completion_is_new_after_a_gap() -> None:
    words = ["completed", "completed", "running", "completed", "completed", "absent", "completed"]
    assert news(watching(), *map(shown, words)) == [False, False, False, True, False, False, True]


def test_what_is_remembered_is_no_news_after_a_restart() -> None:
    first = watching()
    news(first, shown("running", "1"), shown("completed", "1"))

    again = Completions(first.marks)
    again.begin(["m", "other"])
    assert news(again, shown("completed", "1"), shown("completed", "2")) == [False, True]
    assert news(again, shown("completed", "9", "other")) == [True]


def test_the_models_seen_longest_ago_are_forgotten_first() -> None:
    completions = watching()
    news(completions, *(shown("completed", "1", f"m{number}") for number in range(REMEMBERED)))
    news(completions, shown("completed", "1", "m0"), shown("completed", "1", "one more"))

    assert len(completions.marks) == REMEMBERED
    assert "m1" not in completions.marks
    assert {"m0", "one more"} <= completions.marks.keys()
