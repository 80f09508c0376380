"""The prices of a space's designs: one table for each variant, asked with all designs together."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from archspec.compiler.plan.faults import PlanError
from archspec.cost.pricing import Ints, PriceSetting, PriceTable
from archspec.errors import ArchspecError
from archspec.search.space import Space
from archspec.spec.search.variant import Variant


class SpacePrices:
    """Prices designs of any variant.

    Attributes:
        tables: Of each variant.
        quantities: What is priced.
    """

    def __init__(self, space: Space, tables: Sequence[PriceTable]) -> None:
        self._space = space
        self.tables = tuple(tables)
        self.quantities = self.tables[0].setting.quantities

    @classmethod
    def of(cls, space: Space, setting: PriceSetting) -> SpacePrices:
        """Price every choice of a space, each variant under its own plan.

        Raises:
            ArchspecError: If the plan cannot lay out some choice, or a device lacks a rate.
        """
        return cls(space, [_table(space, variant, setting) for variant in space.variants])

    def unit(self, quantity: str) -> int:
        """Return what one in a row of prices stands for."""
        return self.tables[0].setting.unit(quantity)

    def prices(self, layers: Ints, sizes: Ints, variants: Ints) -> Ints:
        """Price designs given as arrays, [N, Q]; the arguments are those of ``Rows``."""
        found: Ints = np.empty((len(variants), len(self.quantities)), dtype=np.int64)
        for part, index, here in self._space.by_variant(variants):
            placed = part.expand(layers[here, : len(part.genes)])
            found[here] = self.tables[index].prices(placed, sizes[here])
        return found

    def named(self, row: Sequence[int]) -> dict[str, int]:
        """Return one row of prices by quantity, in their own units."""
        pairs = zip(self.quantities, row, strict=True)
        return {name: int(value) * self.unit(name) for name, value in pairs}


def _table(space: Space, variant: Variant, setting: PriceSetting) -> PriceTable:
    own = dataclasses.replace(setting, plan=variant.plan)
    try:
        return PriceTable(variant.base, variant.choices, space.pools, own)
    except PlanError as error:
        given = variant.describe()
        where = f" with {given}" if given else ""
        raise ArchspecError(
            f"the plan cannot lay out every choice{where}:\n{error}\nleave the choice or the value "
            "out, or change the plan"
        ) from None
