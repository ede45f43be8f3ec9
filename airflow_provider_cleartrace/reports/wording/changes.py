"""What a report says of its predecessor: figures that moved, then and now."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_provider_cleartrace.reports.facts import Changes, DriverMove, Moved
from airflow_provider_cleartrace.reports.wording.figures import Part, decimal, number, percent, points, signed
from airflow_provider_cleartrace.reports.wording.vocabulary import Vocabulary

_PREDICTIONS = frozenset({"predictions.mean", "predictions.median"})


@dataclass(frozen=True)
class ChangeWords:
    """The wording of what is different from an earlier report."""

    words: Vocabulary
    told: Changes

    def same(self) -> str:
        """Whether model and data are those of the earlier report."""
        model = (
            "The model is the same" if self.told.same_model else f"The model was {self.told.earlier_model_id}"
        )
        data = {
            True: "the data is the same",
            False: "the data is other",
            None: "whether the data is the same is not known",
        }
        return f"{model}; {data[self.told.same_data]}."

    def moved(self) -> list[tuple[str, tuple[Moved, ...], str]]:
        """The comparisons with the earlier report: their headings, figures, and what these are.

        A figure that one of the reports lacks has not moved; a persona or reason that came or went has.
        """
        words, share = self.words, self.words["share"].lower()
        figures = tuple(move for move in self.told.figures if None not in (move.before, move.after))
        listed = [
            (words["key_figures"], figures, "figure"),
            (f"{words['personas']}: {share}", self.told.personas, "share"),
            (f"{words['reasons']}: {share}", self.told.reasons, "share"),
        ]
        return [
            (title, tuple(move for move in moves if move.difference != 0), kind)
            for title, moves, kind in listed
        ]

    def drivers(self) -> list[DriverMove]:
        """Drivers whose rank or share is another than in the earlier report."""
        return [
            move
            for move in self.told.drivers
            if (move.rank_before, move.share_before) != (move.rank_after, move.share_after)
        ]

    def any(self) -> bool:
        """Whether anything is different from the earlier report."""
        return bool(self.drivers()) or any(moves for _, moves, _ in self.moved())

    def name(self, move: Moved, kind: str) -> str:
        """What moved, in words."""
        return self.words.figure_name(move.name) if kind == "figure" else move.name

    def shown(self, name: str, value: float | None, kind: str, *, difference: bool = False) -> Part:
        """A compared figure, as its kind is written elsewhere in the report."""
        if kind == "share" or name.endswith("_share") or name == "calibrated.coverage":
            return points(value) if difference else percent(value)
        if name == "predictions.rows":
            count = value if value is None else int(value)
            return decimal(count, 0, sign=True) if difference else number(count)
        if name in _PREDICTIONS:
            return self.words.prediction(value, sign=difference)
        if name == "calibrated.mean_width":
            return self.words.prediction(value, sign=True) if difference else self.words.width(value)
        return signed(value) if difference else number(value)
