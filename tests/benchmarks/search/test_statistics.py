import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.search.statistics import band, gained, sign_test

finite = st.floats(-1e6, 1e6)


def test_the_interval_of_twenty_seeds_is_between_the_sixth_and_the_fifteenth() -> None:
    found = band([[float(value)] for value in range(1, 21)])
    assert (found.low[0], found.median[0], found.high[0]) == (6.0, 10.5, 15.0)


@given(st.integers(6, 60))
def test_intervals_hold_the_median_often_enough_and_are_no_wider_than_that(number: int) -> None:
    found = band([[float(value)] for value in range(number)])
    below = int(found.low[0])
    assert found.high[0] == number - 1 - below

    def chance(rank: int) -> float:  # that the median is outside the order statistics of this rank
        return 2 * sum(math.comb(number, k) for k in range(rank + 1)) / 2**number

    assert chance(below) <= 0.05 < chance(below + 1)


@given(st.lists(st.lists(finite, min_size=3, max_size=3), min_size=1, max_size=9))
def test_the_middle_is_the_median(curves: list[list[float]]) -> None:
    found = band(curves)
    np.testing.assert_allclose(found.median, np.median(curves, axis=0))
    assert (found.low <= found.median).all()
    assert (found.median <= found.high).all()


def test_searches_without_a_design_that_fits_have_infinite_regret() -> None:
    found = band([[math.inf, 1.0], [math.inf, math.inf], [2.0, 1.0], [math.inf, 3.0]])
    assert found.median.tolist() == [math.inf, 2.0]


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ([1.0] * 10, [2.0] * 10, (10, 0, 2 / 2**10)),
        ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], (0, 0, 1.0)),
        ([1.0, 5.0, 1.0], [2.0, 4.0, math.inf], (2, 1, 1.0)),
        ([1.0] * 8 + [2.0], [2.0] * 8 + [1.0], (8, 1, 2 * 10 / 2**9)),
    ],
)
def test_sign_tests(ours, theirs, expected) -> None:
    found = sign_test(ours, theirs)
    assert (found.wins, found.losses, found.chance) == expected


def test_hypervolume_is_that_of_what_looks_best_within_each_limit() -> None:
    points = [(-1.0, -0.5, 10.0), (-2.0, 0.3, 20.0), (-0.4, -0.4, 5.0)]  # observed, true, price
    assert gained(points, [5.0]) == 0.4
    assert gained(points, [10.0, 5.0]) == pytest.approx(0.45)
    assert gained(points, [20.0]) == 0.0  # it looks best, and is worse than the mean
    assert gained(points, [1.0]) == 0.0
