"""The part of a space that keeps to rules and budgets: test, count, list and find members."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from archspec.cost.pricing import Flags, Ints, PriceSetting, price
from archspec.search.budget import Bound, RejectionCount, Rejections, feasible, resolve_bounds
from archspec.search.prices import SpacePrices
from archspec.search.program import Program
from archspec.search.space import Design, Rows, Space
from archspec.spec.search.spec import SearchSpec

LISTED = 100_000  # spaces up to this many designs are listed in full
SAMPLED = 20_000


class FeasibleSpace:
    """A space, its prices and the bounds a design must keep to."""

    def __init__(self, space: Space, table: SpacePrices, bounds: Sequence[Bound]) -> None:
        self.space = space
        self.table = table
        self.bounds = tuple(bounds)

    @classmethod
    def of(cls, spec: SearchSpec) -> FeasibleSpace:
        """Return the designs that a search document allows."""
        space = Space.of(spec)
        setting = price_setting(spec)
        table = SpacePrices.of(space, setting)
        units = {quantity: table.unit(quantity) for quantity in table.quantities}
        base = price(spec.base, setting)
        return cls(space, table, resolve_bounds(spec.budgets, base, units))

    def admits(self, layers: Ints, sizes: Ints, variants: Ints) -> Flags:
        """Tell for each design whether it keeps rules and bounds; the arguments are a ``Rows``."""
        kept = self.space.keeps_rules(Rows(layers, sizes, variants))
        kept &= feasible(self.bounds, self.table.prices(layers, sizes, variants))
        return kept

    def __contains__(self, design: Design) -> bool:
        return bool(self.admits(*self.space.arrays([design]))[0])

    def prices(self, design: Design) -> dict[str, int]:
        """Price one design."""
        row = self.table.prices(*self.space.arrays([design]))[0]
        return self.table.named(row.tolist())

    @functools.cached_property
    def listed(self) -> tuple[Design, ...] | None:
        """Every member, in a fixed order; None if the space is too large to list."""
        if self.space.num_designs > LISTED:
            return None
        return tuple(design for rows in self.space.enumerate() for design in self.select(*rows))

    @functools.cached_property
    def listed_arrays(self) -> Rows:
        """``listed`` as arrays; a space too large to list has none."""
        return self.space.arrays(self.listed or ())

    def select(self, layers: Ints, sizes: Ints, variants: Ints) -> list[Design]:
        """Return the members among designs given as arrays, a ``Rows``."""
        rows = Rows(layers, sizes, variants)
        return self.space.designs(rows.take(self.admits(*rows)))

    @functools.cached_property
    def program(self) -> Program:
        """The integer program over the members."""
        return Program(self.space, self.table, self.bounds)

    def rejections(self, *, seed: int = 0) -> Rejections:
        """Count what the budgets reject: exactly if the space is small, by a sample otherwise."""
        count = RejectionCount(self.bounds)
        num_designs = self.space.num_designs
        if num_designs <= LISTED:
            batches = self.space.enumerate()
        else:
            rng = np.random.default_rng(seed)
            batches = iter([self.space.draw(rng, SAMPLED)])
        for rows in batches:
            count.add(self.table.prices(*rows))
        return count.result(num_designs)


def price_setting(spec: SearchSpec) -> PriceSetting:
    """Return the circumstances under which a search prices designs."""
    default = spec.train.micro_tokens if spec.plan is None else spec.base.max_seq_len
    return PriceSetting(
        micro_tokens=spec.budgets.micro_tokens or default,
        tokens=spec.budgets.tokens or spec.train.tokens,
        plan=spec.plan,
        world_size=spec.world_size,
        hardware=spec.hardware,
    )
