import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archspec.search.pareto import best_first, crowding, fronts, hypervolume, non_dominated

POINTS = st.integers(1, 4).flatmap(
    lambda goals: st.lists(
        st.lists(st.integers(0, 6), min_size=goals, max_size=goals), min_size=1, max_size=12
    )
)


def dominates(one, other) -> bool:
    return all(a <= b for a, b in zip(one, other, strict=True)) and one != other


@given(POINTS)
def test_the_front_is_that_of_all_pairs(points) -> None:
    expected = [not any(dominates(other, point) for other in points) for point in points]
    assert non_dominated(np.array(points, dtype=float)).tolist() == expected


@given(POINTS)
def test_fronts_peel(points) -> None:
    array = np.array(points, dtype=float)
    found = fronts(array)
    for one, other in itertools.permutations(range(len(points)), 2):
        if dominates(points[one], points[other]):
            assert found[one] < found[other]
    for index, front in enumerate(found.tolist()):
        if front:
            before = [points[i] for i in np.flatnonzero(found == front - 1)]
            assert any(dominates(point, points[index]) for point in before)


@settings(max_examples=60, deadline=None)
@given(POINTS)
def test_hypervolume_counts_unit_cells(points) -> None:
    reference = [7] * len(points[0])
    cells = sum(
        any(all(p <= c for p, c in zip(point, cell, strict=True)) for point in points)
        for cell in itertools.product(range(7), repeat=len(points[0]))
    )
    assert hypervolume(np.array(points, dtype=float), reference) == pytest.approx(cells)


def test_points_beyond_the_reference_count_nothing() -> None:
    assert hypervolume(np.array([[8.0, 1.0]]), [7, 7]) == 0.0
    assert hypervolume(np.empty((0, 2)), [7, 7]) == 0.0


def test_best_first_is_by_value_for_one_goal_and_by_front_for_more() -> None:
    assert best_first(np.array([[3.0], [1.0], [2.0]])).tolist() == [1, 2, 0]
    points = np.array([[1.0, 5.0], [2.0, 2.0], [5.0, 1.0], [6.0, 6.0], [2.1, 1.9]])
    order = best_first(points).tolist()
    assert order[-1] == 3  # dominated
    assert set(order[:2]) == {0, 2}  # the ends
    assert np.isinf(crowding(points[[0, 1, 2]])).tolist() == [True, False, True]
