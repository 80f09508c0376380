"""Designs that no other design beats in everything at once, in any number of goals."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import numpy as np

from archspec.cost.pricing import QUANTITIES, Flags, Ints
from archspec.search.features import Floats
from archspec.search.results import DesignResult, SearchResults
from archspec.spec.search.objective import Goal

COSTS = ("flops_per_token", "num_params")  # beside the metric, where no goals are declared


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


def front_goals(results: SearchResults) -> tuple[Goal, ...]:
    """Return what the front is over: the goals, or where the metric is the only one its costs."""
    if len(results.goals) > 1:
        return results.goals
    metric = Goal(name=results.metric, direction=results.direction)
    return (metric, *(Goal(name=name, direction="minimize", source="price") for name in COSTS))


def front_values(results: SearchResults, design: DesignResult) -> tuple[float, ...]:
    """Return what a design reached of each of ``front_goals`` at its highest rung.

    Metrics are those of first runs, which every design has, each from as many tokens and seeds.
    """
    goals = front_goals(results)
    if len(results.goals) > 1:
        on_rungs = (rung.values_of(design.spec_hash) for rung in reversed(results.rungs))
        found = next((values for values in on_rungs if values is not None), None)
        if found is not None:
            return found
    prices = (float(design.prices[goal.name]) for goal in goals[1:] if goal.source == "price")
    return (results.last_value(design), *prices)


def pareto_front(results: SearchResults) -> list[DesignResult]:
    """Return the designs of the highest rung that none of them dominates, best metric first."""
    goals, designs = front_goals(results), results.top
    points = as_losses([front_values(results, design) for design in designs], goals)
    found = zip(designs, points[:, 0].tolist(), non_dominated(points), strict=True)
    front = sorted(((loss, design) for design, loss, on in found if on), key=lambda pair: pair[0])
    return [design for _, design in front]


def pareto_csv(results: SearchResults, names: Sequence[str]) -> str:
    """Write the front as CSV; ``metric`` is that of the first run at the highest rung.

    Args:
        results: Whose front.
        names: The file of each design, in the order of ``pareto_front``.
    """
    metrics = [n for n, goal in enumerate(front_goals(results)) if goal.source == "metric"][1:]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    others = [front_goals(results)[place].name for place in metrics]
    ends = ("design", "pools", "source", "trial", "spec_hash", "file")
    writer.writerow(["metric", *others, *QUANTITIES, *ends])
    for design, name in zip(pareto_front(results), names, strict=True):
        values = front_values(results, design)
        writer.writerow(
            [
                *(repr(values[place]) for place in (0, *metrics)),
                *(design.prices[quantity] for quantity in QUANTITIES),
                design.placement,
                design.pools,
                design.source,
                design.trial,
                design.spec_hash,
                name,
            ]
        )
    return text.getvalue()
