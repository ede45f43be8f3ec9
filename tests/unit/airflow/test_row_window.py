"""Parts are handed on as soon as they end, however few of their rows are asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from airflow_provider_cleartrace.operators.rows.asking import Answered
from airflow_provider_cleartrace.operators.rows.pipeline import in_order
from airflow_provider_cleartrace.operators.rows.reader import Batch, PartEnd

PARTS = 50


class Reading:
    """Items of an input, and how many of them were read so far."""

    def __init__(self, *parts_with_rows: int) -> None:
        self.read = 0
        self._with_rows = set(parts_with_rows)

    def __iter__(self) -> Iterator[Batch | PartEnd]:
        for part in range(PARTS):
            if part in self._with_rows:
                self.read += 1
                yield Batch(part)
            self.read += 1
            yield PartEnd(part, {})


async def answer(batch: Batch) -> Answered:
    return Answered(batch.part)


async def read_at_each(reading: Reading) -> list[tuple[Answered | PartEnd, int]]:
    return [(item, reading.read) async for item in in_order(iter(reading), answer, max_in_flight=4)]


def test_a_part_without_a_row_to_ask_for_ends_before_the_next_is_read() -> None:
    handed_on = asyncio.run(read_at_each(Reading()))
    assert [read for _, read in handed_on] == list(range(1, PARTS + 1))


def test_an_answer_is_handed_on_before_the_parts_behind_it_are_read() -> None:
    handed_on = asyncio.run(read_at_each(Reading(0)))
    assert [(type(item), item.part) for item, _ in handed_on[:2]] == [(Answered, 0), (PartEnd, 0)]
    assert handed_on[0][1] == 2, "the batch and the end of its part"


def test_parts_with_rows_are_still_asked_for_side_by_side() -> None:
    asked: list[int] = []
    full = asyncio.Event()

    async def slow(batch: Batch) -> Answered:
        asked.append(batch.part)
        if len(asked) == 4:
            full.set()
        await full.wait()
        return Answered(batch.part)

    async def run() -> list[int]:
        items = in_order(iter(Reading(*range(PARTS))), slow, max_in_flight=4)
        return [item.part async for item in items if isinstance(item, Answered)]

    assert asyncio.run(asyncio.wait_for(run(), 30)) == list(range(PARTS))
