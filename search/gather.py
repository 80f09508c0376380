"""A study's designs put together as results, of a search that is done or still runs."""

from __future__ import annotations

from archspec.search.agreement import rung_agreements
from archspec.search.finalists import uniform_dense
from archspec.search.results import BudgetResult, DesignResult, SearchResults, SpaceResult
from archspec.search.stage_results import RungResult
from archspec.search.trials import Trials
from archspec.spec.search.spec import SearchSpec
from archspec.train.rates import SweepChoice


def gather_results(
    spec: SearchSpec,
    trials: Trials,
    judged: tuple[tuple[DesignResult, ...], tuple[RungResult, ...]],
    described: tuple[SpaceResult, tuple[BudgetResult, ...]],
    rates: tuple[SweepChoice, ...],
    *,
    seconds: float,
    exhausted: bool = False,
) -> SearchResults:
    """Return everything that a search has to say.

    Args:
        spec: What was searched.
        trials: The trials of its study.
        judged: The completed designs with their re-runs, in order, at least one; and the rungs.
        described: The space and what budgets reject of it.
        rates: Learning rates that were swept.
        seconds: Spent in trainings.
        exhausted: Whether no design is left.
    """
    designs, rungs = judged
    space, budgets = described
    return SearchResults(
        name=spec.base.name,
        metric=spec.metric,
        direction=spec.direction,
        sampler=spec.sampler,
        trials=spec.trials,
        space=space,
        budgets=budgets,
        designs=designs,
        diverged=trials.diverged,
        exhausted=exhausted,
        uniform_dense=uniform_dense(trials.completed(), trials.allowed.space),
        seconds=seconds,
        goals=spec.goals,
        rungs=rungs,
        rung_agreements=rung_agreements(rungs),
        learning_rates=rates,
    )
