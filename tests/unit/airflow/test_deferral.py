"""What crosses from the worker to the triggerer and back, in this version and in those before."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_cleartrace.api.errors import OuterProductError, ValidationError
from airflow_provider_cleartrace.client.polling import Ending
from airflow_provider_cleartrace.triggers.deferral import (
    EXECUTION_MARGIN,
    backstop_of,
    check_travels,
    deadline_of,
    ended_from_event,
)
from airflow_provider_cleartrace.triggers.job import ClearTraceJobTrigger

GOLDEN = Path(__file__).parent / "golden"
START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def golden(kind: str) -> list[Any]:
    """What was deferred by released versions, and by this one."""
    paths = sorted(GOLDEN.glob(f"{kind}-*.json"))
    return [pytest.param(json.loads(path.read_text()), id=path.stem) for path in paths]


@pytest.mark.parametrize("deferred", golden("trigger"))
def test_a_trigger_that_an_older_version_deferred_still_loads(deferred: dict[str, Any]) -> None:
    module, _, name = deferred["classpath"].rpartition(".")
    assert (module, name) == (ClearTraceJobTrigger.__module__, ClearTraceJobTrigger.__qualname__)
    _, arguments = ClearTraceJobTrigger(**deferred["kwargs"]).serialize()
    assert deferred["kwargs"].items() <= arguments.items()


@pytest.mark.parametrize("event", golden("event"))
def test_an_event_of_an_older_version_is_still_understood(event: dict[str, Any]) -> None:
    ended = ended_from_event(event)
    assert ended.ending is Ending(event["ending"])
    assert ended.elapsed == event["elapsed"]


@pytest.mark.parametrize("event", [None, {}, {"ending": "unheard of"}])
def test_a_resume_without_an_event_of_ours_fails(event: Any) -> None:
    with pytest.raises(OuterProductError, match="may still run"):
        ended_from_event(event)


def trigger(**arguments: Any) -> ClearTraceJobTrigger:
    return ClearTraceJobTrigger("m", "fit", "cleartrace_default", **{"started": 0.0} | arguments)


@pytest.mark.parametrize("odd", [(1, 2), {1: "key"}, dt.timedelta(1), float("nan"), Path("x"), {"a": {1}}])
def test_what_no_json_can_carry_is_refused_by_name(odd: Any) -> None:
    with pytest.raises(ValidationError, match="receipt must be plain JSON"):
        check_travels(trigger(receipt={"odd": odd}))


def test_a_plain_trigger_travels() -> None:
    check_travels(trigger(receipt={"data": "ü", "bytes": 1, "list": [1.5, None, True]}))


def limit(timeout: float, execution_timeout: dt.timedelta | None, begun: float = 100.0) -> float:
    context = {"ti": SimpleNamespace(start_date=START)}
    begun += START.timestamp()
    deadline = deadline_of(context, begun=begun, timeout=timeout, execution_timeout=execution_timeout)
    return deadline - START.timestamp()


class TestTheDeadline:
    def test_is_the_timeout_from_the_beginning_of_the_wait(self) -> None:
        assert limit(3600, None) == 3700

    def test_ends_a_margin_before_airflow_s_execution_timeout(self) -> None:
        assert limit(24 * 3600, dt.timedelta(hours=1)) == 3600 - EXECUTION_MARGIN
        assert limit(24 * 3600, dt.timedelta(seconds=50)) == 45

    def test_does_not_move_when_the_task_is_deferred_again(self) -> None:
        hour = dt.timedelta(hours=1)
        assert limit(24 * 3600, hour, begun=1.0) == limit(24 * 3600, hour, begun=2000.0)

    def test_is_the_sooner_of_the_two(self) -> None:
        assert limit(60, dt.timedelta(hours=1)) == 160

    def test_lies_before_airflow_s_own_backstop(self) -> None:
        backstop = backstop_of(trigger(deadline=0.0))
        assert backstop is not None
        assert backstop > dt.timedelta(0)
        assert backstop_of(trigger()) is None
