"""Other budgets on saved scores: the best designs by the additive fit, found exactly, not trained.

The fit adds up over layers, so the integer program finds its optimum under any budgets. What comes
out is a proposal: its predicted value has an uncertainty, and a design that was trained has its
measured value beside it.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from archspec.cost.pricing import ALL_QUANTITIES, price
from archspec.errors import BudgetError, RunError, suggest
from archspec.search.achievable import check_achievable
from archspec.search.additive import FEWEST, AdditiveModel
from archspec.search.budget import Bound, resolve_bounds
from archspec.search.drawing import Drawing
from archspec.search.feasible import FeasibleSpace, price_setting
from archspec.search.findings import designs_of, fit, in_order
from archspec.search.opened import SearchRun
from archspec.search.results import DesignResult
from archspec.search.space import Design
from archspec.spec.search.budgets import Budgets

Given = Mapping[str, str | None]  # a limit, MIN..MAX, or None to lift the search's own budget


class _Value(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Limit(_Value):
    """One side of a budget that was solved for."""

    quantity: str
    side: str
    limit: int


class Proposal(_Value):
    """A design that the fit likes, trained or not.

    Attributes:
        predicted: What it would reach on average over seeds, with ``low`` and ``high`` as the 95%
            interval of that; a single training differs by luck as well.
        trial: The trial it was trained in, None if it was not.
        measured: What it reached there, on the first run.
    """

    placement: str
    pools: str
    layers: tuple[str, ...]
    spec_hash: str
    prices: dict[str, int]
    predicted: float
    low: float
    high: float
    trial: int | None
    measured: float | None


class Solution(_Value):
    """The best designs under budgets.

    Attributes:
        limits: What they keep to.
        proposals: The best by the fit, best first.
        best_trained: The best trained design that keeps to the limits, None if none does.
        num_trained: How many trained designs keep to them.
    """

    limits: tuple[Limit, ...]
    proposals: tuple[Proposal, ...]
    best_trained: Proposal | None
    num_trained: int


class SweepPoint(_Value):
    """One point of a grid of budgets.

    Attributes:
        budgets: What was set, as given.
        solution: None if no design keeps to it.
        refusal: Why, in that case.
    """

    budgets: dict[str, str | None]
    solution: Solution | None
    refusal: str | None = None


@dataclass(frozen=True)
class Solver:
    """Solves one search's saved scores for other budgets."""

    run: SearchRun
    model: AdditiveModel

    @classmethod
    def of(cls, run: SearchRun) -> Solver:
        """Fit the scores of a search. Raises RunError for too few."""
        model = fit(run)
        if model is None:
            raise RunError(
                f"{run.out}: {len(run.results.designs)} designs were trained, and saved scores "
                f"can be solved from {FEWEST} on; train more, with --trials"
            )
        return cls(run, model)

    def solve(self, given: Given, *, count: int = 5) -> tuple[Solution, list[Design]]:
        """Return the best designs under budgets, and those designs themselves.

        Args:
            given: Budgets by quantity, over those of the search.
            count: How many designs.

        Raises:
            RunError: A budget cannot be read.
            BudgetError: No design keeps to them.
        """
        allowed = self._under(given)
        check_achievable(allowed)
        designs = self._best(allowed, count)
        trained = self._trained_within(allowed.bounds)
        solution = Solution(
            limits=tuple(Limit(quantity=b.quantity, side=b.side, limit=b.limit)
                         for b in allowed.bounds),
            proposals=tuple(self._proposal(design) for design in designs),
            best_trained=self._proposal(self.run.design_of(trained[0])) if trained else None,
            num_trained=len(trained),
        )  # fmt: skip
        return solution, designs

    def sweep(self, grid: Mapping[str, Sequence[str | None]]) -> tuple[SweepPoint, ...]:
        """Solve every combination of budgets; those that no design keeps to say why."""
        points = []
        for values in itertools.product(*grid.values()):
            given = dict(zip(grid, values, strict=True))
            try:
                solution, _ = self.solve(given, count=1)
            except BudgetError as error:
                points.append(SweepPoint(budgets=given, solution=None, refusal=str(error)))
            else:
                points.append(SweepPoint(budgets=given, solution=solution))
        return tuple(points)

    def _under(self, given: Given) -> FeasibleSpace:
        run = self.run
        setting = price_setting(run.spec)
        base = price(run.spec.base, setting)
        budgets = budgets_over(run.spec.document.budgets, given)
        for quantity in budgets.given():
            if quantity not in base:
                raise RunError(
                    f"--budget {quantity}: the search does not price it; a search prices "
                    f"{', '.join(base)}"
                )
        table = run.allowed.table
        units = {quantity: table.unit(quantity) for quantity in table.quantities}
        return FeasibleSpace(run.allowed.space, table, resolve_bounds(budgets, base, units))

    def _best(self, allowed: FeasibleSpace, count: int) -> list[Design]:
        """Return the designs that the fit likes best, exactly, fewer if there are no more."""
        sign = self.run.results.sign
        scores = allowed.space.feature_map.scores(sign * self.model.weights)
        objective = allowed.program.objective(scores)
        found: list[Design] = []
        while len(found) < count:
            design = allowed.program.best(objective, excluded=found)
            if design is None:
                break
            found.append(design)
        return found

    def _trained_within(self, bounds: Sequence[Bound]) -> list[DesignResult]:
        """Return the trained designs that keep to bounds, the best first run first."""
        sign = self.run.results.sign
        kept = [d for d in self.run.results.designs if all(_holds(b, d.prices) for b in bounds)]
        return sorted(kept, key=lambda design: sign * design.value)

    def _proposal(self, design: Design) -> Proposal:
        space = self.run.allowed.space
        drawing = Drawing(space)
        estimate = self.model.predict(space.features([design]))[0]
        pairs = zip(designs_of(self.run), in_order(self.run.results), strict=True)
        result = next((result for other, result in pairs if other == design), None)
        return Proposal(
            placement=drawing.placement(design),
            pools=drawing.pools(design),
            layers=tuple(drawing.labels(design)),
            spec_hash=space.hash(design),
            prices=self.run.allowed.prices(design),
            predicted=estimate.mean,
            low=estimate.low,
            high=estimate.high,
            trial=result.trial if result else None,
            measured=result.value if result else None,
        )


def budgets_over(own: Budgets, given: Given) -> Budgets:
    """Return budgets with some replaced or lifted.

    Args:
        own: Those of the search.
        given: By quantity a most that designs may cost, ``MIN..MAX``, or None.

    Raises:
        RunError: A quantity or a limit is none.
    """
    values: dict[str, Any] = own.model_dump()
    for quantity, limit in given.items():
        if quantity not in ALL_QUANTITIES:
            raise RunError(
                f"--budget {quantity}: unknown quantity; {suggest(quantity, ALL_QUANTITIES)}"
            )
        if limit is None:
            values[quantity] = None
        elif ".." in limit:
            low, high = limit.split("..", 1)
            values[quantity] = {"min": low.strip(), "max": high.strip()}
        else:
            values[quantity] = {"max": limit}
    try:
        return Budgets.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name, said = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
        raise RunError(
            f"--budget {name}: {said}; write QUANTITY=LIMIT, QUANTITY=MIN..MAX or QUANTITY=none"
        ) from None


def _holds(bound: Bound, prices: Mapping[str, int]) -> bool:
    value = prices[bound.quantity]
    return value <= bound.limit if bound.side == "max" else value >= bound.limit
