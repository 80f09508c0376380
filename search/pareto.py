"""Designs that no other design beats in everything at once, in any number of goals."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import numpy as np

from archspec.cost.pricing import QUANTITIES, Flags, Ints
from archspec.search.features import Floats
from archspec.search.goals import goal_values
from archspec.search.results import DesignResult
from archspec.spec.search.objective import Goal

OBJECTIVES = ("flops_per_token", "num_params")  # beside the metric, where no goals are declared


def as_losses(values: Sequence[Sequence[float]], goals: Sequence[Goal]) -> Floats:
    """Return values as losses, [N, K]: less is better in every column."""
    signs = np.array([goal.sign for goal in goals])
    rows: Floats = np.array(values, dtype=np.float64).reshape(len(values), len(goals))
    return np.asarray(rows * signs)


def non_dominated(points: Floats) -> Flags:
    """Tell for each row of losses, [N, K], whether no other is as good in all and better in one.

    Equal rows do not dominate each other.
    """
    as_good = np.all(points[:, None] <= points[None], axis=2)
    better = np.any(points[:, None] < points[None], axis=2)
    return np.asarray(~np.any(as_good & better, axis=0))


def fronts(points: Floats) -> Ints:
    """Return the front of each row, [N]: 0 without those that are dominated, 1 of the rest, ..."""
    found: Ints = np.full(len(points), -1, dtype=np.int64)
    number = 0
    while (left := np.flatnonzero(found < 0)).size:
        found[left[non_dominated(points[left])]] = number
        number += 1
    return found


def crowding(points: Floats) -> Floats:
    """Return how far each row is from its neighbours (Deb et al., 2002); the ends are infinite."""
    total: Floats = np.zeros(len(points))
    for column in points.T:
        order = np.argsort(column, kind="stable")
        span = column[order[-1]] - column[order[0]]
        total[order[[0, -1]]] = np.inf
        if span > 0 and len(points) > 2:
            total[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / span
    return total


def best_first(points: Floats) -> Ints:
    """Order rows of losses: by their front, within it the lonelier first; for one goal by value."""
    if points.shape[1] == 1:
        return np.argsort(points[:, 0], kind="stable")
    ranks = fronts(points)
    lonely: Floats = np.zeros(len(points))
    for front in np.unique(ranks):
        lonely[ranks == front] = crowding(points[ranks == front])
    return np.lexsort((points[:, 0], -lonely, ranks))


def hypervolume(points: Floats, reference: Sequence[float]) -> float:
    """Return the volume that rows of losses dominate below a reference, exactly.

    The last goal is swept: between one of its values and the next, the volume is that of the rows
    up to there in the other goals. K goals take about N ** (K - 1) steps.
    """
    limits: Floats = np.asarray(reference, dtype=np.float64)
    inside = points[np.all(points < limits, axis=1)]
    if not len(inside):
        return 0.0
    if inside.shape[1] == 1:
        return float(limits[0] - inside.min())
    inside = inside[non_dominated(inside)]
    inside = inside[np.argsort(inside[:, -1], kind="stable")]
    heights = np.append(inside[1:, -1], limits[-1]) - inside[:, -1]
    return float(
        sum(
            height * hypervolume(inside[: index + 1, :-1], limits[:-1].tolist())
            for index, height in enumerate(heights)
            if height > 0
        )
    )


def pareto_front(
    designs: Sequence[DesignResult], direction: str, goals: Sequence[Goal] = ()
) -> list[DesignResult]:
    """Return the non-dominated designs, best metric first.

    Args:
        designs: All that were trained; metrics are those of the first runs, which every design
            has, each from as many tokens and seeds.
        direction: Of the metric.
        goals: Those of the search, the metric first; with one or none, FLOPs and parameters count
            beside it.
    """
    sign = 1.0 if direction == "minimize" else -1.0
    if len(goals) > 1:
        points = as_losses([goal_values(goals, d, d.prices) for d in designs], goals)
    else:
        points = np.array(
            [[sign * d.value, *(d.prices[name] for name in OBJECTIVES)] for d in designs]
        )
    kept = non_dominated(points)
    front = [design for design, on in zip(designs, kept, strict=True) if on]
    return sorted(front, key=lambda design: sign * design.value)


def pareto_csv(designs: Sequence[DesignResult], direction: str, goals: Sequence[Goal] = ()) -> str:
    """Write the front as CSV; ``metric`` is that of the first run."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["metric", *QUANTITIES, "design", "pools", "source", "spec_hash"])
    for design in pareto_front(designs, direction, goals):
        writer.writerow(
            [
                repr(design.value),
                *(design.prices[name] for name in QUANTITIES),
                design.placement,
                design.pools,
                design.source,
                design.spec_hash,
            ]
        )
    return text.getvalue()
