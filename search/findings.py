"""What the results of a search mean: the verdict, the front, chance, and which choices matter."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from archspec.search.additive import FEWEST, AdditiveModel
from archspec.search.chance import (
    FEWEST_DRAWN,
    ChanceCurve,
    best_so_far,
    chance_from_fit,
    chance_from_trials,
)
from archspec.search.importance import Importance, importance
from archspec.search.opened import SearchRun
from archspec.search.pareto import pareto_front
from archspec.search.results import (
    Agreement,
    DesignResult,
    SearchResults,
    agreement,
    seed_noise,
)
from archspec.search.space import Design
from archspec.search.verdict import Interval, Verdict, judge, seed_intervals


class Findings(BaseModel):
    """What the results of a search mean.

    Attributes:
        is_finished: Whether the search ran to its end; otherwise all of this is so far.
        is_running: Whether a worker is at it; if not, it was stopped and can be resumed.
        verdict: Whether the winner beats the hand designs.
        front: Trials of the Pareto front, best metric first.
        best_so_far: The best value of the first k trained designs, by order of trials.
        chance: What as many random designs would have found; None if it cannot be told.
        importance: Which choices matter; None for too few designs to tell.
        seed_intervals: Mean over fresh seeds of each design run again, by trial.
        seed_noise: Standard deviation of one training over seeds; None without re-runs.
        agreement: Between first runs and re-runs.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    is_finished: bool
    is_running: bool = False
    verdict: Verdict
    front: tuple[int, ...]
    best_so_far: tuple[float, ...]
    chance: ChanceCurve | None
    importance: Importance | None
    seed_intervals: dict[int, Interval]
    seed_noise: float | None
    agreement: Agreement | None


def find(run: SearchRun) -> Findings:
    """Return what the results of a search mean."""
    results = run.results
    trained = in_order(results)
    model = fit(run)
    return Findings(
        is_finished=run.is_finished,
        is_running=run.is_running,
        verdict=judge(results),
        front=tuple(design.trial for design in pareto_front(results)),
        best_so_far=tuple(best_so_far([d.value for d in trained], sign=results.sign)),
        chance=_chance(run, model),
        importance=_importance(run, model),
        seed_intervals=seed_intervals(results.designs),
        seed_noise=seed_noise(results.designs),
        agreement=agreement(results),
    )


def in_order(results: SearchResults) -> list[DesignResult]:
    """Return the trained designs in the order of their trials."""
    return sorted(results.designs, key=lambda design: design.trial)


def designs_of(run: SearchRun) -> list[Design]:
    """Return the trained designs in the order of their trials."""
    return [run.design_of(result) for result in in_order(run.results)]


def fit(run: SearchRun) -> AdditiveModel | None:
    """Fit first runs at the first rung, which every design has; None for too few designs."""
    values = [result.value for result in in_order(run.results)]
    if len(values) < FEWEST:
        return None
    space = run.allowed.space
    depth = max(len(part.genes) for part in space.parts)
    features = space.features(designs_of(run))
    return AdditiveModel(features, values, space.feature_map.groups, depth)


def _importance(run: SearchRun, model: AdditiveModel | None) -> Importance | None:
    if model is None:
        return None
    variant = run.design_of(run.results.best).variant
    return importance(run.allowed.space, designs_of(run), model, variant=variant)


def _chance(run: SearchRun, model: AdditiveModel | None) -> ChanceCurve | None:
    """Return what random designs come to, by random trials of this search if it had enough."""
    results = run.results
    if results.sampler == "random":
        drawn = [d.value for d in in_order(results) if not d.is_hand_design]
        return chance_from_trials(drawn, sign=results.sign) if len(drawn) >= FEWEST_DRAWN else None
    if model is None:
        return None
    values = [result.value for result in in_order(results)]
    return chance_from_fit(run.allowed, designs_of(run), values, len(values), sign=results.sign)
