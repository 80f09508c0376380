"""What a search found, as values that are written to ``results.json`` and read back to be shown."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from scipy.stats import spearmanr

SEARCHED = "search"


class _Result(BaseModel):
    """A value that survives the way through JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class GoalResult(_Result):
    """One thing that the search improved.

    Attributes:
        name: A metric or a price.
        direction: Which is better.
        source: Where designs have it.
        is_metric_judged: Whether it is the metric that trials are judged by.
    """

    name: str
    direction: Literal["minimize", "maximize"]
    source: Literal["metric", "price"]
    is_metric_judged: bool = False

    @property
    def sign(self) -> float:
        """What turns values into losses, of which less is better."""
        return 1.0 if self.direction == "minimize" else -1.0


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
    layers: Annotated[
        tuple[str, ...], Field(description="What stands in every layer, by the names of choices.")
    ] = ()
    higher: Annotated[
        tuple[float, ...],
        Field(description="The objective at the rungs above the first, as far as it came."),
    ] = ()
    params: Annotated[
        dict[str, str | int | float | bool | None],
        Field(description="The design as parameters of the Optuna study."),
    ] = Field(default_factory=dict)

    @property
    def rung(self) -> int:
        """The highest rung it was trained at, from 0; only designs of one rung are compared."""
        return len(self.higher)

    @property
    def rung_value(self) -> float:
        """The objective at that rung."""
        return self.higher[-1] if self.higher else self.value

    def goal(self, goal: GoalResult) -> float:
        """Return what it reached of a goal at its highest rung; not a number if unmeasured."""
        if goal.source == "price":
            return float(self.prices[goal.name])
        if goal.is_metric_judged:
            return self.rung_value
        return math.nan if self.higher else self.metrics.get(goal.name, math.nan)

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
        """Share of designs that fit every budget."""
        return self.num_feasible / self.num_priced


class SearchResults(_Result):
    """Everything that a finished search has to say.

    Attributes:
        designs: Every trained design, ranked.
        diverged: Placements that could not be trained.
        exhausted: Whether the search ended because no design was left.
        uniform_dense: Hash of the design whose layers are all dense, if it was trained.
        goals: What was improved, the judged metric first; empty stands for that metric alone.
        rungs: Tokens of a training at each rung; empty if there were none.
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
    goals: tuple[GoalResult, ...] = ()
    rungs: tuple[int, ...] = ()

    @property
    def sign(self) -> float:
        """What turns the metric into a loss, of which less is better."""
        return 1.0 if self.direction == "minimize" else -1.0

    @property
    def top(self) -> tuple[DesignResult, ...]:
        """The designs of the highest rung that any reached, which can be compared; best first."""
        highest = max(design.rung for design in self.designs)
        return tuple(design for design in self.designs if design.rung == highest)

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
    """Order designs: those run again by their re-runs, then by rung, and by value within a rung.

    A finalist that diverged with a fresh seed comes after the finalists that did not.
    """
    sign = 1.0 if direction == "minimize" else -1.0

    def key(design: DesignResult) -> tuple[int, int, float]:
        if not design.was_rerun:
            return 2, -design.rung, sign * design.rung_value
        again = design.rerun_value
        if math.isnan(again):
            return 1, -design.rung, sign * design.rung_value
        return 0, -design.rung, sign * again

    return tuple(sorted(designs, key=key))


def agreement(designs: Sequence[DesignResult]) -> Agreement | None:
    """Compare first runs and re-runs of the designs that have both; None for fewer than two."""
    both = [d for d in designs if d.was_rerun and not math.isnan(d.rerun_value)]
    return agreement_of([d.rung_value for d in both], [d.rerun_value for d in both])


def rung_agreement(designs: Sequence[DesignResult], rung: int) -> Agreement | None:
    """Compare the order of designs at a rung and at the next; None for fewer than two."""
    rows = [(design.value, *design.higher) for design in designs if design.rung > rung]
    return agreement_of([row[rung] for row in rows], [row[rung + 1] for row in rows])


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
