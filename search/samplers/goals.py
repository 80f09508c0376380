"""Several goals: which designs no other beats, and how far those lie apart."""

from __future__ import annotations

import numpy as np

from archspec.search.features import Floats


def fronts(losses: Floats) -> list[list[int]]:
    """Sort points into non-dominated fronts, best first; equal points share theirs.

    Args:
        losses: One row a point, one column a goal, [N, K]; less is better.
    """
    as_good = (losses[:, None, :] <= losses[None, :, :]).all(axis=2)
    beats = as_good & ~as_good.T
    left = np.ones(len(losses), dtype=np.bool_)
    found = []
    while left.any():
        front = left & ~beats[left].any(axis=0)
        found.append(np.flatnonzero(front).tolist())
        left &= ~front
    return found


def crowding(losses: Floats) -> Floats:
    """Return how far each point of a front is from its neighbours, [N]; the ends are at infinity.

    The crowding distance of NSGA-II (Deb et al. 2002): the sides of the box that a point's
    neighbours span, each as a share of the front's extent.
    """
    total: Floats = np.zeros(len(losses))
    for column in losses.T:
        order = np.argsort(column, kind="stable")
        total[order[[0, -1]]] = np.inf
        extent = column[order[-1]] - column[order[0]]
        if extent > 0:
            total[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / extent
    return total


def best_first(losses: Floats) -> list[int]:
    """Order points by front, and within a front by how lonely they are, loneliest first."""
    order: list[int] = []
    for front in fronts(losses):
        lonely = np.argsort(-crowding(losses[front]), kind="stable")
        order.extend(front[index] for index in lonely)
    return order
