"""What a search is about to do: the size of its space, what the budgets leave, prices and time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from archspec.cost.pricing import Ints, price
from archspec.search.achievable import check_achievable
from archspec.search.drawing import Drawing
from archspec.search.feasible import SAMPLED, FeasibleSpace, price_setting
from archspec.search.hand import hand_designs
from archspec.search.objectives.predicted import check_law
from archspec.search.program import Program
from archspec.search.rungs import num_later, work
from archspec.search.share import Share, feasible_share
from archspec.search.space import Space
from archspec.search.trial_time import TrialTime
from archspec.spec.search.spec import SearchSpec

_GAP = 1e-3  # relative distance from the true extremes of a price


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetUse:
    """One bound.

    Attributes:
        rejected: Share of all designs that it rejects alone.
        slack: How far the designs that fit are from the limit on average, over the limit; None if
            none of the sample does.
    """

    quantity: str
    side: Literal["max", "min"]
    limit: int
    rejected: float
    slack: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceRange:
    """What a quantity may be.

    Attributes:
        base: Of the base model.
        least: Of the designs that fit.
        most: Likewise.
    """

    quantity: str
    base: int
    least: int
    most: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRun:
    """Everything that is known of a search before any trial.

    Attributes:
        num_designs: Different designs that keep the rules between layers, budgets aside.
        counted: Whether that is exact; otherwise an upper bound.
        num_variants: Combinations of what varies outside layers and pools.
        genes: Free choices of layers in the deepest variant.
        share: Of the designs that keep to the budgets.
        trainings: Trials, higher rungs, re-runs of finalists, checks of a proxy.
        work: All of these in units of one trial, by tokens; sweeps of learning rates apart.
        time: Of one trial, None if it was not asked for.
    """

    name: str
    legend: str
    num_designs: int
    counted: bool
    num_variants: int
    settings: dict[str, tuple[object, ...]]
    num_layers: tuple[int, ...]
    genes: int
    pools: dict[str, tuple[int, ...]]
    share: Share
    budgets: tuple[BudgetUse, ...]
    prices: tuple[PriceRange, ...]
    hand_designs: tuple[str, ...]
    sampler: str
    trials: int
    trainings: int
    work: float
    time: TrialTime | None

    @property
    def rejects_most(self) -> BudgetUse | None:
        """The bound that rejects most designs alone."""
        return max(self.budgets, key=lambda budget: budget.rejected, default=None)

    @property
    def tightest(self) -> BudgetUse | None:
        """The bound that the designs that fit are nearest to."""
        known = [budget for budget in self.budgets if budget.slack is not None]
        return min(known, key=lambda budget: budget.slack or 0.0, default=None)

    @property
    def seconds(self) -> float | None:
        """Of all trainings, one after another."""
        return None if self.time is None else self.work * self.time.seconds

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values, for JSON."""
        tightest, most = self.tightest, self.rejects_most
        return {
            **asdict(self),
            "binding": {
                "rejects_most": None if most is None else f"{most.quantity}.{most.side}",
                "tightest": None if tightest is None else f"{tightest.quantity}.{tightest.side}",
            },
            "seconds": self.seconds,
        }


def dry_run(spec: SearchSpec, time: TrialTime | None = None) -> DryRun:
    """Say what a search is about to do, without a trial.

    Args:
        spec: The search.
        time: How long a trial takes.

    Raises:
        BudgetError: No design keeps to the rules and the budgets.
        ObjectiveError: Designs, or the training, are outside of what a law was fitted on.
        ArchspecError: The plan cannot lay out the base or a choice.
    """
    allowed = FeasibleSpace.of(spec)
    check_achievable(allowed)
    check_law(spec, allowed)
    space = allowed.space
    return DryRun(
        name=spec.base.name,
        legend=Drawing(space).legend,
        num_designs=space.num_designs,
        counted=space.is_counted,
        num_variants=len(space.variants),
        settings=space.settings,
        num_layers=tuple(sorted({len(part.gene_of) for part in space.parts})),
        genes=max(_num_free(space, index) for index in range(len(space.parts))),
        pools=space.pools,
        share=feasible_share(allowed),
        budgets=tuple(_budget_uses(allowed)),
        prices=tuple(_price_ranges(spec, allowed)),
        hand_designs=tuple(hand.name for hand in hand_designs(allowed)),
        sampler=spec.sampler,
        trials=spec.trials,
        trainings=spec.trials + num_later(spec),
        work=work(spec),
        time=time,
    )


def _num_free(space: Space, index: int) -> int:
    return sum(len(choices) > 1 for choices in space.parts[index].choices)


def _budget_uses(allowed: FeasibleSpace) -> Iterator[BudgetUse]:
    rejected = allowed.rejections().rejected
    fitting = _some_members(allowed)
    for bound in allowed.bounds:
        values = fitting[:, bound.column] / max(1, bound.row_limit)
        slack = None if not len(values) else float(np.abs(1 - values).mean())
        yield BudgetUse(
            quantity=bound.quantity,
            side=bound.side,
            limit=bound.limit,
            rejected=rejected[bound],
            slack=slack,
        )


def _some_members(allowed: FeasibleSpace) -> Ints:
    """Return prices of designs that fit: all of a small space, otherwise those of a sample."""
    if allowed.listed is not None:
        return allowed.table.prices(*allowed.listed_arrays)
    rows = allowed.space.draw(np.random.default_rng(0), SAMPLED)
    return allowed.table.prices(*rows.take(allowed.admits(*rows)))


def _price_ranges(spec: SearchSpec, allowed: FeasibleSpace) -> Iterator[PriceRange]:
    base = price(spec.base, price_setting(spec))
    for quantity in allowed.table.quantities:
        program = Program(allowed.space, allowed.table, allowed.bounds, wanted=[quantity])
        least = program.best(program.quantity(quantity), gap=_GAP)
        most = program.best(-program.quantity(quantity), gap=_GAP)
        assert least is not None, "some design fits"
        assert most is not None, "some design fits"
        yield PriceRange(
            quantity=quantity,
            base=base[quantity],
            least=allowed.prices(least)[quantity],
            most=allowed.prices(most)[quantity],
        )
