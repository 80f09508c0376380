"""Budgets as bounds on exact prices, and how much of a space each of them rejects."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np

from archspec.cost.pricing import ALL_QUANTITIES, TIMES, Flags, Ints
from archspec.spec.search.budgets import Budgets
from archspec.units import format_bytes, format_count, format_duration, format_flops

_MOST = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class Bound:
    """One side of a budget, in the quantity's unit: FLOPs, parameters, bytes or ns.

    Attributes:
        unit: What one in a row of prices stands for: a run's FLOPs exceed a machine word.
    """

    quantity: str
    side: Literal["max", "min"]
    limit: int
    unit: int = 1

    @property
    def column(self) -> int:
        """Where the quantity stands in a row of prices."""
        return ALL_QUANTITIES.index(self.quantity)

    @property
    def row_limit(self) -> int:
        """The limit as rows of prices have the quantity, rounded inwards."""
        return self.limit // self.unit if self.side == "max" else -(-self.limit // self.unit)

    def holds(self, prices: Ints) -> Flags:
        """Tell for each row of prices whether it keeps to the bound."""
        values, limit = prices[:, self.column], min(self.row_limit, _MOST)
        held: Flags = values <= limit if self.side == "max" else values >= limit
        return held

    def __str__(self) -> str:
        side = "at most" if self.side == "max" else "at least"
        return f"{self.quantity} {side} {exact_amount(self.quantity, self.limit)}"


def format_amount(quantity: str, value: int) -> str:
    """Write a price in its unit."""
    if quantity in TIMES:
        return format_duration(value / 1e9)
    if "flops" in quantity:
        return format_flops(value)
    return format_bytes(value) if "bytes" in quantity else format_count(value)


def exact_amount(quantity: str, value: int) -> str:
    """Write a price to be read and to be checked: ``1.05 MFLOP (1,050,624)``."""
    unit = " ns" if quantity in TIMES else ""
    return f"{format_amount(quantity, value)} ({value:,}{unit})"


def resolve_bounds(
    budgets: Budgets, base: Mapping[str, int], units: Mapping[str, int] = MappingProxyType({})
) -> tuple[Bound, ...]:
    """Turn budgets into whole numbers, rounded inwards.

    Args:
        budgets: As declared; a factor is relative to ``base``.
        base: What the base model costs, by quantity.
        units: What rows of prices count some quantities in.
    """
    bounds = []
    for quantity, budget in budgets.given().items():
        unit = units.get(quantity, 1)
        for side, limit in budget.sides.items():
            exact = limit.resolve(base.get(quantity, 0))
            if side == "max":
                bounds.append(Bound(quantity, "max", math.floor(exact), unit))
            else:
                bounds.append(Bound(quantity, "min", math.ceil(exact), unit))
    return tuple(bounds)


def feasible(bounds: Sequence[Bound], prices: Ints) -> Flags:
    """Tell for each row of prices whether it keeps to every bound."""
    held: Flags = np.ones(len(prices), dtype=np.bool_)
    for bound in bounds:
        held &= bound.holds(prices)
    return held


@dataclass(frozen=True, slots=True)
class Rejections:
    """How much of a space the budgets reject.

    Attributes:
        num_designs: Designs of the space before any budget.
        num_priced: How many were priced: all of them, or a uniform sample.
        num_feasible: How many of those keep to every budget.
        rejected: For each bound, the share that it alone rejects.
    """

    num_designs: int
    num_priced: int
    num_feasible: int
    rejected: Mapping[Bound, float]

    @property
    def exact(self) -> bool:
        """Whether every design was priced."""
        return self.num_priced == self.num_designs


class RejectionCount:
    """Counts rejections over batches of prices."""

    def __init__(self, bounds: Sequence[Bound]) -> None:
        self._bounds = bounds
        self._priced = 0
        self._feasible = 0
        self._rejected = dict.fromkeys(bounds, 0)

    def add(self, prices: Ints) -> None:
        """Count one batch."""
        self._priced += len(prices)
        self._feasible += int(feasible(self._bounds, prices).sum())
        for bound in self._bounds:
            self._rejected[bound] += len(prices) - int(bound.holds(prices).sum())

    def result(self, num_designs: int) -> Rejections:
        """Return the shares counted so far."""
        return Rejections(
            num_designs=num_designs,
            num_priced=self._priced,
            num_feasible=self._feasible,
            rejected={bound: count / self._priced for bound, count in self._rejected.items()},
        )
