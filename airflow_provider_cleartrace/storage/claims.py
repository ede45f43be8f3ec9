"""One task at a time writes an output: whoever does says so beside it, and says so again and again.

A claim is a small file with a number. The highest number holds the place; the next is taken by creating its
file, which a disk and S3 both let one alone do. Whoever held the place finds out at its next look. There are
no locks: S3 has none, and those of a shared disk may stay with a machine that is gone.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from airflow_provider_cleartrace.storage.errors import StorageError
from airflow_provider_cleartrace.storage.locations import Location
from airflow_provider_cleartrace.storage.publishing import publish_bytes

RENEWED_EVERY = 20.0
"""Seconds between two signs of life."""

LEASE = 120.0
"""Seconds that a place stays taken after the last sign of life: a few may be late, or lost on the way."""

CONTESTS = 5
"""How often a number is tried for while others take it at the same moment."""

_NUMBER = re.compile(r"\d{6}")


class OutputInUseError(StorageError):
    """Another task writes the same output, or has taken it over; nothing of it was touched."""


@dataclass(frozen=True)
class Claimant:
    """A try of a task instance.

    Attributes:
        task: DAG, task, run and map index.
        attempt: Which try it is.
    """

    task: tuple[Any, ...]
    attempt: int

    def __str__(self) -> str:
        dag, task, run, index = self.task
        mapped = "" if index == -1 else f", map index {index}"
        return f"task {task!r} of DAG {dag!r}, run {run!r}{mapped}, try {self.attempt}"

    def may_follow(self, other: Claimant) -> bool:
        """Whether this is the same task instance, in no earlier try: Airflow has given up the other."""
        return self.task == other.task and self.attempt >= other.attempt

    def is_sibling(self, task: Any) -> bool:
        """Whether another map index of the same task in the same run is meant."""
        *own, index = self.task
        *theirs, other_index = task or [None]
        return own == theirs and index != other_index


@dataclass(frozen=True)
class _Held:
    """A claim that was found."""

    claimant: Claimant | None
    age: float


class Claim:
    """Holds the place of an output for as long as the block lasts.

    Args:
        target: The output.
        folder: Where its claims lie.
        claimant: Who claims.
    """

    def __init__(self, target: Location, folder: Location, claimant: Claimant) -> None:
        self._target = target
        self._folder = folder
        self._claimant = claimant
        told = {"task": claimant.task, "try": claimant.attempt, "token": secrets.token_hex(8)}
        self._content = json.dumps(told).encode()
        self._number = 0
        self._lost = False
        self._ended = threading.Event()
        self._renewing = threading.Thread(target=self._renew, name="output-claim", daemon=True)

    def __enter__(self) -> Self:
        """Take the place.

        Raises:
            OutputInUseError: another task has it, and showed life within the last :data:`LEASE` seconds.
            StorageError: the place cannot be written.
        """
        try:
            self._take()
        except OutputInUseError:
            raise
        except StorageError as error:
            reason = str(error).rpartition(": ")[2]
            raise StorageError(f"{self._target.uri}: cannot be written: {reason}") from None
        self._renewing.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._renewing.join()
        with contextlib.suppress(Exception):  # a claim that cannot be deleted runs out
            if self._place.read_bytes() == self._content:
                self._place.delete()

    @property
    def _place(self) -> Location:
        return self._folder.child(f"{self._number:06d}")

    def check(self) -> None:
        """Make sure that the place is still ours.

        Raises:
            OutputInUseError: it was taken over.
        """
        if not self._holds():
            heir = _named(self._found(self._numbers()))
            raise OutputInUseError(
                f"{self._target.uri}: taken over by {heir}; this task published nothing, and ends"
            )

    def is_held(self) -> bool:
        """Whether the place is still ours, as far as that can be known."""
        try:
            return self._holds()
        except StorageError:
            return False

    def _take(self) -> None:
        for _ in range(CONTESTS):
            before = self._numbers()
            held = self._found(before)
            if held is not None:
                self._refuse(held)
            self._number = max(before, default=0) + 1
            if self._place.put_new(self._content):
                break
        else:
            raise OutputInUseError(f"{self._target.uri}: other tasks begin to write it at this very moment")
        if set(self._numbers()) - {self._number, *before}:
            # Somebody came in between the look and the number: one of the two must go.
            self._place.delete()
            raise OutputInUseError(f"{self._target.uri}: another task begins to write it at this very moment")
        for name in set(self._folder.names()) - {self._place.name}:
            self._folder.child(name).delete()

    def _refuse(self, held: _Held) -> None:
        """Refuse to take over from somebody who is alive."""
        if held.age > LEASE or (held.claimant is not None and self._claimant.may_follow(held.claimant)):
            return
        advice = f"it showed life {held.age:.0f} s ago; if it was killed, try again {LEASE:.0f} s after that"
        if held.claimant is not None and self._claimant.is_sibling(held.claimant.task):
            advice = shared_place(held.claimant.task, self._claimant)
        raise OutputInUseError(f"{self._target.uri}: being written by {_named(held)}: {advice}")

    def _numbers(self) -> list[int]:
        return sorted(int(name) for name in self._folder.names() if _NUMBER.fullmatch(name))

    def _found(self, numbers: list[int]) -> _Held | None:
        """The claim that counts; none where there is none, or it ended just now."""
        if not numbers:
            return None
        place = self._folder.child(f"{numbers[-1]:06d}")
        try:
            return _Held(_claimant_of(place.read_bytes()), place.age())
        except StorageError:
            return None

    def _holds(self) -> bool:
        if not self._lost:
            is_last = self._numbers()[-1:] == [self._number]
            self._lost = not (is_last and self._place.read_bytes() == self._content)
        return not self._lost

    def _renew(self) -> None:
        while not self._ended.wait(RENEWED_EVERY):
            # What goes wrong here may pass; if it lasts, the next check finds what came of it.
            with contextlib.suppress(Exception):
                if not self._holds():
                    return
                publish_bytes(self._place, self._content)


def shared_place(task: Any, claimant: Claimant) -> str:
    """What to do about two map indexes with one output."""
    return (
        f"the map indexes {task[-1]} and {claimant.task[-1]} of this run write to the same place: put"
        " {{ ti.map_index }} into output_uri, or delete the output if the mapping changed"
    )


def _claimant_of(content: bytes) -> Claimant | None:
    """Who wrote a claim; None where it is just being written."""
    try:
        told: Mapping[str, Any] = json.loads(content)
        return Claimant(tuple(told["task"]), told["try"])
    except (ValueError, KeyError, TypeError):
        return None


def _named(held: _Held | None) -> str:
    return "another task" if held is None or held.claimant is None else str(held.claimant)
