"""A study's designs put together as results, of a search that is done or still runs."""

from __future__ import annotations

from collections.abc import Sequence

from archspec.search.finalists import uniform_dense
from archspec.search.results import (
    BudgetResult,
    DesignResult,
    GoalResult,
    SearchResults,
    SpaceResult,
    rank,
)
from archspec.search.trials import Trials
from archspec.spec.search.objective import Goal
from archspec.spec.search.spec import SearchSpec


def gather_results(
    spec: SearchSpec,
    trials: Trials,
    designs: Sequence[DesignResult],
    described: tuple[SpaceResult, tuple[BudgetResult, ...]],
    *,
    seconds: float,
    exhausted: bool = False,
) -> SearchResults:
    """Return everything that a search has to say.

    Args:
        spec: What was searched.
        trials: The trials of its study.
        designs: The completed ones with their re-runs, at least one.
        described: The space and what budgets reject of it.
        seconds: Spent in trainings.
        exhausted: Whether no design is left.
    """
    space, budgets = described
    return SearchResults(
        name=spec.base.name,
        metric=spec.metric,
        direction=spec.direction,
        sampler=spec.sampler,
        trials=spec.trials,
        space=space,
        budgets=budgets,
        designs=rank(designs, spec.direction),
        diverged=trials.diverged,
        exhausted=exhausted,
        uniform_dense=uniform_dense(trials.completed(), trials.allowed.space),
        seconds=seconds,
        goals=tuple(_goal(goal, index) for index, goal in enumerate(spec.goals)),
        rungs=tuple(rung.tokens for rung in spec.rungs),
    )


def _goal(goal: Goal, index: int) -> GoalResult:
    return GoalResult(
        name=goal.name,
        direction=goal.direction,
        source=goal.source,
        is_metric_judged=index == 0,
    )
