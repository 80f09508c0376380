"""What a search found, as values that are written to ``results.json`` and read back to be shown."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from scipy.stats import spearmanr

from archspec.search.stage_results import ProxyResult, RankAgreement, RungResult
from archspec.spec.search.objective import Goal
from archspec.train.rates import SweepChoice

SEARCHED = "search"


class _Result(BaseModel):
    """A value that survives the way through JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DesignResult(_Result):
    """One design that was trained.

    Attributes:
        trial: Number of its Optuna trial.
        placement: Its layers as letters.
        pools: Sizes of the pools it reads.
        source: ``search``, or the name of the hand design.
        spec_hash: Canonical hash of the written-out model.
        value: The objective on the first run.
        reruns: The same with fresh seeds; empty if it was not run again.
        diverged_reruns: How many of those diverged.
        metrics: All metrics of the first run.
        prices: What it costs, by quantity.
        seconds: Of the first run.
        seed_values: The objective of each seed, where ``value`` is a mean of several.
    """

    trial: int
    placement: str
    pools: str
    source: str
    spec_hash: str
    value: float
    reruns: tuple[float, ...] = ()
    diverged_reruns: int = 0
    metrics: dict[str, float]
    prices: dict[str, int]
    seconds: float
    seed_values: tuple[float, ...] = ()
    layers: Annotated[
        tuple[str, ...], Field(description="What stands in every layer, by the names of choices.")
    ] = ()
    params: Annotated[
        dict[str, str | int | float | bool | None],
        Field(description="The design as parameters of the Optuna study."),
    ] = Field(default_factory=dict)

    @property
    def was_rerun(self) -> bool:
        """Whether it was among the finalists."""
        return bool(self.reruns) or self.diverged_reruns > 0

    @property
    def rerun_value(self) -> float:
        """Mean over the fresh seeds; not a number if one of them diverged or there were none."""
        if not self.reruns or self.diverged_reruns:
            return math.nan
        return sum(self.reruns) / len(self.reruns)

    @property
    def is_hand_design(self) -> bool:
        """Whether a person would have tried it without any search."""
        return self.source != SEARCHED


class BudgetResult(_Result):
    """A budget, and how many designs it rejects by itself."""

    quantity: str
    side: Literal["max", "min"]
    limit: int
    rejected: Annotated[float, Field(description="Share of all designs, 0 to 1.")]


class ChoiceResult(_Result):
    """One of the choices that layers have.

    Attributes:
        letter: What stands for it in placements.
        kinds: Of its blocks, such as ``dense``; several are summed.
        pools: The pools that it reads.
    """

    letter: str
    kinds: tuple[str, ...]
    pools: tuple[str, ...]


class SpaceResult(_Result):
    """The size of the space, before and after the budgets."""

    num_designs: Annotated[int, Field(description="Different designs, budgets aside.")]
    num_priced: Annotated[int, Field(description="How many were priced: all, or a sample.")]
    num_feasible: Annotated[int, Field(description="How many of those fit every budget.")]
    share: Annotated[
        float | None,
        Field(description="Share that fits, where these few were too rare for a sample."),
    ] = None
    num_layers: int
    pools: Annotated[dict[str, tuple[int, ...]], Field(description="num_keys a pool may have.")]
    legend: Annotated[str, Field(description="What the letters of placements stand for.")]
    choices: Annotated[
        dict[str, ChoiceResult], Field(description="What may stand in a layer, by name.")
    ] = Field(default_factory=dict)

    @property
    def exact(self) -> bool:
        """Whether every design was priced."""
        return self.num_priced == self.num_designs

    @property
    def feasible_share(self) -> float:
        """Share of designs that fit every budget; ``share`` where that was estimated apart."""
        return self.num_feasible / self.num_priced if self.share is None else self.share


class SearchResults(_Result):
    """Everything that a finished search has to say.

    Attributes:
        designs: Every trained design, ranked.
        diverged: Placements that could not be trained.
        exhausted: Whether the search ended because no design was left.
        uniform_dense: Hash of the design whose layers are all dense, if it was trained.
        goals: What was improved, the metric first.
        rungs: Every rung, the trials first.
        rung_agreements: How each rung ranks designs compared with the one below.
        learning_rates: Of each family of designs, where they were swept.
        proxy: What was trained in place of designs, None if these were.
    """

    name: str
    metric: str
    direction: Literal["minimize", "maximize"]
    sampler: str
    trials: int
    space: SpaceResult
    budgets: tuple[BudgetResult, ...]
    designs: tuple[DesignResult, ...]
    diverged: tuple[str, ...]
    exhausted: bool
    uniform_dense: str | None
    seconds: Annotated[float, Field(description="Spent in trainings, in all sessions.")]
    goals: tuple[Goal, ...] = ()
    rungs: tuple[RungResult, ...] = ()
    rung_agreements: tuple[RankAgreement, ...] = ()
    learning_rates: tuple[SweepChoice, ...] = ()
    proxy: ProxyResult | None = None

    @property
    def sign(self) -> float:
        """What turns the metric into a loss, of which less is better."""
        return 1.0 if self.direction == "minimize" else -1.0

    def rung_values(self, design: DesignResult) -> tuple[float, ...]:
        """Return the metric of a design at every rung that it reached, the first run first."""
        later = (rung.values_of(design.spec_hash) for rung in self.rungs[1:])
        return (design.value, *(values[0] for values in later if values is not None))

    def last_value(self, design: DesignResult) -> float:
        """Return the metric of a design at the highest rung that it reached."""
        return self.rung_values(design)[-1]

    @property
    def top(self) -> tuple[DesignResult, ...]:
        """The designs of the highest rung, which alone are compared in the end, ranked."""
        if len(self.rungs) < 2:
            return self.designs
        reached = {entry.spec_hash for entry in self.rungs[-1].sound}
        return tuple(design for design in self.designs if design.spec_hash in reached)

    @property
    def best(self) -> DesignResult:
        """The winner."""
        return self.designs[0]

    @property
    def finalists(self) -> tuple[DesignResult, ...]:
        """The designs that were run again, in the order of the re-runs."""
        return tuple(design for design in self.designs if design.was_rerun)

    @property
    def hand_designs(self) -> tuple[DesignResult, ...]:
        """The hand designs, best first."""
        return tuple(design for design in self.designs if design.is_hand_design)


class Agreement(_Result):
    """How well two rankings of the same designs agree.

    Attributes:
        pairs: Pairs of designs.
        kept: Pairs whose order is the same in both.
        spearman: Rank correlation; None for fewer than three designs.
    """

    pairs: int
    kept: int
    spearman: float | None


def rank(designs: Sequence[DesignResult], direction: str) -> tuple[DesignResult, ...]:
    """Order designs: those run again by their re-runs, then the others by their only run.

    A finalist that diverged with a fresh seed comes after the finalists that did not.
    """
    sign = 1.0 if direction == "minimize" else -1.0

    def key(design: DesignResult) -> tuple[int, float]:
        if not design.was_rerun:
            return 2, sign * design.value
        again = design.rerun_value
        return (1, sign * design.value) if math.isnan(again) else (0, sign * again)

    return tuple(sorted(designs, key=key))


def agreement(results: SearchResults) -> Agreement | None:
    """Compare first runs, at the last rung, and re-runs; None for fewer than two designs."""
    both = [d for d in results.finalists if not math.isnan(d.rerun_value)]
    first = [results.last_value(design) for design in both]
    return agreement_of(first, [design.rerun_value for design in both])


def agreement_of(first: Sequence[float], again: Sequence[float]) -> Agreement | None:
    """Compare two rankings of the same designs; None for fewer than two designs."""
    if len(first) < 2:
        return None
    pairs = list(itertools.combinations(zip(first, again, strict=True), 2))
    kept = sum((a - b) * (c - d) > 0 for (a, c), (b, d) in pairs)
    correlation = None
    if len(first) > 2 and len(set(first)) > 1 and len(set(again)) > 1:
        correlation = float(spearmanr(first, again).statistic)
    return Agreement(pairs=len(pairs), kept=kept, spearman=correlation)


def seed_noise(designs: Sequence[DesignResult]) -> float | None:
    """Return the standard deviation of one training over seeds, pooled over the re-run designs."""
    groups = [d.reruns for d in designs if len(d.reruns) > 1]
    if not groups:
        return None
    squares, freedom = 0.0, 0
    for values in groups:
        mean = sum(values) / len(values)
        squares += sum((value - mean) ** 2 for value in values)
        freedom += len(values) - 1
    return math.sqrt(squares / freedom)
