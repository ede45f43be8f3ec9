"""One row and its edits: which may be made, how they are encoded, whether they reach the desired outcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from airflow_provider_cleartrace.local.engine.coding import decode_levels
from airflow_provider_cleartrace.local.engine.encoding import Block
from airflow_provider_cleartrace.local.engine.moves import Move, Span, distance
from airflow_provider_cleartrace.local.engine.outcome import Outcomes
from airflow_provider_cleartrace.local.engine.schema import Column
from airflow_provider_cleartrace.local.engine.table import Table


@dataclass(frozen=True, eq=False)
class EditSpace:
    """The edits of one row; an edit is the row's codes with some of them changed, (d,).

    Attributes:
        outcomes: the model's outcomes.
        desired: the outcome an edit is to reach.
        origin: the row as a table of one row.
        codes: the row's codes, (d,).
        encoded: the row as the model sees it, (p,).
        moves: feature position -> what may change.
    """

    outcomes: Outcomes
    desired: int
    origin: Table
    codes: NDArray[np.float64]
    encoded: NDArray[np.float64]
    moves: Mapping[int, Move]

    @property
    def columns(self) -> tuple[Column, ...]:
        """The d features."""
        return self.outcomes.model.schema.features

    def block(self, position: int) -> tuple[Block, slice]:
        """Find the encoder of one feature and where its encoded columns stand."""
        encoder = self.outcomes.model.encoder
        return encoder.blocks[position], encoder.groups[position]

    def changed(self, edits: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Mark what edits change, (n, d) -> (n, d)."""
        changed: NDArray[np.bool_] = (edits != self.codes) & ~np.isnan(self.codes)
        return changed

    def encode(self, edits: NDArray[np.float64]) -> NDArray[np.float64]:
        """Encode edits, (n, d) -> (n, p); what is unchanged is not encoded anew."""
        encoded = np.tile(self.encoded, (len(edits), 1))
        changed = self.changed(edits)
        for position in self.moves:
            rows = np.flatnonzero(changed[:, position])
            if len(rows):
                block, group = self.block(position)
                encoded[rows, group] = encode_codes(block, edits[rows, position])
        return encoded

    def predict(self, encoded: NDArray[np.float64]) -> NDArray[np.float64]:
        """Predict encoded edits: what `Model.predict` returns for them."""
        model = self.outcomes.model
        return model.predictions_from_scores(model.scores(encoded))

    def reached(self, encoded: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Mark the encoded edits (n, p) that reach the desired outcome, (n,)."""
        outcomes = self.outcomes.of_predictions(self.predict(encoded))
        return np.asarray(outcomes == self.desired)

    def reaches(self, edits: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Mark the edits (n, d) that reach the desired outcome, (n,)."""
        return self.reached(self.encode(edits))

    def cost(self, edits: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Give the number of changes and the distance in standard deviations of edits, (n,) each."""
        return self.changed(edits).sum(axis=1), distance(edits, self.codes, self.columns).sum(axis=1)

    def cheapest_of_each_kind(self, edits: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sort edits by number of changes, then distance, and keep the first of each kind.

        Two edits are of one kind when they change the same features, quantities in the same direction and
        choices to the same value.
        """
        n_changes, apart = self.cost(edits)
        ranked = edits[np.lexsort((*edits.T, apart, n_changes))]
        _, first = np.unique(self.kinds(ranked), axis=0, return_index=True)
        return ranked[np.sort(first)]

    def kinds(self, edits: NDArray[np.float64]) -> NDArray[np.float64]:
        """Describe each edit's kind by one row of numbers, (n, number of moves)."""
        changed = self.changed(edits)
        kinds = np.zeros((len(edits), len(self.moves)))
        for index, (position, move) in enumerate(self.moves.items()):
            codes = edits[:, position]
            # 0 stands for unchanged: a choice is named by its place among the options, counted from 1.
            kind = (
                np.sign(codes - move.start)
                if isinstance(move, Span)
                else 1 + np.searchsorted(move.options, codes)
            )
            kinds[:, index] = np.where(changed[:, position], kind, 0)
        return kinds

    def table(self, edits: NDArray[np.float64]) -> Table:
        """Write edits (n, d) as a table of the features, as a user would have sent them."""
        changed = self.changed(edits)
        columns = {}
        for position, column in enumerate(self.columns):
            original = self.origin[column.name]
            rows = np.flatnonzero(changed[:, position])
            codes = edits[rows, position]
            read = column.to_levels(original) if column.is_levelled else column.to_numbers(original)
            values = np.repeat(read, len(edits))
            values[rows] = decode_levels(codes, column) if column.is_levelled else codes
            columns[column.name] = values
        return Table(columns)


def encode_codes(block: Block, codes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Encode codes (m,) of one feature, levels known and nothing missing, -> (m, width of its block)."""
    if not block.column.is_levelled:
        return block.encode(codes)
    # Levels repeat; each is encoded once.
    distinct, positions = np.unique(codes, return_inverse=True)
    return block.encode(decode_levels(distinct, block.column))[positions]
