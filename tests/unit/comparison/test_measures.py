"""The measures against their definitions, written out plainly, and the properties that they must have."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from airflow_provider_cleartrace.comparison.measures import (
    index_by_chance,
    population_stability_index,
    rank_correlation,
    shares_of,
    total_variation,
)
from airflow_provider_cleartrace.comparison.quantiles import Spool, count, order_statistics, quantile_edges

finite = st.floats(allow_nan=False, allow_infinity=False)
counts = st.lists(st.integers(0, 10**6), min_size=2, max_size=12)
pairs_of_counts = st.integers(2, 12).flatmap(
    lambda size: st.tuples(*[st.lists(st.integers(0, 10**6), min_size=size, max_size=size)] * 2)
).filter(lambda pair: sum(pair[0]) > 0 and sum(pair[1]) > 0)  # fmt: skip


def plain_index(reference: list[int], current: list[int]) -> float:
    total = 0.0
    for then, now in zip(reference, current, strict=True):
        if then == now == 0:
            continue
        r, c = max(then, 0.5) / sum(reference), max(now, 0.5) / sum(current)
        total += (c - r) * math.log(c / r)
    return total


class TestPopulationStabilityIndex:
    @given(pairs_of_counts)
    def test_is_what_its_formula_says(self, pair: tuple[list[int], list[int]]) -> None:
        told = population_stability_index(*map(np.array, pair))
        assert told == pytest.approx(plain_index(*pair), abs=1e-12)
        assert math.isfinite(told)
        assert told >= -1e-4  # half a row in an empty bin need not leave shares that sum to 1

    @given(pairs_of_counts)
    def test_is_symmetric_in_fixed_bins(self, pair: tuple[list[int], list[int]]) -> None:
        one, other = map(np.array, pair)
        assert population_stability_index(one, other) == pytest.approx(
            population_stability_index(other, one), abs=1e-12
        )

    @given(counts.filter(any), st.integers(1, 5))
    def test_of_equal_shares_is_zero(self, rows: list[int], times: int) -> None:
        assert population_stability_index(np.array(rows), np.array(rows) * times) == pytest.approx(
            0, abs=1e-12
        )

    def test_of_a_known_table(self) -> None:
        told = population_stability_index(np.array([500, 300, 200]), np.array([400, 300, 300]))
        assert told == pytest.approx(-0.1 * math.log(0.8) + 0.1 * math.log(1.5))

    def test_by_chance_is_its_mean_over_samples_of_one_population(self) -> None:
        random = np.random.default_rng(3)
        samples = random.multinomial(500, [0.1] * 10, size=(2000, 2))
        mean = np.mean([population_stability_index(*pair) for pair in samples])
        told = index_by_chance(np.full(10, 50), np.full(10, 50))
        assert told == pytest.approx(9 * (1 / 500 + 1 / 500))
        assert mean == pytest.approx(told, rel=0.05)


class TestRankCorrelation:
    @given(
        st.integers(3, 20).flatmap(
            lambda n: st.tuples(*[st.lists(st.integers(0, 6), min_size=n, max_size=n)] * 2)
        )
    )
    def test_is_spearman_s_with_ties(self, pair: tuple[list[int], list[int]]) -> None:
        one, other = (np.array(side, dtype=float) for side in pair)
        told = rank_correlation(one, other)
        assert told == pytest.approx(rank_correlation(other, one))
        if np.ptp(one) and np.ptp(other):
            assert told == pytest.approx(stats.spearmanr(one, other).statistic)

    def test_of_the_same_ranking_is_one_even_of_a_single_feature_or_of_none_that_counts(self) -> None:
        assert rank_correlation(np.array([0.3]), np.array([0.9])) == 1
        assert rank_correlation(np.zeros(3), np.zeros(3)) == 1
        assert rank_correlation(np.zeros(3), np.array([1.0, 2.0, 3.0])) == 0

    @given(pairs_of_counts)
    def test_total_variation_is_scipy_s_and_symmetric(self, pair: tuple[list[int], list[int]]) -> None:
        one, other = map(shares_of, pair)
        assert total_variation(one, other) == pytest.approx(total_variation(other, one))
        assert 0 <= total_variation(one, other) <= 1 + 1e-12


class TestQuantiles:
    @given(st.lists(finite, min_size=1, max_size=60), st.data())
    def test_order_statistics_are_those_of_sorting(self, values: list[float], data: st.DataObject) -> None:
        places = data.draw(st.lists(st.integers(0, len(values) - 1), min_size=1, max_size=5))
        halves = [np.array(values[::2]), np.array(values[1::2])]
        told = order_statistics(lambda: iter(halves), places)
        assert told.tolist() == [sorted(values)[place] for place in places]

    def test_edges_are_numpy_s_quantiles_of_many_rows_and_columns(self) -> None:
        values = np.random.default_rng(0).normal(size=(150_000, 2)) * [1, 1e-300]
        with Spool(2) as spool:
            for piece in np.array_split(values, 7):
                spool.write(piece)
            for column in (0, 1):
                expected = np.quantile(values[:, column], np.arange(1, 10) / 10, method="inverted_cdf")
                edges = quantile_edges(spool, column, 10)
                assert edges.tolist() == expected.tolist()
                assert count(values[:, column], edges).tolist() == [15_000] * 10

    @pytest.mark.parametrize("rows", [1, 2, 9])
    def test_fewer_rows_than_bins_are_counted_all_the_same(self, rows: int) -> None:
        with Spool(1) as spool:
            spool.write(np.arange(rows, dtype=float)[:, None])
            edges = quantile_edges(spool, 0, 10)
        assert count(np.arange(rows, dtype=float), edges).sum() == rows

    def test_rows_below_a_value_that_many_share_are_not_counted_with_it(self) -> None:
        with Spool(1) as spool:
            spool.write(np.full((50, 1), 0.5))
            edges = quantile_edges(spool, 0, 10)
        assert count(np.array([0.5] * 50), edges).tolist() == [0, 50, 0]
        assert count(np.array([0.4, 0.5, 0.6]), edges).tolist() == [1, 1, 1]

    @given(st.lists(finite, min_size=1, max_size=40), st.lists(finite, max_size=40))
    def test_a_bin_holds_what_is_above_its_lower_edge_and_at_most_its_upper(
        self, reference: list[float], current: list[float]
    ) -> None:
        with Spool(1) as spool:
            spool.write(np.array(reference)[:, None])
            edges = quantile_edges(spool, 0, 4)
        bounds = [-math.inf, *edges.tolist(), math.inf]
        expected = [sum(low < value <= high for value in current) for low, high in itertools.pairwise(bounds)]
        assert count(np.array(current, dtype=float), edges).tolist() == expected
