"""Designs that no other design beats in everything at once."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import numpy as np

from archspec.cost.pricing import QUANTITIES
from archspec.search.features import Floats
from archspec.search.results import DesignResult, GoalResult, SearchResults

COSTS = ("flops_per_token", "num_params")  # beside the metric, where it is the only goal


def front_goals(results: SearchResults) -> tuple[GoalResult, ...]:
    """Return what the front is over: the goals, or the metric and what designs cost if it is one.

    Metrics are those of first runs, which every design has, each from as many trainings.
    """
    if len(results.goals) > 1:
        return results.goals
    metric = GoalResult(
        name=results.metric, direction=results.direction, source="metric", is_metric_judged=True
    )
    costs = (GoalResult(name=name, direction="minimize", source="price") for name in COSTS)
    return (metric, *costs)


def pareto_front(results: SearchResults) -> list[DesignResult]:
    """Return the designs of the highest rung that none of them dominates, best metric first."""
    goals, designs = front_goals(results), results.top
    points = np.array([[goal.sign * design.goal(goal) for goal in goals] for design in designs])
    kept = non_dominated(points)
    front = [design for design, keep in zip(designs, kept, strict=True) if keep]
    return sorted(front, key=lambda design: goals[0].sign * design.goal(goals[0]))


def non_dominated(points: Floats) -> list[bool]:
    """Tell for each point whether no other is as good in every column and better in one.

    Args:
        points: Losses, [N, K]; what is not a number is the worst.
    """
    losses = np.where(np.isnan(points), np.inf, points)
    found = []
    for point in losses:
        as_good = np.all(losses <= point, axis=1)
        better = np.any(losses < point, axis=1)
        found.append(not bool(np.any(as_good & better)))
    return found


def pareto_csv(results: SearchResults, names: Sequence[str]) -> str:
    """Write the front as CSV; ``metric`` is that of the first run at the highest rung.

    Args:
        results: Whose front.
        names: The file of each design, in the order of ``pareto_front``.
    """
    goals = [goal for goal in front_goals(results) if goal.source == "metric"][1:]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    others = [goal.name for goal in goals]
    ends = ("design", "pools", "source", "trial", "spec_hash", "file")
    writer.writerow(["metric", *others, *QUANTITIES, *ends])
    for design, name in zip(pareto_front(results), names, strict=True):
        writer.writerow(
            [
                repr(design.rung_value),
                *(repr(design.goal(goal)) for goal in goals),
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
